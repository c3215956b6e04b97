"""The ellipsometer: thickness at every site and index per wafer, with its error."""

from __future__ import annotations

import numpy as np
import xarray as xr

SITE_SIGMA_NM = 0.10
"""Repeatability of one site, nm (1σ; illustrative, of the size makers state for a 100 nm oxide)."""
SITE_SIGMA_RELATIVE = 0.0005
"""Part of the site error that grows with thickness (illustrative)."""
CALIBRATION_SIGMA = 0.0005
"""Day-to-day calibration of the thickness scale, relative (illustrative)."""
INDEX_SIGMA = 5e-4
"""Repeatability of one wafer's index (illustrative)."""
INDEX_CALIBRATION_SIGMA = 1.5e-4
"""Day-to-day calibration of the index (illustrative)."""


def measure(truth: xr.Dataset, *, seed: int) -> xr.Dataset:
    """*truth* as the ellipsometer reports it, deterministic in *seed*; thickness is never negative."""
    rng = np.random.default_rng([seed, 0x456C6C])
    scale = 1.0 + CALIBRATION_SIGMA * rng.standard_normal()
    index_shift = INDEX_CALIBRATION_SIGMA * rng.standard_normal()
    thickness = truth["thickness"]
    sigma = np.hypot(SITE_SIGMA_NM, SITE_SIGMA_RELATIVE * thickness.values)
    read = np.clip(thickness.values * scale + sigma * rng.standard_normal(thickness.shape), 0.0, None)
    index = truth["refractive_index"]
    index_read = index.values + index_shift + INDEX_SIGMA * rng.standard_normal(index.shape)
    found = truth.assign(thickness=thickness.copy(data=read), refractive_index=index.copy(data=index_read))
    found.attrs["measured_with"] = "simulated ellipsometer"
    found.attrs["measurement_seed"] = seed
    return found
