"""The partially coherent image of a grating, by Abbe's sum over source points, as an exact finite Fourier series.

A lens passes a finite band, so the image of a grating is a trigonometric polynomial. Its coefficients, not samples of
it, are the result: intensity, slope and edges then follow at any position without a grid. Double precision throughout.
"""

from __future__ import annotations

import math

from labkit.core import arrays
from labkit.core.arrays import Array
from labkit.processes.lithography.mask import Grating
from labkit.processes.lithography.pupil import Lens, aperture, phase_factor
from labkit.processes.lithography.source import Source

_ROUNDING = 1e-9
"""Relative slack with which an order exactly on the edge of the band counts as inside."""


def highest_order(period: float, lens: Lens, sigma: float) -> int:
    """The highest diffraction order of a mask of *period* nm that any source point within *sigma* sends into the lens.

    Partially coherent cut-off: frequencies up to (1 + σ) NA/λ take part. Reference: mack2007.
    """
    return math.floor(period * (1.0 + sigma) * lens.cutoff * (1.0 + _ROUNDING))


def image_series(mask: Grating, source: Source, lens: Lens, defocus: Array | float = 0.0) -> Array:
    """Fourier coefficients of the image intensity of *mask*.

        I(x) = I₀ + 2 Re Σ_q I_q exp(2πi q x/P),   I_q = Σ_s w_s Σ_m c_{m+q,m} A_{m+q} A*_m
        A_m = a_m exp(i phase(m/P + s)),   c_{m,m'} = min(c_m, c_m'),  c_m the part of the source cell that passes

    Parameters
    ----------
    mask : Grating
        Period and diffraction orders; its library and device are used throughout.
    source : Source
        Source points on the same device.
    lens : Lens
        Projection lens.
    defocus : array or float
        Defocus, nm, of any shape (...).

    Returns
    -------
    array
        Complex I_0 … I_Q of shape (..., Q + 1); an open frame has I₀ = 1. Q is the highest frequency two orders
        inside the pupil can beat at, 2 NA P/λ, or what the mask's orders allow.

    Notes
    -----
    Exact for the given source points and orders; orders must reach :func:`highest_order`. Memory grows as focus values
    × source points × orders. Reference: abbe1873, born1999.
    """
    xp = arrays.namespace(mask.orders, source.x)
    focus = arrays.like(defocus, mask.orders, dtype=xp.float64)
    count = int(mask.orders.shape[0])
    order = arrays.like([float(m) for m in range(-mask.highest, mask.highest + 1)], mask.orders, dtype=xp.float64)
    fx = source.x[:, None] * lens.cutoff + order[None, :] / mask.period
    fy = source.y[:, None] * lens.cutoff
    amplitude = mask.orders * phase_factor(fx, fy, lens, focus[..., None, None])
    conjugate = xp.conj(amplitude)
    passed = aperture(fx, fy, lens, source.size[:, None])
    band = min(count - 1, math.floor(2.0 * lens.cutoff * mask.period * (1.0 + _ROUNDING)))
    coefficients = []
    for q in range(band + 1):
        upper, lower = passed[:, q:], passed[:, : count - q]
        both = source.weight[:, None] * xp.where(upper < lower, upper, lower)
        beats = xp.astype(both, xp.complex128) * amplitude[..., q:] * conjugate[..., : count - q]
        coefficients.append(xp.sum(beats, axis=(-2, -1)))
    return xp.stack(coefficients, axis=-1)


def intensity(series: Array, period: float, x: Array) -> Array:
    """Intensity at *x* nm (shape broadcasting with ``series.shape[:-1]``), in units of the open frame."""
    return _evaluated(series, period, x)[0]


def sampled(series: Array, period: float, x: Array) -> Array:
    """Intensity of every image in *series* at all of the positions *x* nm, shape (n,): shape (..., n)."""
    xp = arrays.namespace(series, x)
    _, basis = _evaluated(xp.astype(1.0 + 0.0 * _harmonics(series), xp.complex128), period, x)
    return xp.real(xp.matmul(series, xp.permute_dims(basis, (1, 0))))


def slope(series: Array, period: float, x: Array) -> Array:
    """Derivative of the intensity at *x* nm, nm⁻¹."""
    return intensity_and_slope(series, period, x)[1]


def intensity_and_slope(series: Array, period: float, x: Array) -> tuple[Array, Array]:
    """Intensity at *x* nm and its derivative, nm⁻¹, for the price of little more than one."""
    xp = arrays.namespace(series, x)
    value, terms = _evaluated(series, period, x)
    return value, -2.0 * math.pi / period * xp.sum(_harmonics(series) * xp.imag(terms), axis=-1)


def blurred(series: Array, period: float, sigma: float) -> Array:
    """The image convolved with a Gaussian of standard deviation *sigma* nm: I_q → I_q exp(−2π² q² σ²/P²).

    Stage vibration during the exposure blurs so. Reference: mack2007.
    """
    xp = arrays.namespace(series)
    damping = xp.exp(-2.0 * (math.pi * sigma / period * _harmonics(series)) ** 2)
    return series * xp.astype(damping, xp.complex128)


def flared(series: Array, flare: float) -> Array:
    """The image with a fraction *flare* of its light scattered evenly: I → (1 − F) I + F ⟨I⟩.

    The mean is kept: light is moved, not made. Valid for flare of long range in a field filled with the same pattern.
    Reference: kirk1994.
    """
    xp = arrays.namespace(series)
    kept = xp.where(_harmonics(series) == 0.0, 1.0 + 0.0 * _harmonics(series), 1.0 - flare + 0.0 * _harmonics(series))
    return series * xp.astype(kept, xp.complex128)


def _harmonics(series: Array) -> Array:
    xp = arrays.namespace(series)
    return arrays.like([float(q) for q in range(int(series.shape[-1]))], series, dtype=xp.float64)


def _evaluated(series: Array, period: float, x: Array) -> tuple[Array, Array]:
    """The intensity at *x* and the terms whose real parts add up to it."""
    xp = arrays.namespace(series, x)
    harmonics = _harmonics(series)
    weight = xp.where(harmonics == 0.0, 1.0 + 0.0 * harmonics, 2.0 + 0.0 * harmonics)
    angle = 2.0 * math.pi / period * (x[..., None] * harmonics)
    terms = xp.astype(weight, xp.complex128) * series * xp.exp(1j * xp.astype(angle, xp.complex128))
    return xp.sum(xp.real(terms), axis=-1), terms
