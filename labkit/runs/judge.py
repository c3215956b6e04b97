"""Judgement: is the result in limits, is the tool in control, and if not, what is the matter.

Residuals are measured values against *physics for the recipe that ran*, in the scatter of a baseline that was frozen
when the tool was qualified. What the tool has learned since does not enter, so learning cannot absorb a drift; an
approved recipe move enters through the physics, so a correction is not reported as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from labkit.control.baseline import Baseline
from labkit.control.cusum import Cusum, CusumState
from labkit.control.diagnosis import Candidate, Diagnosis, diagnose
from labkit.core.errors import LabkitError
from labkit.core.limits import Limit, Severity, Violation, violations
from labkit.core.process import Process
from labkit.core.recipe import Recipe

if TYPE_CHECKING:
    import xarray as xr

CENTRE_ERRORS = 4.5
"""CUSUM reference k in standard errors of the baseline's centre: a shift the baseline may owe to chance is not
chased."""
LONGEST_WINDOW = 60
"""Runs of residuals kept for a diagnosis."""
SECANT_TOLERANCE = 0.05
"""Relative error granted to a signature taken at the fault's own size: quasi-steady physics against the noise-free
twin of a tube differs by 0.04 or less for departures of four steps, where a one-step signature is off by up to 0.4."""
_REFINEMENTS, _SUSPECTS = 3, 4
_MOVED = 0.2
_SMALLEST = 0.25


UNREADABLE = "unreadable"
"""Chart name of an alarm about a reading that cannot be, such as a thickness of zero."""
Signatures = Callable[[Mapping[str, float]], Mapping[str, Mapping[str, float]]]
"""Per fault mode asked for, with its size in steps, the change of each residual per step."""


@dataclass(frozen=True)
class Charts:
    """A frozen baseline and the charts designed for it: half of the false-alarm rate to individuals, half to CUSUMs."""

    baseline: Baseline
    widths: Mapping[str, float]
    cusums: Mapping[str, Cusum]
    false_alarm_rate: float

    @classmethod
    def design(cls, process: Process, residuals: Mapping[str, Sequence[float]], false_alarm_rate: float) -> Charts:
        """Charts from the residuals of qualification runs, which alarm on a healthy run with *false_alarm_rate* in
        all."""
        prior = {i.name: i.sigma for i in process.indicators}
        baseline = Baseline.qualify({name: residuals[name] for name in prior}, prior)
        share = 0.5 * false_alarm_rate
        reference = max(0.5, CENTRE_ERRORS / math.sqrt(min(baseline.runs)))
        return cls(
            baseline,
            {name: baseline.shewhart_width(name, share / len(prior)) for name in prior},
            {name: baseline.cusum(name, 1.0 / share, reference=reference, charts=len(prior)) for name in prior},
            false_alarm_rate,
        )

    def document(self) -> dict[str, Any]:
        """The charts as JSON."""
        return {
            "baseline": self.baseline.to_dict(),
            "widths": dict(self.widths),
            "false_alarm_rate": self.false_alarm_rate,
            "cusums": {name: cusum.to_dict() for name, cusum in self.cusums.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Charts:
        """The charts that :meth:`document` wrote."""
        return cls(
            Baseline.from_dict(document["baseline"]),
            document["widths"],
            {name: Cusum.from_dict(cusum) for name, cusum in document["cusums"].items()},
            document["false_alarm_rate"],
        )


@dataclass(frozen=True)
class ChartState:
    """Where the charts of one tool and family stand: one CUSUM per indicator, and the residuals since the last
    reset."""

    cusums: Mapping[str, CusumState] = field(default_factory=dict)
    window: tuple[Mapping[str, float], ...] = ()
    runs: int = 0

    def document(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "cusums": {name: state.to_dict() for name, state in self.cusums.items()},
            "window": [dict(row) for row in self.window],
            "runs": self.runs,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ChartState:
        """The state that :meth:`document` wrote."""
        window = tuple({k: math.nan if v is None else v for k, v in row.items()} for row in document["window"])
        return cls({name: CusumState.from_dict(s) for name, s in document["cusums"].items()}, window, document["runs"])


@dataclass(frozen=True)
class Alarm:
    """A chart that signals: which, on which indicator, how far, and the estimated first departed run (counting
    back)."""

    indicator: str
    chart: str
    statistic: float
    limit: float
    runs_back: int


@dataclass(frozen=True)
class Judgement:
    """The verdict on one run and its grounds.

    ``verdict`` is ``"pass"``; ``"fail"`` when a hard limit on a result is broken; ``"anomaly"`` when a chart signals.
    ``headline`` is the verdict in one line, ``evidence`` the chart that says so, ``advice`` what to do. ``z`` are
    residuals in standard deviations of the baseline, ``charts`` the statistic and limit of each CUSUM; both are empty
    while the tool has no baseline.
    """

    verdict: str
    headline: str
    advice: str
    residuals: Mapping[str, float]
    z: Mapping[str, float]
    charts: Mapping[str, Mapping[str, float]]
    alarms: tuple[Alarm, ...]
    violations: tuple[Violation, ...]
    diagnosis: Diagnosis | None
    causes: tuple[Mapping[str, Any], ...] = ()
    evidence: str = ""

    def document(self) -> dict[str, Any]:
        """The judgement as JSON for the run's record."""
        return {
            "verdict": self.verdict,
            "headline": self.headline,
            "advice": self.advice,
            "evidence": self.evidence,
            "residuals": dict(self.residuals),
            "z": dict(self.z),
            "charts": {k: dict(v) for k, v in self.charts.items()},
            "alarms": [vars(a) for a in self.alarms],
            "violations": [str(v) for v in self.violations],
            "diagnosis": None
            if self.diagnosis is None
            else {
                "verdict": self.diagnosis.verdict,
                "significance": self.diagnosis.significance,
                "runs": self.diagnosis.runs,
                "candidates": [dict(c) for c in self.causes],
            },
        }


def judge(
    process: Process,
    recipe: Recipe,
    measured: Mapping[str, float],
    physics: Mapping[str, float],
    limits: Sequence[Limit],
    charts: Charts | None,
    state: ChartState,
    signatures: Signatures,
) -> tuple[Judgement, ChartState]:
    """Judge one run and return the charts' next state. Pure: the same arguments give the same judgement.

    Parameters
    ----------
    measured, physics
        Indicator values of the run, and what noise-free physics expects for the recipe that ran.
    limits
        Limits on indicators.
    charts, state
        The tool's charts (none before qualification) and where they stand.
    signatures
        Called only on an alarm: for the fault modes and sizes (in steps) asked for, the change of each residual per
        step (see :func:`fault_signatures`).
    """
    residuals = {i.name: i.compare(measured[i.name], physics[i.name]) for i in process.indicators if i.name in measured}
    broken = violations(limits, measured)
    hard = [v for v in broken if v.limit.severity is Severity.HARD]
    if charts is None:
        headline = str(hard[0]) if hard else "in limits; no baseline yet, so only limits were judged"
        verdict = "fail" if hard else "pass"
        return Judgement(verdict, headline, "", residuals, {}, {}, (), broken, None), state
    z = charts.baseline.standardised(residuals)
    following, shown, alarms = _update(charts, state, residuals, z)
    alarms = (*_unreadable(measured, residuals), *alarms)
    unmeasured = [name for name in z if math.isnan(z[name])]
    if not alarms and len(unmeasured) < len(z):
        headline = str(hard[0]) if hard else "in control"
        headline += f"; not measured: {', '.join(unmeasured)}" if unmeasured else ""
        advice = "the tool is in control: the recipe or its limits do not fit" if hard else ""
        return Judgement("fail" if hard else "pass", headline, advice, residuals, z, shown, (), broken, None), following
    if not alarms or all(a.chart == UNREADABLE for a in alarms):
        headline = f"{alarms[0].indicator} reads {alarms[0].statistic:g}" if alarms else "no indicator was measured"
        return (
            Judgement(
                "anomaly",
                headline,
                "nothing was made, or nothing was read: look at the wafers and the gauge",
                residuals,
                z,
                shown,
                alarms,
                broken,
                None,
                (),
                _evidence(alarms) if alarms else "",
            ),
            following,
        )
    window = following.window[-max(a.runs_back for a in alarms) :]
    found = explain(process, window, signatures, charts.baseline)
    causes = tuple(_cause(process, candidate) for candidate in found.candidates)
    headline, advice = _words(found, causes)
    return (
        Judgement("anomaly", headline, advice, residuals, z, shown, alarms, broken, found, causes, _evidence(alarms)),
        following,
    )


def explain(
    process: Process, window: Sequence[Mapping[str, float]], signatures: Signatures, baseline: Baseline
) -> Diagnosis:
    """Diagnosis of the residuals in *window*, with each suspected fault's signature taken at the size it would have.

    A fault of several steps is not its one-step signature times its size: physics bends. So the suspects' signatures
    are taken again at their estimated amplitudes until those stand still.
    """
    one_sided = {mode.name for mode in process.fault_modes if not mode.opposite}
    sizes = {mode.name: 1.0 for mode in process.fault_modes}
    known = dict(signatures(sizes))
    found = diagnose(window, known, baseline, one_sided=one_sided)
    for _ in range(_REFINEMENTS):
        suspects = {
            c.fault: math.copysign(max(abs(c.amplitude), _SMALLEST), c.amplitude)
            for c in found.candidates[:_SUSPECTS]
            if c.significance < found.level
        }
        moved = {fault: size for fault, size in suspects.items() if abs(size - sizes[fault]) > _MOVED * abs(size)}
        known |= signatures(moved) if moved else {}
        sizes |= moved
        found = diagnose(window, known, baseline, tolerance=SECANT_TOLERANCE, one_sided=one_sided)
        if not moved:
            break
    return found


def fault_signatures(
    process: Process, recipe: Recipe, wafer: xr.Dataset, physics: Mapping[str, float], sizes: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Change of every indicator's residual per step of the fault modes in *sizes*, by finite difference of the physics.

    The difference is taken over the size given, in steps; over one step where the equipment cannot be in such a state.
    """
    found: dict[str, dict[str, float]] = {}
    for mode in process.fault_modes:
        if mode.name not in sizes:
            continue
        size = sizes[mode.name]
        try:
            moved = process.expected(recipe, wafer, process.condition_type().shifted(mode.path, size * mode.step))
        except (LabkitError, ValueError):
            size = 1.0
            moved = process.expected(recipe, wafer, process.condition_type().shifted(mode.path, mode.step))
        change = {i.name: i.compare(moved[i.name], physics[i.name]) / size for i in process.indicators}
        found[mode.name] = {name: value for name, value in change.items() if math.isfinite(value)}
    return found


def _unreadable(measured: Mapping[str, float], residuals: Mapping[str, float]) -> tuple[Alarm, ...]:
    """Alarms of indicators that read a number no ratio can be taken of (zero, negative, infinite)."""
    return tuple(
        Alarm(name, UNREADABLE, float(measured[name]), 0.0, 1)
        for name, value in residuals.items()
        if not math.isfinite(value) and not math.isnan(measured[name])
    )


def _update(
    charts: Charts, state: ChartState, residuals: Mapping[str, float], z: Mapping[str, float]
) -> tuple[ChartState, dict[str, dict[str, float]], tuple[Alarm, ...]]:
    alarms: list[Alarm] = []
    cusums: dict[str, CusumState] = {}
    shown: dict[str, dict[str, float]] = {}
    runs = state.runs + 1
    for name, value in z.items():
        cusum = charts.cusums[name]
        cusums[name], signal = cusum.update(state.cusums.get(name, cusum.start(state.runs)), value)
        shown[name] = {
            "z": value,
            "width": charts.widths[name],
            "high": cusums[name].high,
            "low": cusums[name].low,
            "h": cusum.interval,
        }
        if signal.alarm:
            statistic = max(cusums[name].high, cusums[name].low)
            alarms.append(Alarm(name, "cusum", statistic, cusum.interval, runs - signal.first_run + 1))
        if abs(value) > charts.widths[name]:
            alarms.append(Alarm(name, "individuals", value, charts.widths[name], 1))
    window = (*state.window, dict(residuals))[-LONGEST_WINDOW:]
    alarms.sort(key=lambda a: -abs(a.statistic) / a.limit)
    return (
        ChartState(cusums, window, runs),
        shown,
        tuple(replace(a, runs_back=min(a.runs_back, len(window))) for a in alarms),
    )


def _cause(process: Process, candidate: Candidate) -> dict[str, Any]:
    """A candidate in the words and units of its fault mode."""
    mode = next(m for m in process.fault_modes if m.name == candidate.fault)
    low, high = sorted((candidate.low * mode.step, candidate.high * mode.step))
    return {
        "fault": mode.name,
        "title": mode.words(candidate.amplitude),
        "advice": mode.advice,
        "path": mode.path,
        "shape": candidate.shape,
        "weight": candidate.weight,
        "explained": candidate.explained,
        "misfit": candidate.misfit,
        "amplitude": candidate.amplitude * mode.step,
        "low": low,
        "high": high,
    }


def _evidence(alarms: Sequence[Alarm]) -> str:
    first = alarms[0]
    others = len({a.indicator for a in alarms}) - 1
    more = f" and {others} more" if others else ""
    since = f"for {first.runs_back} runs" if first.runs_back > 1 else "in this run"
    return f"{first.indicator}{more} out of control {since} ({first.chart})"


def _words(found: Diagnosis, causes: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    named = [c for c in causes if c["fault"] in found.faults]
    if not named:
        headline = "no known fault explains the departure" if found.verdict == "unknown" else "no cause stands out yet"
        headline += f": {found.isolated} departs alone, which may be its gauge" if found.isolated else ""
        return headline, "hold the lot, look at the residuals, and compare with maintenance since the baseline"
    leading = named[0]
    size = f"{leading['path']} {leading['amplitude']:+.2g} (95 % {leading['low']:+.2g} to {leading['high']:+.2g})"
    others = "" if len(named) == 1 else " — or: " + ", ".join(c["title"] for c in named[1:])
    return f"{leading['title']}: {size}{others}", " / ".join(dict.fromkeys(c["advice"] for c in named))
