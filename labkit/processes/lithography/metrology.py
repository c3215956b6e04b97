"""What the fab's instruments would report of an exposed wafer: CD-SEM, focus monitor by overlay, dose and flare pads.

Each instrument has a calibration error common to a run and a random error per reading. Magnitudes are illustrative,
of the order that current instruments state as precision.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

CD_SEM_SITE_NM = 0.3
"""Standard deviation of one line-width reading, nm."""
CD_SEM_RUN_NM = 0.1
"""Standard deviation of the CD-SEM's calibration from run to run, nm."""
DOSE_MONITOR_SITE = 0.003
"""Relative standard deviation of one open-pad dose reading."""
DOSE_MONITOR_RUN = 0.001
"""Relative standard deviation of the open-pad calibration from run to run."""
FLARE_SITE_PCT = 0.1
"""Standard deviation of one opaque-pad flare reading, per cent of the open frame."""
FLARE_RUN_PCT = 0.05
"""Standard deviation of the opaque-pad calibration from run to run, per cent of the open frame."""
OVERLAY_SITE_NM = 0.2
"""Standard deviation of one overlay reading of the focus monitor, nm."""
OVERLAY_RUN_NM = 0.05
"""Standard deviation of the overlay tool's own shift from run to run, nm."""


def measured(truth: xr.Dataset, *, seed: int) -> xr.Dataset:
    """*truth* as the instruments report it, with their errors drawn from *seed*; scanner read-outs pass unchanged."""
    random = np.random.default_rng([seed, 2])
    shape = truth["cd"].shape
    cd = truth["cd"] + _errors(random, shape, CD_SEM_RUN_NM, CD_SEM_SITE_NM)
    dose = truth["dose_monitor"] * (1.0 + _errors(random, shape, DOSE_MONITOR_RUN, DOSE_MONITOR_SITE))
    shift = truth["focus_monitor"] + _errors(random, shape, OVERLAY_RUN_NM, OVERLAY_SITE_NM)
    flare = truth["flare_monitor"] + _errors(random, shape, FLARE_RUN_PCT, FLARE_SITE_PCT)
    found = {"cd": cd.clip(min=0.0), "dose_monitor": dose.clip(min=0.0), "focus_monitor": shift, "flare_monitor": flare}
    return truth.assign({name: array.assign_attrs(truth[name].attrs) for name, array in found.items()})


def _errors(random: np.random.Generator, shape: tuple[int, ...], run: float, site: float) -> np.ndarray:
    return run * random.standard_normal() + site * random.standard_normal(shape)
