"""Two-sided tabular CUSUM with a stated false-alarm rate and an estimate of when the departure began."""

from __future__ import annotations

import math
from dataclasses import dataclass

from labkit.control.run_length import cusum_false_alarm_rate, cusum_interval
from labkit.control.state import Stored
from labkit.core.errors import LabkitError


@dataclass(frozen=True)
class CusumState(Stored):
    """Where a CUSUM stands: both sums, runs seen, and over how many runs each sum has been positive."""

    high: float = 0.0
    low: float = 0.0
    runs: int = 0
    high_runs: int = 0
    low_runs: int = 0


@dataclass(frozen=True)
class CusumSignal(Stored):
    """What a CUSUM says about a run.

    ``side`` is ``"high"``, ``"low"`` or ``""``. On an alarm ``first_run`` is the estimated first departed run
    (1-based: the one after the sum was last zero) and ``shift`` the estimated mean since then, in standard deviations.
    """

    alarm: bool
    side: str
    first_run: int
    shift: float


@dataclass(frozen=True)
class Cusum(Stored):
    """Two-sided tabular CUSUM of a standardised measurement z.

    ``H_t = max(0, H_{t−1} + z_t − k)``, ``L_t = max(0, L_{t−1} − z_t − k)``; alarm when one is strictly above h.

    Parameters
    ----------
    reference
        k in standard deviations: half the shift that is to be found fastest.
    interval
        h in standard deviations; see :meth:`designed`.
    head_start
        Fast initial response: where both sums start, in standard deviations (Lucas and Crosier take h/2).
    baseline_runs, dof
        The baseline that z was standardised with, for the stated rate; ``None`` means known exactly.

    References
    ----------
    Page, Biometrika 41 (1954) 100, doi:10.1093/biomet/41.1-2.100; NIST/SEMATECH e-Handbook, section 6.3.2.3.
    """

    reference: float
    interval: float
    head_start: float = 0.0
    baseline_runs: int | None = None
    dof: float | None = None

    def __post_init__(self) -> None:
        if not (self.reference > 0.0 and self.interval > 0.0 and 0.0 <= self.head_start < self.interval):
            raise LabkitError(
                f"CUSUM with k {self.reference:g}, h {self.interval:g}, head start {self.head_start:g}",
                allowed="k and h above 0, head start from 0 to below h",
            )

    @classmethod
    def designed(
        cls,
        average_run_length: float,
        *,
        reference: float | None = None,
        baseline_runs: int | None = None,
        dof: float | None = None,
        charts: int = 1,
    ) -> Cusum:
        """The CUSUM whose false-alarm rate is 1/*average_run_length* per run over all *charts* charts together.

        A baseline of few runs is guard-banded: with n = 10 and k = 0.5 the textbook h = 4.77 (ARL 370) would alarm
        on about one healthy run in 50 instead of one in 370, because the error of the centre looks like a shift; h is
        raised until the rate, averaged over baselines, is the one asked for. Without *reference*, k is the larger of
        0.5 and 3/sqrt(n) (three standard errors of the centre: below that h grows out of proportion). A shift much
        smaller than that cannot be found against so short a baseline, and is not claimed.
        """
        if reference is None:
            reference = 0.5 if baseline_runs is None else max(0.5, 3.0 / math.sqrt(baseline_runs))
        interval = cusum_interval(average_run_length * charts, reference, baseline_runs=baseline_runs, dof=dof)
        return cls(reference, interval, baseline_runs=baseline_runs, dof=dof)

    @property
    def false_alarm_rate(self) -> float:
        """Stated share of healthy runs with an alarm (sums restarted after each), see :mod:`.run_length`."""
        return cusum_false_alarm_rate(self.reference, self.interval, baseline_runs=self.baseline_runs, dof=self.dof)

    def start(self, runs: int = 0) -> CusumState:
        """The state before the next run, when *runs* runs have been seen (also how to restart after an alarm)."""
        return CusumState(self.head_start, self.head_start, runs)

    def update(self, state: CusumState, measurement: float) -> tuple[CusumState, CusumSignal]:
        """The next state and what the chart says; a missing measurement (NaN) counts as a run that says nothing."""
        runs = state.runs + 1
        z = measurement
        if math.isnan(z):
            return (
                CusumState(
                    state.high,
                    state.low,
                    runs,
                    state.high_runs + (state.high > 0.0),
                    state.low_runs + (state.low > 0.0),
                ),
                CusumSignal(False, "", 0, 0.0),
            )
        high = max(0.0, state.high + z - self.reference)
        low = max(0.0, state.low - z - self.reference)
        high_runs = state.high_runs + 1 if high > 0.0 else 0
        low_runs = state.low_runs + 1 if low > 0.0 else 0
        after = CusumState(high, low, runs, high_runs, low_runs)
        if max(high, low) <= self.interval:
            return after, CusumSignal(False, "", 0, 0.0)
        if high >= low:
            length, shift, side = high_runs, self.reference + high / high_runs, "high"
        else:
            length, shift, side = low_runs, -self.reference - low / low_runs, "low"
        return after, CusumSignal(True, side, runs - length + 1, shift)
