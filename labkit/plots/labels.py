"""Words on a chart: notes, a key above the data, and labels in the right margin that keep apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labkit.plots import theme

_LINE = 0.13
"""Height of one line of label text, inch."""

_KEY, _CHARACTER = 0.42, 0.072
"""Width of a key's sign with its gaps, and of one character of its label, inch."""


@dataclass(frozen=True)
class Key:
    """One entry of a chart's key: ``kind`` is ``"marker"``, ``"hollow"``, ``"line"``, ``"both"`` or ``"area"``."""

    label: str
    kind: str
    colour: str
    style: str = "solid"
    marker: str = "o"


def note(
    x: float, y: float, text: str, halign: str, valign: str, *, colour: str = theme.INK, bold: bool = False
) -> Any:
    """*text* at a point of the data plane."""
    import holoviews as hv

    return theme.styled(
        hv.Text(x, y, text, halign=halign, valign=valign, fontsize=8),
        matplotlib={"color": colour, "weight": "bold" if bold else "normal"},
        bokeh={"color": colour, "text_font_style": "bold" if bold else "normal"},
    )


def in_margin(
    entries: Sequence[tuple[float, str, str]], x: float, bounds: tuple[float, float], height: float
) -> list[Any]:
    """Labels ``(value, text, colour)`` at *x*, each at its value or as near as neighbours and *bounds* allow.

    *height* is that of the axes, inch.
    """
    apart = _LINE * (bounds[1] - bounds[0]) / height
    ordered = sorted(entries, key=lambda entry: entry[0])
    places: list[float] = []
    for value, _, _ in ordered:
        places.append(
            max(min(max(value, bounds[0] + apart / 2), bounds[1] - apart / 2), places[-1] + apart if places else value)
        )
    surplus = (places[-1] - (bounds[1] - apart / 2)) if places else 0.0
    for index in reversed(range(len(places))):
        ceiling = places[index + 1] - apart if index + 1 < len(places) else bounds[1] - apart / 2
        if surplus > 0.0:
            places[index] = min(places[index], ceiling)
    centred = _centred([value for value, _, _ in ordered], places, apart)
    return [
        note(x, place, text, "left", "center", colour=colour)
        for place, (_, text, colour) in zip(centred, ordered, strict=True)
    ]


def _centred(values: list[float], places: list[float], apart: float) -> list[float]:
    """Groups of labels that touch are moved down together, so that they sit around their values."""
    moved = list(places)
    start = 0
    for end in range(1, len(places) + 1):
        if end == len(places) or places[end] - places[end - 1] > apart * 1.001:
            shift = sum(p - v for p, v in zip(places[start:end], values[start:end], strict=True)) / (end - start)
            floor = moved[start - 1] + apart if start else float("-inf")
            shift = min(shift, places[start] - floor) if end - start > 1 else 0.0
            for index in range(start, end):
                moved[index] = places[index] - max(shift, 0.0)
            start = end
    return moved


def draw_keys(axes: Any, keys: Sequence[Key]) -> None:
    """*keys* above matplotlib *axes*, from the left, in as few rows as they fit."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for key in keys:
        if key.kind == "area":
            handles.append(Patch(facecolor=key.colour, edgecolor="none"))
            continue
        line: Any = key.style if key.kind in ("line", "both") else "none"
        marker = key.marker if key.kind != "line" else "none"
        handles.append(
            Line2D(
                [],
                [],
                color=key.colour,
                linestyle=line,
                linewidth=1.3,
                marker=marker,
                markersize=5.5,
                markerfacecolor="none" if key.kind == "hollow" else key.colour,
                markeredgewidth=1.6 if key.kind == "hollow" else 0.0,
            )
        )
    box = axes.get_position()
    room = axes.figure.get_size_inches()[0] * box.width
    needed = sum(_KEY + _CHARACTER * len(key.label) for key in keys)
    columns = math.ceil(len(keys) / max(1, math.ceil(needed / room)))
    axes.legend(
        handles,
        [key.label for key in keys],
        loc="lower left",
        bbox_to_anchor=(-0.005, 1.0),
        ncol=columns,
        frameon=False,
        handlelength=1.7,
        columnspacing=1.6,
        handletextpad=0.5,
        borderaxespad=0.2,
    )
