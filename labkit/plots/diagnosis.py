"""Ranked causes of a departure, with how much of it each explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labkit.core.errors import LabkitError
from labkit.plots import theme
from labkit.plots.labels import note
from labkit.plots.notation import axis

_MOST = 8


def diagnosis_bar(candidates: Sequence[Mapping[str, Any]], *, most: int = _MOST) -> Any:
    """Causes, likeliest on top, with the fraction of the departure each explains.

    Parameters
    ----------
    candidates : sequence of mappings
        Each with ``title`` (or ``fault``) and ``explained`` (0 … 1).
    most : int
        At most this many are shown.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    LabkitError
        If there is no candidate.
    """
    import holoviews as hv

    ranked = sorted(candidates, key=lambda c: -float(c["explained"]))[:most]
    if not ranked:
        raise LabkitError(
            "there is no candidate cause to draw", allowed="at least one candidate with title and explained"
        )
    percent = np.clip(100.0 * np.array([float(c["explained"]) for c in ranked]), 0.0, 100.0)
    rows = np.arange(len(ranked), 0, -1, dtype=float)
    x = axis("explained", "Departure explained", "percent")
    boxes = [(0.0, row - 0.32, value, row + 0.32) for row, value in zip(rows, percent, strict=True)]
    corners = [axis("start", "Start", "percent"), hv.Dimension("lower"), x, hv.Dimension("upper")]
    layers = [
        theme.area(hv.Rectangles([box], corners), theme.DEPARTED if rank == 0 else theme.QUIET)
        for rank, box in enumerate(boxes)
    ]
    layers += [
        note(value + 1.2, row, f"{value:.0f} %", "left", "center", bold=rank == 0)
        for rank, (row, value) in enumerate(zip(rows, percent, strict=True))
    ]
    names = [str(c.get("title") or c["fault"]) for c in ranked]
    ticks = [(row, _wrapped(name)) for row, name in zip(rows, names, strict=True)]
    return theme.framed(
        hv.Overlay(layers),
        width=theme.WIDTH * 0.66,
        height=0.75 + 0.42 * len(ranked),
        grid="x",
        xlim=(0.0, 112.0),
        ylim=(0.4, len(ranked) + 0.6),
        xticks=[0, 20, 40, 60, 80, 100],
        yticks=ticks,
        xlabel=x.pprint_label,
        ylabel="",
        finish=[_no_left_axis],
    )


def _wrapped(name: str, width: int = 34) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(name, width)[:2])


def _no_left_axis(axes: Any) -> None:
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
