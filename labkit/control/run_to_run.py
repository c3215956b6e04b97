"""Run-to-run control: EWMA and double-EWMA controllers that correct the next run from the last measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass

from labkit.control.state import Stored
from labkit.core.errors import LabkitError


@dataclass(frozen=True)
class ControllerState(Stored):
    """What a controller believes (offset of the process, its drift per run) and the action now in force."""

    offset: float = 0.0
    drift: float = 0.0
    action: float = 0.0
    runs: int = 0


@dataclass(frozen=True)
class EwmaController(Stored):
    """Keeps ``y = gain · action + offset`` at target by tracking the offset.

    With the forecast error ``e_t = y_t − gain·u_t − (c_{t−1} + d_{t−1})``:
    ``c_t = c_{t−1} + d_{t−1} + λ e_t``, ``d_t = d_{t−1} + λ_d e_t``, ``u_{t+1} = (target − c_t − d_t)/gain``.
    ``drift_weight`` λ_d = 0 is the single EWMA, which lags a drift of δ per run by δ/λ; λ_d > 0 removes the lag.

    Parameters
    ----------
    target, gain
        Wanted output and its change per unit of action (from the model; it may be wrong by a factor below 2/λ).
    weight, drift_weight
        λ above 0 and at most 1; λ_d from 0 to λ.
    deadband
        The action stays while the predicted output without a move is within this distance of target.
    low, high, largest_move
        Bounds of the action and of one move; ``None`` leaves them open. The offset is learned from the action that was
        really in force, so a bound does not wind up.

    References
    ----------
    Sachs, Hu, Ingolfsson, IEEE Trans. Semicond. Manuf. 8 (1995) 26, doi:10.1109/66.350755;
    Butler, Stefani, IEEE Trans. Semicond. Manuf. 7 (1994) 193.
    """

    target: float
    gain: float
    weight: float = 0.4
    drift_weight: float = 0.0
    deadband: float = 0.0
    low: float | None = None
    high: float | None = None
    largest_move: float | None = None

    def __post_init__(self) -> None:
        if self.gain == 0.0 or not math.isfinite(self.gain):
            raise LabkitError(
                f"controller gain {self.gain:g}",
                allowed="a finite number other than 0",
                fix="choose a knob that moves the output",
            )
        if not (0.0 < self.weight <= 1.0 and 0.0 <= self.drift_weight <= self.weight and self.deadband >= 0.0):
            raise LabkitError(
                f"controller with weight {self.weight:g}, drift weight {self.drift_weight:g}, "
                f"deadband {self.deadband:g}",
                allowed="weight above 0 and at most 1, drift weight 0 to weight, deadband at least 0",
            )
        if self.low is not None and self.high is not None and self.low > self.high:
            raise LabkitError(f"controller bounds {self.low:g} to {self.high:g}", allowed="low at most high")

    def start(self, action: float) -> ControllerState:
        """The state before the first run, with *action* in force and the process on target."""
        return ControllerState(offset=self.target - self.gain * action, action=action)

    def update(
        self, state: ControllerState, measurement: float, *, action: float | None = None
    ) -> tuple[ControllerState, float]:
        """The next state and the action for the next run.

        *action* is what was really in force if it was not ``state.action`` (a suggestion that nobody approved). A
        missing measurement (NaN) moves the forecast on by the drift and learns nothing.
        """
        applied = state.action if action is None else action
        forecast = state.offset + state.drift
        error = 0.0 if math.isnan(measurement) else measurement - self.gain * applied - forecast
        offset = forecast + self.weight * error
        drift = state.drift + self.drift_weight * error
        following = self._bounded(applied, offset + drift)
        return ControllerState(offset, drift, following, state.runs + 1), following

    def _bounded(self, applied: float, disturbance: float) -> float:
        if abs(self.gain * applied + disturbance - self.target) <= self.deadband:
            wanted = applied
        else:
            wanted = (self.target - disturbance) / self.gain
        if self.largest_move is not None:
            wanted = min(max(wanted, applied - self.largest_move), applied + self.largest_move)
        if self.low is not None:
            wanted = max(wanted, self.low)
        return wanted if self.high is None else min(wanted, self.high)
