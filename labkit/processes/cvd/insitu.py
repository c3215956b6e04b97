"""In-situ film thickness: what the monitor wafer's reflectometer reports, and the rate its software derives."""

from __future__ import annotations

import numpy as np

from labkit.processes.cvd.furnace import follow

RATE_FILTER_S = 20.0
"""Time constant of the rate display, s."""


def reported_thickness(true_nm: np.ndarray, gain: float, noise_nm: np.ndarray) -> np.ndarray:
    """Reported thickness nm (sample,) for *true_nm* at the monitor: gain times truth plus sample noise."""
    return np.asarray(gain * true_nm + noise_nm)


def reported_rate(thickness_nm: np.ndarray, dt: float = 1.0) -> np.ndarray:
    """Displayed rate nm/min (sample,): the difference of successive readings through a first-order filter."""
    change = np.diff(thickness_nm, prepend=thickness_nm[:1]) / dt * 60.0
    return follow(change, 0.0, RATE_FILTER_S, dt)


def fitted_rate(time_s: np.ndarray, thickness_nm: np.ndarray) -> float:
    """Least-squares slope in nm/min of *thickness_nm* over *time_s*; NaN with fewer than three samples."""
    if time_s.size < 3:
        return float("nan")
    centred = time_s - time_s.mean()
    return float(centred @ thickness_nm / (centred @ centred) * 60.0)
