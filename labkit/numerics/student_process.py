"""Student-t process regression: a Gaussian process whose noise is learned, so that few data give wide intervals."""

from __future__ import annotations

from labkit.core.arrays import Array, like, namespace


def squared_exponential(first: Array, second: Array, lengthscale: float) -> Array:
    """Correlation ``exp(−|x − x'|²/2ℓ²)``, shape (n, m), of rows of *first* (n, d) with those of *second* (m, d)."""
    xp = namespace(first, second)
    squares = xp.sum((first[:, None, :] - second[None, :, :]) ** 2, axis=-1)
    return xp.exp(-0.5 * squares / lengthscale**2)


def predictive(
    inputs: Array,
    values: Array,
    query: Array,
    *,
    lengthscale: float,
    bias_ratio: float,
    function_ratio: float,
    prior_scale: float,
    prior_dof: float,
) -> tuple[Array, Array, float]:
    """Student-t predictive distribution of one more noisy value at each *query*.

    ``y = b + f(x) + e`` with ``b ~ N(0, r_b² σ²)``, ``f ~ GP(0, r_f² σ² exp(−|x−x'|²/2ℓ²))``, ``e ~ N(0, σ²)`` and
    ``σ² ~ scaled inverse χ²(ν₀, s₀²)``. With K the covariance of the data in units of σ², the prediction has
    ν₀ + n degrees of freedom, mean ``k*ᵀ K⁻¹ y`` and scale
    ``sqrt[(ν₀ s₀² + yᵀ K⁻¹ y)/(ν₀ + n) · (1 + r_b² + r_f² − k*ᵀ K⁻¹ k*)]``.

    Parameters
    ----------
    inputs, values, query : array
        (n, d), (n,) and (m, d), float64; n may be 0.
    bias_ratio, function_ratio
        r_b and r_f: prior standard deviations of the bias and of the function over that of the noise.

    Returns
    -------
    mean, scale : array
        Each (m,), in the unit of *values*.
    dof : float
        Degrees of freedom.

    References
    ----------
    Rasmussen, Williams, Gaussian Processes for Machine Learning (2006), section 2.7 and 9.9;
    O'Hagan, Journal of the Royal Statistical Society B 40 (1978) 1.
    """
    xp = namespace(inputs, values, query)
    count = inputs.shape[0]
    dof = prior_dof + count
    prior_variance = bias_ratio**2 + function_ratio**2
    if count == 0:
        width = prior_scale * (1.0 + prior_variance) ** 0.5
        return xp.zeros_like(query[:, 0]), width + xp.zeros_like(query[:, 0]), dof
    unit = like(xp.eye(count), inputs)
    covariance = bias_ratio**2 + function_ratio**2 * squared_exponential(inputs, inputs, lengthscale) + unit
    factor = xp.linalg.cholesky(covariance)
    across = bias_ratio**2 + function_ratio**2 * squared_exponential(inputs, query, lengthscale)
    solved = xp.linalg.solve(factor, xp.concat([values[:, None], across], axis=1))
    white, reach = solved[:, 0], solved[:, 1:]
    mean = xp.sum(white[:, None] * reach, axis=0)
    variance = (prior_dof * prior_scale**2 + xp.sum(white * white)) / dof
    scale = xp.sqrt(variance * (1.0 + prior_variance - xp.sum(reach * reach, axis=0)))
    return mean, scale, dof
