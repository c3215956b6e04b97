"""Mass-flow controllers: reported flow follows its setpoint with one time constant; true flow is gain times that."""

from __future__ import annotations

import numpy as np

from labkit.processes.cvd.furnace import follow


def delivered(setpoint: np.ndarray, lag_s: float, dt: float = 1.0) -> np.ndarray:
    """Flow inside the controller, in the unit of *setpoint* (sample,), averaged over each sample.

    The controller starts closed. First-order lag, exact for a setpoint held over each sample; the mean over the sample
    is what a balance needs, so that the gas delivered over a pulse equals setpoint times duration.
    """
    end = follow(setpoint, 0.0, lag_s, dt)
    start = np.concatenate([[0.0], end[:-1]])
    return np.asarray(setpoint - (end - start) * (lag_s / dt))
