"""What a batch report tells, read from a lab once into plain tables and Datasets."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.core.process import Indicator

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from labkit.plots.strips import Step

_STRIPS = 6


class Source(Protocol):
    """What is read of a lab: its runs as a listing, and one run as a handle."""

    def runs(self, *, sort: str = "newest", limit: int = 50, **filters: Any) -> Any:
        """Runs, as rows with ``seq``."""

    def run(self, run: str | int) -> Any:
        """One run."""


@dataclass(frozen=True)
class Batches:
    """The last finished runs of one tool and process, oldest first.

    ``table`` has one row per run: ``run`` (its number), ``recipe``, ``lot``, ``started``, ``verdict``, ``headline``,
    the ``indicator`` ``measured``, ``predicted`` with ``low`` and ``high``, ``out`` (flagged) and ``alarm`` (first
    flagged). ``chart`` is the CUSUM of ``charted``, empty before the tool was qualified. ``performance`` holds Ppk per
    indicator with limits. ``flagged`` and ``healthy`` are runs to compare: the last flagged one, and the last one
    before the first alarm. ``diagnosed`` is the last run with a diagnosis, ``candidates`` are its ranked causes.
    """

    table: pd.DataFrame
    chart: pd.DataFrame
    indicator: Indicator
    charted: Indicator
    limits: tuple[float | None, float | None]
    target: float | None
    level: float
    performance: dict[str, float]
    last: Any
    healthy: Any | None = None
    flagged: Any | None = None
    diagnosed: Any | None = None
    candidates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def cause(self) -> str:
        """Leading cause of the last flagged run in words; empty if none is named."""
        if self.diagnosed is None or self.diagnosed.judgement.diagnosis.verdict == "unknown" or not self.candidates:
            return ""
        return str(self.candidates[0]["title"])


def gather(lab: Source, tool: str, *, most: int = 20) -> Batches:
    """Read the last *most* finished runs on *tool*.

    Raises
    ------
    LabkitError
        If the tool has no finished run.
    """
    import pandas as pd

    newest = [row for row in lab.runs(tool=tool, sort="newest", limit=4 * most) if row["verdict"] is not None][:most]
    if not newest:
        raise LabkitError(f"no finished run on {tool!r}", fix="run a recipe there first: lab.execute(recipe, tool=…)")
    runs = [lab.run(row["seq"]) for row in reversed(newest)]
    process = registry.process(runs[-1].recipe.process)
    indicators = {i.name: i for i in process.indicators}
    shown = process.indicators[0]
    out = [run.verdict == "anomaly" for run in runs]
    first = out.index(True) if any(out) else None
    table = pd.DataFrame([_row(run, shown.name) for run in runs]).assign(out=out)
    table["alarm"] = np.arange(len(runs)) == (-1 if first is None else first)
    charted = indicators[_loudest(runs) or shown.name]
    targets = {t.quantity: t for t in process.targets(runs[-1].recipe)}
    limit = targets.get(shown.name)
    low = limit.low if limit is not None and np.isfinite(limit.low) else None
    high = limit.high if limit is not None and np.isfinite(limit.high) else None
    diagnosed = next((run for run in reversed(runs) if run.judgement.diagnosis is not None), None)
    return Batches(
        table,
        _chart(runs, charted.name),
        shown,
        charted,
        (low, high),
        None if low is None or high is None else 0.5 * (low + high),
        runs[-1].prediction.level,
        _performance(runs, targets),
        runs[-1],
        healthy=_before(runs, first),
        flagged=next((run for run, bad in zip(reversed(runs), reversed(out), strict=True) if bad), None),
        diagnosed=diagnosed,
        candidates=[] if diagnosed is None else [dict(c) for c in diagnosed.judgement.diagnosis.candidates],
    )


def along_the_boat(batches: Batches) -> xr.Dataset:
    """Thickness of the healthy and the flagged run (or the last one alone), as :func:`labkit.plots.profile` takes."""
    import xarray as xr

    pairs = [(batches.healthy, "in control"), (batches.flagged, "flagged")]
    runs = [(run, f"Run {run.seq}, {word}") for run, word in pairs if run is not None] or [
        (batches.last, f"Run {batches.last.seq}")
    ]
    measured = [run.data["measured"]["thickness"].mean("site", keep_attrs=True).load() for run, _ in runs]
    predicted = [run.data["prediction"]["thickness"].mean("site", keep_attrs=True).load() for run, _ in runs]
    labels = [label for _, label in runs]
    found = xr.Dataset({"measured": xr.concat(measured, dim="run"), "predicted": xr.concat(predicted, dim="run")})
    return found.assign_coords(run=labels, departed=("run", [run is batches.flagged for run, _ in runs]))


def last_map(batches: Batches) -> tuple[xr.Dataset, int]:
    """Measured maps of the last run, and the slot in the middle of its load."""
    measured = batches.last.data["measured"].to_dataset().load()
    slots = measured["slot"].to_numpy()
    return measured, int(slots[slots.size // 2])


def telling_channels(batches: Batches) -> tuple[xr.Dataset, xr.Dataset | None, list[str]]:
    """Telemetry of the flagged run (else the last), of the healthy one, and the channels worth looking at.

    The channel of the suspected part comes first, then the first channel of every unit.
    """
    run = batches.flagged or batches.last
    process = registry.process(run.recipe.process)
    telemetry = _described(run.data["telemetry"].to_dataset().load(), process)
    healthy = (
        None if batches.healthy is None else _described(batches.healthy.data["telemetry"].to_dataset().load(), process)
    )
    held = [c for c in process.channels if c.name in telemetry and c.units != "1"]
    suspect = str(batches.candidates[0]["path"]).rpartition(".")[2] if batches.candidates else ""
    chosen = [c.name for c in held if suspect and suspect in c.name.split("_")][:1]
    units = {c.units for c in held if c.name in chosen}
    for channel in held:
        if channel.units not in units:
            chosen.append(channel.name)
            units.add(channel.units)
    return telemetry, healthy, chosen[:_STRIPS]


def steps_of(run: Any, telemetry: xr.Dataset) -> list[Step]:
    """The recipe's steps as they were passed, from channel ``step``; none if the tool does not report it."""
    from labkit.plots.strips import Step

    names = [str(step.name) for step in getattr(run.recipe, "recipe_steps", ())]
    if "step" not in telemetry or not names:
        return []
    position = telemetry["step"].to_numpy().astype(int)
    seconds = telemetry["time"].to_numpy().astype(float)
    edges = [0, *(np.flatnonzero(np.diff(position)) + 1), position.size - 1]
    return [
        Step(names[position[start]].replace("_", " "), float(seconds[start]), float(seconds[end]))
        for start, end in pairwise(edges)
        if 0 <= position[start] < len(names) and end > start
    ]


def refused(lab: Source) -> Any | None:
    """The last run that pre-flight stopped, if there is one."""
    rows = list(lab.runs(state="BLOCKED", sort="newest", limit=1))
    return lab.run(rows[0]["seq"]) if rows else None


def _row(run: Any, indicator: str) -> dict[str, Any]:
    estimate = run.prediction.estimate(indicator)
    return {
        "run": run.seq,
        "recipe": run.recipe.name,
        "lot": run.record["lot"] or "",
        "started": run.record["started"],
        "verdict": run.verdict,
        "headline": run.judgement.headline,
        "measured": run.measured.get(indicator, np.nan),
        "predicted": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
    }


def _loudest(runs: list[Any]) -> str:
    """The indicator whose CUSUM went farthest beyond its decision interval; empty before qualification."""
    reached = [
        (max(chart["high"], chart["low"]) / chart["h"], name)
        for run in runs
        for name, chart in run.judgement.charts.items()
        if np.isfinite(chart["high"] + chart["low"])
    ]
    return max(reached)[1] if reached else ""


def _chart(runs: list[Any], indicator: str) -> pd.DataFrame:
    """CUSUM of *indicator* per run; ``alarm`` is the first run beyond the decision interval."""
    import pandas as pd

    rows = [
        {"run": run.seq, "cusum_high": chart["high"], "cusum_low": chart["low"], "h": chart["h"]}
        for run in runs
        if (chart := run.judgement.charts.get(indicator)) is not None
    ]
    table = pd.DataFrame(rows, columns=["run", "cusum_high", "cusum_low", "h"])
    beyond = table[["cusum_high", "cusum_low"]].max(axis=1) > table["h"]
    return table.assign(alarm=beyond & (beyond.cumsum() == 1))


def _before(runs: list[Any], first: int | None) -> Any | None:
    """The last run before the first alarm; the last run of all where there was no alarm."""
    if first is None:
        return runs[-1]
    return runs[first - 1] if first else None


def _performance(runs: list[Any], targets: dict[str, Any]) -> dict[str, float]:
    """Ppk of all runs against the recipe's targets, for every indicator that has enough values and spread."""
    from labkit.control.capability import capability

    found = {}
    for name, limit in targets.items():
        values = [run.measured[name] for run in runs if np.isfinite(run.measured.get(name, np.nan))]
        low, high = (limit.low if np.isfinite(limit.low) else None), (limit.high if np.isfinite(limit.high) else None)
        if low is None and high is None:
            continue
        try:
            found[name] = float(capability(values, lower=low, upper=high).ppk.value)
        except LabkitError:
            continue
    return found


def _described(telemetry: xr.Dataset, process: Any) -> xr.Dataset:
    for channel in process.channels:
        if channel.name in telemetry:
            telemetry[channel.name].attrs.setdefault("units", channel.units)
            telemetry[channel.name].attrs["long_name"] = brief(channel.name, channel.units)
    return telemetry


def brief(name: str, units: str) -> str:
    """Name of a channel or indicator in words, without its unit: ``gas_flow_SiH4_sccm`` is ``gas flow SiH4``."""
    suffixes = {"degC": "_c", "percent": "_pct", "mJ/cm2": "_mj_cm2"}
    return name.removesuffix(suffixes.get(units, f"_{units.replace('/', '_per_')}")).replace("_", " ")
