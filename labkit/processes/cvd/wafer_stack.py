"""Diffusion and reaction between two wafers of a stack: the Thiele problem on a disc.

Gas enters the gap of height s at the wafer edge (radius R) and reacts on both faces. For a rate linearised about the
edge, r ≈ r_R + r' (c - c_R), the balance D s ∇²c = 2 r gives exactly

    r(ρ) = r_R I₀(φ ρ/R) / I₀(φ),   φ² = 2 R² r' / (D s),   η = 2 I₁(φ) / (φ I₀(φ)).

Exact for first order, correct to first order in depletion otherwise. References: jensen1983, thiele1939, dlmf.
"""

from __future__ import annotations

from labkit.core.arrays import Array, namespace

_TOLERANCE = 1e-18
_SWITCH = 15.0


def thiele_modulus(rate_slope: Array, radius: float, diffusivity: Array, gap: float) -> Array:
    """φ = R √(2 r' / (D s)): *rate_slope* r' = ∂r/∂c in m/s, *radius* and *gap* in m, *diffusivity* in m²/s."""
    xp = namespace(rate_slope, diffusivity)
    return radius * xp.sqrt(2.0 * rate_slope / (diffusivity * gap))


def bessel_i0_scaled(x: Array) -> Array:
    """I₀(x) e^(-x) for x ≥ 0: power series up to 15, asymptotic series beyond (DLMF 10.25.2, 10.40.1)."""
    return _bessel_scaled(x, 0)


def bessel_i1_scaled(x: Array) -> Array:
    """I₁(x) e^(-x) for x ≥ 0: power series up to 15, asymptotic series beyond (DLMF 10.25.2, 10.40.1)."""
    return _bessel_scaled(x, 1)


def _bessel_scaled(x: Array, order: int) -> Array:
    xp = namespace(x)
    small = xp.clip(x, 0.0, _SWITCH)
    term = xp.ones_like(small) if order == 0 else 0.5 * small
    series = term
    quarter = 0.25 * small * small
    largest = 0.25 * float(xp.max(small)) ** 2 if small.size else 0.0
    bound, k = 1.0, 0
    while bound > _TOLERANCE * (1.0 + largest):
        k += 1
        bound *= largest / (k * (k + order))
        term = term * quarter / (k * (k + order))
        series = series + term
    large = xp.clip(x, _SWITCH, None)
    tail = xp.ones_like(large)
    term = tail
    for k in range(1, 12):
        term = term * ((2 * k - 1) ** 2 - 4 * order * order) / (8.0 * k * large)
        tail = tail + term
    asymptotic = tail / xp.sqrt(2.0 * xp.pi * large)
    return xp.where(x <= _SWITCH, series * xp.exp(-small), asymptotic)


def radial_profile(modulus: Array, relative_radius: Array) -> Array:
    """Rate at *relative_radius* ρ/R divided by the rate at the edge, I₀(φ ρ/R)/I₀(φ); shapes broadcast."""
    xp = namespace(modulus, relative_radius)
    inner = modulus * relative_radius
    return bessel_i0_scaled(inner) / bessel_i0_scaled(modulus) * xp.exp(inner - modulus)


def effectiveness(modulus: Array) -> Array:
    """Mean rate over the wafer divided by the rate at its edge, η = 2 I₁(φ)/(φ I₀(φ)); 1 at φ = 0."""
    xp = namespace(modulus)
    safe = xp.clip(modulus, 1e-8, None)
    return 2.0 * bessel_i1_scaled(safe) / (safe * bessel_i0_scaled(safe))
