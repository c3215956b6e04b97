"""Charts over runs: measured against predicted, and the statistic of a control chart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import LabkitError
from labkit.plots import theme
from labkit.plots.labels import Key, draw_keys, in_margin, note
from labkit.plots.notation import axis, short, unit_sign

if TYPE_CHECKING:
    import pandas as pd

_REACH = 3.0
"""A limit farther from the data than this many data spans is named at the edge instead of drawn to scale."""


def prediction_chart(
    table: pd.DataFrame,
    *,
    quantity: str = "Measured value",
    units: str = "1",
    run_label: str = "Batch",
    target: float | None = None,
    limits: tuple[float | None, float | None] = (None, None),
    level: float | None = None,
) -> Any:
    """Measured values per run over the band that was predicted for them.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per run: ``run`` (number on the axis), ``measured``, ``predicted``, ``low`` and ``high`` (in *units*);
        optional booleans ``out`` (out of control: marked) and ``alarm`` (the first such run is annotated).
    quantity, units, run_label : str
        What is measured, its unit (UDUNITS spelling), and what a run is called.
    target, limits : float or None
        Target and lower/upper specification limit, in *units*.
    level : float, optional
        Level of the predicted interval, e.g. 0.95.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    LabkitError
        If the table has no rows or lacks a column.
    """
    import holoviews as hv

    _require(table, ("run", "measured", "predicted", "low", "high"))
    runs, measured, predicted, low, high = (
        table[name].to_numpy(dtype=float) for name in ("run", "measured", "predicted", "low", "high")
    )
    x, y = axis("run", run_label, "1"), axis("measured", quantity, units)
    band = "Predicted interval" if level is None else f"Predicted, {100 * level:g} % interval"
    bounds = _visible(np.concatenate([measured, low, high]), target, limits)
    out = table["out"].to_numpy(bool) if "out" in table else np.zeros(runs.size, bool)
    layers = [
        theme.area(hv.Area(_widened(runs, low, high), x, [y, axis("high", "Predicted, upper end", units)], label=band)),
        theme.line(hv.Curve((runs, predicted), x, y, label="Predicted"), theme.MUTED, "dashed"),
        *_references(target, limits, bounds, units, runs),
        *_markers(runs, measured, out, x, y, label="Measured"),
        *_alarm(table, bounds),
    ]
    keys = [
        Key("Measured", "marker", theme.HEALTHY),
        Key("Predicted", "line", theme.MUTED, "dashed"),
        Key(band, "area", theme.BAND),
    ]
    if out.any():
        keys.insert(1, Key("Out of control", "hollow", theme.DEPARTED, marker="s"))
    return _panel(layers, keys, x, y, runs, bounds, height=3.3)


def control_chart(
    table: pd.DataFrame, *, quantity: str = "CUSUM of the residual", units: str = "1", run_label: str = "Batch"
) -> Any:
    """The statistic of a control chart per run, with its limits.

    A two-sided CUSUM is drawn as usual: the upper sum above zero, the lower sum below.

    Parameters
    ----------
    table : pandas.DataFrame
        ``run`` and either ``cusum_high``, ``cusum_low`` (both ≥ 0) and ``h`` (decision interval), or
        ``value``, ``centre``, ``low`` and ``high`` for an individuals chart; optional boolean ``alarm``
        (the first such run is annotated).
    quantity, units, run_label : str
        What is charted, its unit, and what a run is called.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    LabkitError
        If the table has no rows or lacks a column.
    """
    import holoviews as hv

    x, y = axis("run", run_label, "1"), axis("statistic", quantity, units)
    series, limits, centre = _statistic(table)
    runs = table["run"].to_numpy(float)
    bounds = theme.padded(np.concatenate([*limits.values(), *series.values()]), below=0.06, above=0.16)
    layers = [theme.line(hv.HLine(centre), theme.MUTED, "solid", 0.9)]
    layers += [theme.line(hv.Curve((runs, limit), x, y), theme.INK, "dashed") for limit in limits.values()]
    lower, upper = limits.values()
    keys = []
    for (label, values), (colour, _, marker) in zip(series.items(), theme.SERIES, strict=False):
        layers.append(theme.line(hv.Curve((runs, values), x, y), colour))
        layers += _markers(
            runs, values, (values > upper) | (values < lower), x, y, label=label, colour=colour, marker=marker
        )
        keys.append(Key(label, "both", colour, marker=marker))
    if any(((values > upper) | (values < lower)).any() for values in series.values()):
        keys.append(Key("Beyond the limit", "hollow", theme.DEPARTED, marker="s"))
    names = [(float(limit[-1]), f"{name} = {short(float(limit[-1]), 3)}", theme.INK) for name, limit in limits.items()]
    layers += in_margin(names, _margin(runs), bounds, 2.2)
    layers += _alarm(table, bounds)
    return _panel(layers, keys, x, y, runs, bounds, height=2.9)


def _statistic(table: pd.DataFrame) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], float]:
    """The series to draw, the lower and upper limit, each by name, and the centre line."""
    if "cusum_high" in table:
        _require(table, ("run", "cusum_high", "cusum_low", "h"))
        high, low, h = (table[name].to_numpy(float) for name in ("cusum_high", "cusum_low", "h"))
        return {"Upper sum": high, "Lower sum": -low}, {"−h": -h, "h": h}, 0.0
    _require(table, ("run", "value", "centre", "low", "high"))
    value, low, high = (table[name].to_numpy(float) for name in ("value", "low", "high"))
    return {"Individual value": value}, {"LCL": low, "UCL": high}, float(table["centre"].iloc[-1])


def _panel(
    layers: list[Any], keys: list[Key], x: Any, y: Any, runs: np.ndarray, bounds: tuple[float, float], *, height: float
) -> Any:
    import holoviews as hv

    first, last = float(runs.min()), float(runs.max())
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if (last - first) / s <= 22)
    ticks = [int(r) for r in range(math.ceil(first), math.floor(last) + 1) if r % step == 0 or step == 1]
    return theme.framed(
        hv.Overlay(layers),
        xlim=(first - 0.6, _margin(runs) + 0.2 * (last - first + 1)),
        ylim=bounds,
        xticks=ticks,
        xlabel=x.pprint_label,
        ylabel=y.pprint_label,
        height=height,
        finish=[lambda axes: draw_keys(axes, keys)],
    )


def _require(table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if name not in table]
    if missing or table.empty:
        raise LabkitError(
            f"the chart's table {'lacks ' + ', '.join(missing) if missing else 'has no rows'}",
            allowed=f"at least one row with {', '.join(columns)}",
        )


def _widened(runs: np.ndarray, *ends: np.ndarray) -> tuple[np.ndarray, ...]:
    """A band over a single run, which would have no width, reaches half-way to its neighbours."""
    if runs.size > 1:
        return runs, *ends
    return np.array([runs[0] - 0.4, runs[0] + 0.4]), *(np.repeat(end, 2) for end in ends)


def _markers(
    runs: np.ndarray,
    values: np.ndarray,
    out: np.ndarray,
    x: Any,
    y: Any,
    *,
    label: str,
    colour: str = theme.HEALTHY,
    marker: str = "o",
) -> list[Any]:
    import holoviews as hv

    layers = [theme.points(hv.Scatter((runs[~out], values[~out]), x, y, label=label), colour, marker)]
    if out.any():
        layers.append(
            theme.points(
                hv.Scatter((runs[out], values[out]), x, y, label=f"{label}, out of control"),
                theme.DEPARTED,
                "s",
                6.5,
                hollow=True,
            )
        )
    return layers


def _alarm(table: pd.DataFrame, bounds: tuple[float, float]) -> list[Any]:
    import holoviews as hv

    if "alarm" not in table or not table["alarm"].any():
        return []
    run = float(table.loc[table["alarm"].astype(bool), "run"].iloc[0])
    right = run > (float(table["run"].min()) + float(table["run"].max())) / 2
    return [
        theme.line(hv.VLine(run), theme.DEPARTED, "dotted", 1.4),
        note(
            run + (-0.2 if right else 0.2),
            bounds[1] - 0.02 * (bounds[1] - bounds[0]),
            f"Alarm at {run:g}",
            "right" if right else "left",
            "top",
            colour=theme.DEPARTED,
            bold=True,
        ),
    ]


def _references(
    target: float | None,
    limits: tuple[float | None, float | None],
    bounds: tuple[float, float],
    units: str,
    runs: np.ndarray,
) -> list[Any]:
    """Target and specification limits; one too far from the data to be drawn is named with an arrow."""
    import holoviews as hv

    lines: list[Any] = []
    names: list[tuple[float, str, str]] = []
    for name, value in (("LSL", limits[0]), ("Target", target), ("USL", limits[1])):
        if value is None or not math.isfinite(value):
            continue
        colour, style = (theme.INK, "solid") if name == "Target" else (theme.DEPARTED, "dashdot")
        arrow = " ↑" if value > bounds[1] else " ↓" if value < bounds[0] else ""
        if not arrow:
            lines.append(theme.line(hv.HLine(value), colour, style, 0.9))
        names.append((value, f"{name} {short(value)} {unit_sign(units)}".rstrip() + arrow, theme.INK))
    raised = [(value + 0.035 * (bounds[1] - bounds[0]), text, colour) for value, text, colour in names]
    return lines + in_margin(raised, _margin(runs), bounds, 2.6)


def _margin(runs: np.ndarray) -> float:
    """Where the labels right of the last run begin."""
    return float(runs.max()) + 0.6


def _visible(
    values: np.ndarray, target: float | None, limits: tuple[float | None, float | None]
) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    span = max(high - low, 1e-9 * max(abs(low), abs(high)), 1e-12)
    for reference in (target, *limits):
        if (
            reference is not None
            and math.isfinite(reference)
            and low - _REACH * span < reference < high + _REACH * span
        ):
            finite = np.append(finite, reference)
    return theme.padded(finite, below=0.08, above=0.16)
