"""Edges, critical dimension and image quality of the feature at x = 0, at a constant intensity threshold.

Edges are bracketed on a grid much finer than the image's band, then polished on the Fourier series itself to rounding.
"""

from __future__ import annotations

import math

from labkit.core import arrays
from labkit.core.arrays import Array
from labkit.processes.lithography.imaging import intensity_and_slope, sampled

_CELLS_PER_HARMONIC = 16
"""Bracketing cells per period of the highest harmonic: an excursion narrower than a cell is taken as a touch."""
_POLISHING_STEPS = 8
"""Newton steps, each falling back to bisection; from a bracket this narrow four or five reach rounding."""


def edges(series: Array, period: float, threshold: Array | float, *, bright: bool = False) -> tuple[Array, Array]:
    """Left and right edge of the feature that contains x = 0.

    Parameters
    ----------
    series : array
        Image coefficients of shape (..., Q + 1).
    period : float
        Period of the series, nm.
    threshold : array or float
        Intensity, in units of the open frame, at which the resist switches; broadcasts with ``series.shape[:-1]``.
    bright : bool
        Whether the feature is where the image is above the threshold rather than below.

    Returns
    -------
    left, right : array
        Positions, nm; NaN where the point x = 0 is not part of a feature or the feature never ends.

    Reference: mack2007.
    """
    xp = arrays.namespace(series)
    sign = -1.0 if bright else 1.0
    level = arrays.like(threshold, series, dtype=xp.float64)
    count = max(64, _CELLS_PER_HARMONIC * (int(series.shape[-1]) - 1))
    step = period / count
    steps = arrays.like([float(j) for j in range(count + 1)], series, dtype=xp.float64) * step
    sides = arrays.like([-1.0, 1.0], series, dtype=xp.float64)
    positions = xp.reshape(sides[:, None] * steps, (-1,))
    scan = sampled(series, period, positions)
    scan = xp.reshape(scan, (*scan.shape[:-1], 2, count + 1))
    outside = sign * (scan - level[..., None, None]) >= 0.0
    first = xp.astype(xp.argmax(xp.astype(outside, xp.int8), axis=-1), xp.float64)
    distance = _polished(
        series[..., None, :], period, level[..., None], sign, sides, (first - 1.0) * step, first * step
    )
    found = xp.where(first > 0.0, sides * distance, xp.full_like(distance, math.nan))
    return found[..., 0], found[..., 1]


def _polished(series: Array, period: float, level: Array, sign: float, side: Array, near: Array, far: Array) -> Array:
    """The distance from x = 0, between *near* (inside) and *far* (outside), at which the image crosses the level."""
    xp = arrays.namespace(series)
    slack = 1e-9 * period
    guess = 0.5 * (near + far)
    for _ in range(_POLISHING_STEPS):
        value, rate = intensity_and_slope(series, period, side * guess)
        excess, rate = sign * (value - level), sign * side * rate
        near = xp.where(excess < 0.0, guess, near)
        far = xp.where(excess < 0.0, far, guess)
        newton = guess - excess / xp.where(rate == 0.0, xp.ones_like(rate), rate)
        # Without slack, rounding at a root on the bracket's end would reject Newton's step for ever.
        usable = (rate != 0.0) & (newton > near - slack) & (newton < far + slack)
        guess = xp.where(usable, newton, 0.5 * (near + far))
    return guess


def critical_dimension(series: Array, period: float, threshold: Array | float, *, bright: bool = False) -> Array:
    """Width, nm, of the feature at x = 0; NaN where it does not print. See :func:`edges`."""
    left, right = edges(series, period, threshold, bright=bright)
    return right - left


def normalised_log_slope(series: Array, period: float, x: Array, width: float) -> Array:
    """NILS at *x* nm: w |dI/dx| / I with *width* w nm, the nominal width of the feature.

    Exposure latitude follows from it: dCD/d ln E = ∓2 w/NILS. Reference: mack2007.
    """
    xp = arrays.namespace(series, x)
    value, rate = intensity_and_slope(series, period, x)
    return width * xp.abs(rate) / value


def contrast(series: Array, period: float) -> Array:
    """(I_max − I_min)/(I_max + I_min) over a period, from 64 samples per harmonic: exact to 0.2 % of the modulation."""
    xp = arrays.namespace(series)
    count = 64 * max(1, int(series.shape[-1]) - 1)
    x = arrays.like([period * j / count for j in range(count)], series, dtype=xp.float64)
    values = sampled(series, period, x)
    high, low = xp.max(values, axis=-1), xp.min(values, axis=-1)
    return (high - low) / (high + low)
