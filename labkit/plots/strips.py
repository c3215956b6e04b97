"""Telemetry as strip charts: one channel above the other on a common time axis, the recipe's steps shaded behind."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
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
_CHARACTERS = 13.5
"""Characters of label text to the inch."""


@dataclass(frozen=True)
class Step:
    """A named stretch of the run, in s since its start."""

    name: str
    start_s: float
    end_s: float


def strip_charts(telemetry: xr.Dataset, channels: Sequence[str] | None = None, *, steps: Sequence[Step] = (),
                 reference: xr.Dataset | None = None, reference_label: str = "reference") -> Any:
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
        raise LabkitError(f"no telemetry channel {', '.join(map(repr, unknown))}" if unknown else "no channel to draw",
                          allowed=", ".join(numeric))
    seconds = telemetry["time"].to_numpy().astype(float)
    scale, units = (60.0, "min") if seconds[-1] - seconds[0] > 600.0 else (1.0, "s")
    span = (float(seconds[0]) / scale, float(seconds[-1]) / scale)
    panels = []
    for index, name in enumerate(wanted):
        x = axis("time", "Time", units)
        channel = telemetry[name]
        caption = x.pprint_label + (f"; dashed: {reference_label}" if reference is not None else "")
        y = axis(name, str(channel.attrs.get("long_name", name)), str(channel.attrs.get("units", "1")))
        values = channel.to_numpy().astype(float)
        compared = _values(reference, name)
        bounds = theme.padded([*values, *compared])
        layers = [_shade(step, scale, bounds, y) for step in steps[1::2]]
        if reference is not None and name in reference:
            past = reference["time"].to_numpy().astype(float) / scale
            layers.append(theme.line(hv.Curve(_envelope(past, compared), x, y), theme.ORANGE, "dashed", 1.3))
        layers.append(theme.line(hv.Curve(_envelope(seconds / scale, values), x, y), theme.HEALTHY, "solid", 1.0))
        if index == 0:
            layers += _names(steps, scale, span, bounds)
        panels.append(theme.framed(hv.Overlay(layers), height=_height(len(wanted)), xlim=span, ylim=bounds,
                                   xlabel=caption, ylabel=_stacked(y), finish=[_placed(index, len(wanted))]))
    layout = hv.Layout(panels).cols(1)
    return theme.styled(layout, matplotlib={"sublabel_format": "", "fig_inches": (theme.WIDTH, _height(len(wanted))), "vspace": 0.1},
                        bokeh={"shared_axes": True})


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
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        stretch = values[start:end]
        if np.isfinite(stretch).any():
            kept += sorted({start + int(np.nanargmin(stretch)), start + int(np.nanargmax(stretch))})
    chosen = np.unique([*kept, values.size - 1])
    return time[chosen], values[chosen]


def _shade(step: Step, scale: float, bounds: tuple[float, float], y: Any) -> Any:
    import holoviews as hv

    corners = [hv.Dimension("start"), y, hv.Dimension("end"), hv.Dimension("top")]
    return theme.area(hv.Rectangles([(step.start_s / scale, bounds[0], step.end_s / scale, bounds[1])], corners), theme.SHADE)


def _names(steps: Sequence[Step], scale: float, span: tuple[float, float], bounds: tuple[float, float]) -> list[Any]:
    """Step names above the top strip; one too long for its step goes a line higher, or is left out where that is taken."""
    character = (span[1] - span[0]) / (theme.WIDTH * _CHARACTERS)
    labels: list[Any] = []
    taken = span[0]
    for step in steps:
        middle, half = (step.start_s + step.end_s) / 2 / scale, (len(step.name) + 1) / 2 * character
        raised = 2 * half > (step.end_s - step.start_s) / scale
        middle = min(max(middle, span[0] + half), span[1] - half) if raised else middle
        if raised and middle - half < taken:
            continue
        if raised:
            taken = middle + half
        height = bounds[1] + (0.16 * (bounds[1] - bounds[0]) if raised else 0.0)
        labels.append(note(middle, height, step.name, "center", "bottom", colour=theme.MUTED))
    return labels


def _placed(index: int, count: int) -> Any:
    def place(axes: Any) -> None:
        total = _height(count)
        bottom = (0.45 + _PANEL * (count - 1 - index)) / total
        axes.set_position([0.12, bottom, 0.86, (_PANEL - 0.16) / total])
        axes.yaxis.set_label_coords(-0.075, 0.5)
        axes.yaxis.label.set_size(8)
        axes.locator_params(axis="y", nbins=4)
        if index < count - 1:
            axes.tick_params(axis="x", labelbottom=False, length=0)
            axes.set_xlabel("")

    return place
