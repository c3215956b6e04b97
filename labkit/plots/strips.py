"""Telemetry as strip charts: one channel above the other on a common time axis, the recipe's steps shaded behind."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import LabkitError
from labkit.plots import theme
from labkit.plots.labels import note
from labkit.plots.notation import axis

if TYPE_CHECKING:
    import xarray as xr

_POINTS = 1200
_PANEL = 1.02
"""Height of one strip with its gap, inch."""
_LOGARITHMIC = 3.0
"""A positive channel that covers more powers of ten than this is drawn on a logarithmic axis."""
_CHARACTERS = 13.5
"""Characters of label text to the inch."""


@dataclass(frozen=True)
class Step:
    """A named stretch of the run, in s since its start."""

    name: str
    start_s: float
    end_s: float


def strip_charts(
    telemetry: xr.Dataset,
    channels: Sequence[str] | None = None,
    *,
    steps: Sequence[Step] = (),
    reference: xr.Dataset | None = None,
    reference_label: str = "reference",
) -> Any:
    """Channels of *telemetry* over time, stacked.

    Parameters
    ----------
    telemetry : xarray.Dataset
        Channels with dim ``time`` (s since start), each with ``units`` and preferably ``long_name``.
    channels : sequence of str, optional
        Which channels, top to bottom; all numeric ones by default.
    steps : sequence of Step
        The recipe's steps: every other one is shaded, each is named above the top strip where its name fits.
    reference : xarray.Dataset, optional
        Telemetry to compare with, drawn dashed for the channels it holds.
    reference_label : str
        What the reference is.

    Returns
    -------
    holoviews.Layout

    Raises
    ------
    LabkitError
        If a channel does not exist.
    """
    import holoviews as hv

    numeric = [str(n) for n, v in telemetry.data_vars.items() if v.dims == ("time",) and v.dtype.kind in "fiu"]
    wanted = list(channels) if channels is not None else numeric
    unknown = [name for name in wanted if name not in numeric]
    if unknown or not wanted:
        raise LabkitError(
            f"no telemetry channel {', '.join(map(repr, unknown))}" if unknown else "no channel to draw",
            allowed=", ".join(numeric),
        )
    panels = [
        _strip(telemetry, name, index, len(wanted), steps, reference, reference_label)
        for index, name in enumerate(wanted)
    ]
    return theme.styled(
        hv.Layout(panels).cols(1),
        matplotlib={"sublabel_format": "", "fig_inches": (theme.WIDTH, _height(len(wanted))), "vspace": 0.1},
        bokeh={"shared_axes": True},
    )


def _strip(
    telemetry: xr.Dataset,
    name: str,
    index: int,
    count: int,
    steps: Sequence[Step],
    reference: xr.Dataset | None,
    reference_label: str,
) -> Any:
    """Strip number *index* of *count*: channel *name* over time."""
    import holoviews as hv

    seconds, scale, units = _time(telemetry)
    span = (0.0 if 0.0 <= seconds[0] < 0.01 * seconds[-1] else float(seconds[0]) / scale, float(seconds[-1]) / scale)
    channel = telemetry[name]
    x = axis("time", "Time", units)
    y = axis(name, str(channel.attrs.get("long_name", name)), str(channel.attrs.get("units", "1")))
    values, compared = channel.to_numpy().astype(float), _values(reference, name)
    logarithmic = _decades(values) > _LOGARITHMIC
    bounds = _bounds(np.concatenate([values, compared]), logarithmic)
    layers = _shades(steps, scale, bounds, y)
    if reference is not None and compared.size:
        past = reference["time"].to_numpy().astype(float) / scale
        layers.append(theme.line(hv.Curve(_envelope(past, compared), x, y), theme.ORANGE, "dashed", 1.3))
    layers.append(theme.line(hv.Curve(_envelope(seconds / scale, values), x, y), theme.HEALTHY, "solid", 1.0))
    if index == 0:
        layers += _names(steps, scale, span, bounds, logarithmic)
    caption = x.pprint_label + (f"; dashed: {reference_label}" if reference is not None else "")
    return theme.framed(
        hv.Overlay(layers),
        height=_height(count),
        xlim=span,
        ylim=bounds,
        logy=logarithmic,
        xlabel=caption,
        ylabel=_stacked(y),
        finish=[_placed(index, count)],
    )


def _time(telemetry: xr.Dataset) -> tuple[np.ndarray, float, str]:
    """Time in s, what to divide it by for the axis, and the axis's unit: minutes for runs of more than ten."""
    seconds = telemetry["time"].to_numpy().astype(float)
    return (seconds, 60.0, "min") if seconds[-1] - seconds[0] > 600.0 else (seconds, 1.0, "s")


def _decades(values: np.ndarray) -> float:
    """How many powers of ten *values* cover; 0 unless all are positive."""
    finite = values[np.isfinite(values)]
    return float(np.log10(finite.max() / finite.min())) if finite.size and finite.min() > 0.0 else 0.0


def _bounds(values: np.ndarray, logarithmic: bool) -> tuple[float, float]:
    if not logarithmic:
        return theme.padded(values)
    low, high = theme.padded(np.log10(values[values > 0.0]))
    return float(10.0**low), float(10.0**high)


def _values(reference: xr.Dataset | None, name: str) -> np.ndarray:
    if reference is None or name not in reference:
        return np.empty(0)
    return np.asarray(reference[name].to_numpy(), dtype=float)


def _height(panels: int) -> float:
    return 0.75 + _PANEL * panels


def _stacked(y: Any) -> str:
    """The axis label in short lines, so that it stays within its strip."""
    return "\n".join([*textwrap.wrap(str(y.label), 14)[:2], *([f"({y.unit})"] if y.unit else [])])


def _envelope(time: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most ``_POINTS`` samples that keep every extreme: the least and greatest of each stretch, in order of time."""
    if values.size <= _POINTS:
        return time, values
    edges = np.linspace(0, values.size, _POINTS // 2 + 1).astype(int)
    kept: list[int] = [0]
    for start, end in pairwise(edges):
        stretch = values[start:end]
        if np.isfinite(stretch).any():
            kept += sorted({start + int(np.nanargmin(stretch)), start + int(np.nanargmax(stretch))})
    chosen = np.unique([*kept, values.size - 1])
    return time[chosen], values[chosen]


def _shades(steps: Sequence[Step], scale: float, bounds: tuple[float, float], y: Any) -> list[Any]:
    import holoviews as hv

    corners = [hv.Dimension("start"), y, hv.Dimension("end"), hv.Dimension("top")]
    boxes = [(step.start_s / scale, bounds[0], step.end_s / scale, bounds[1]) for step in steps[1::2]]
    return [theme.area(hv.Rectangles(boxes, corners), theme.SHADE)] if boxes else []


def _names(
    steps: Sequence[Step], scale: float, span: tuple[float, float], bounds: tuple[float, float], logarithmic: bool
) -> list[Any]:
    """Step names above the top strip; one too long for its step is put a line higher, or left out if that is taken."""
    character = (span[1] - span[0]) / (theme.WIDTH * _CHARACTERS)
    labels: list[Any] = []
    taken = span[0]
    raised_top = (
        bounds[1] * (bounds[1] / bounds[0]) ** 0.16 if logarithmic else bounds[1] + 0.16 * (bounds[1] - bounds[0])
    )
    for step in steps:
        middle, half = (step.start_s + step.end_s) / 2 / scale, (len(step.name) + 1) / 2 * character
        raised = 2 * half > (step.end_s - step.start_s) / scale
        middle = min(max(middle, span[0] + half), span[1] - half) if raised else middle
        if raised and middle - half < taken:
            continue
        if raised:
            taken = middle + half
        height = raised_top if raised else bounds[1]
        labels.append(note(middle, height, step.name, "center", "bottom", colour=theme.MUTED))
    return labels


def _placed(index: int, count: int) -> Any:
    def place(axes: Any) -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        total = _height(count)
        bottom = (0.45 + _PANEL * (count - 1 - index)) / total
        axes.set_position([0.12, bottom, 0.86, (_PANEL - 0.16) / total])
        axes.yaxis.set_label_coords(-0.075, 0.5)
        axes.yaxis.label.set_size(8)
        if axes.get_yscale() == "log":
            axes.yaxis.set_major_locator(LogLocator(numticks=5))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.locator_params(axis="y", nbins=4)
        if index < count - 1:
            axes.tick_params(axis="x", labelbottom=False, length=0)
            axes.set_xlabel("")

    return place
