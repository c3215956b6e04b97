"""A focus–exposure matrix: Bossung curves and the process window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import LabkitError
from labkit.plots import theme
from labkit.plots.labels import Key, draw_keys, in_margin, note
from labkit.plots.notation import axis, short, unit_sign

if TYPE_CHECKING:
    import xarray as xr

_CURVES = 9
_REACH = 4.0
"""Curves are shown as far as this many tolerances from the target."""


def bossung(fem: xr.Dataset, *, variable: str = "cd", target: float | None = None, tolerance: float = 0.1) -> Any:
    """Critical dimension through focus, one curve per dose (Bossung plot).

    Parameters
    ----------
    fem : xarray.Dataset
        *variable* with dims ``dose`` and ``focus``, all with ``units``. NaN: the feature does not print.
    variable : str
        Which variable.
    target : float, optional
        Target CD, in the variable's units; its band ± *tolerance*·target is shaded.
    tolerance : float
        Allowed relative departure from the target.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    LabkitError
        If the matrix lacks a dimension or holds no number.
    """
    import holoviews as hv

    cd, doses, focus = _matrix(fem, variable)
    x = axis("focus", "Focus", str(fem["focus"].attrs.get("units", "1")))
    units = str(fem[variable].attrs.get("units", "1"))
    y = axis("cd", "CD", units)
    sign = unit_sign(str(fem["dose"].attrs.get("units", "1")))
    span = float(np.ptp(focus)) or 1.0
    left, right = float(focus.min()), float(focus.max())
    window = [] if target is None else [target * (1 - tolerance), target * (1 + tolerance)]
    visible = (
        (-np.inf, np.inf) if target is None else (target * (1 - _REACH * tolerance), target * (1 + _REACH * tolerance))
    )
    shown = _shown_doses(cd, visible)
    drawn = cd[shown][np.isfinite(cd[shown])]
    bounds = theme.padded([*np.clip(drawn, *visible), *window], below=0.06, above=0.14)
    layers: list[Any] = []
    if target is not None:
        corners = [x, y, hv.Dimension("right"), hv.Dimension("top")]
        layers += [
            theme.area(hv.Rectangles([(left, window[0], right, window[1])], corners)),
            theme.line(hv.Curve(([left, right], [target, target]), x, y), theme.INK, "dashed", 0.9),
        ]
    ends: list[tuple[float, str, str]] = []
    for order, index in enumerate(shown):
        printed = np.isfinite(cd[index])
        tint, dose = _tint(order / max(len(shown) - 1, 1)), short(float(doses[index]), 3)
        layers.append(
            theme.line(hv.Curve((focus, cd[index]), x, y, label=f"{dose} {sign}".strip()), tint, "solid", 1.4)
        )
        layers.append(theme.points(hv.Scatter((focus[printed], cd[index][printed]), x, y), tint, "o", 3.0))
        if bounds[0] <= cd[index][printed][-1] <= bounds[1]:
            ends.append((float(cd[index][printed][-1]), dose, theme.INK))
    layers += in_margin(ends, right + 0.03 * span, bounds, 3.0)
    layers.append(
        note(
            right + 0.16 * span, bounds[1], f"Dose ({sign})" if sign else "Dose", "right", "bottom", colour=theme.MUTED
        )
    )
    return theme.framed(
        hv.Overlay(layers),
        xlim=(left - 0.03 * span, right + 0.16 * span),
        ylim=bounds,
        width=5.2,
        height=4.0,
        xticks=theme.ticks(left, right),
        xlabel=x.pprint_label,
        ylabel=y.pprint_label,
        finish=[lambda axes: draw_keys(axes, _target_keys(target, tolerance, units))],
    )


def process_window(
    fem: xr.Dataset,
    *,
    variable: str = "cd",
    target: float,
    tolerance: float = 0.1,
    rectangle: tuple[float, float, float, float] | None = None,
) -> Any:
    """Contours of CD over focus and dose; the region within *tolerance* of *target* is the process window.

    Parameters and errors are those of :func:`bossung`; *target* is needed. *rectangle* (least focus, least dose,
    greatest focus, greatest dose) marks the depth of focus at an exposure latitude.

    Returns
    -------
    holoviews.Overlay
    """
    import holoviews as hv
    from contourpy import contour_generator

    cd, doses, focus = _matrix(fem, variable)
    if min(cd.shape) < 2:
        raise LabkitError(
            f"a process window of {cd.shape[0]} doses and {cd.shape[1]} focus positions", allowed="at least two of each"
        )
    x = axis("focus", "Focus", str(fem["focus"].attrs.get("units", "1")))
    y = axis("dose", "Dose", str(fem["dose"].attrs.get("units", "1")))
    sign = unit_sign(str(fem[variable].attrs.get("units", "1")))
    generator = contour_generator(x=focus, y=doses, z=np.ma.masked_invalid(cd), fill_type="OuterCode")
    low, high = target * (1 - tolerance), target * (1 + tolerance)
    layers: list[Any] = []
    for outline in generator.filled(low, high)[0]:
        layers.append(theme.area(hv.Polygons([outline], [x, y])))
    keys = []
    for value, style, width, colour in (
        (low, "dashed", 1.4, theme.BLUE),
        (target, "solid", 1.8, theme.INK),
        (high, "dashdot", 1.4, theme.VERMILION),
    ):
        paths = [path for path in generator.lines(value) if len(path) > 1]
        if paths:
            layers.append(theme.line(hv.Path(paths, [x, y]), colour, style, width))
            keys.append(Key(f"{short(value)} {sign}".strip(), "line", colour, style))
    if rectangle is not None:
        left, lower, right, upper = rectangle
        outline = np.array([(left, lower), (right, lower), (right, upper), (left, upper), (left, lower)])
        layers.append(theme.line(hv.Path([outline], [x, y]), theme.GREEN, "solid", 2.0))
        layers.append(
            note((left + right) / 2, (lower + upper) / 2, "usable", "center", "center", colour=theme.GREEN, bold=True)
        )
    keys.append(Key(f"CD within ±{100 * tolerance:g} %", "area", theme.BAND))
    return theme.framed(
        hv.Overlay(layers),
        grid="both",
        xlim=(float(focus.min()), float(focus.max())),
        ylim=(float(doses.min()), float(doses.max())),
        xlabel=x.pprint_label,
        ylabel=y.pprint_label,
        width=5.2,
        height=4.0,
        finish=[lambda axes: draw_keys(axes, keys)],
    )


def _matrix(fem: xr.Dataset, variable: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if variable not in fem or not {"dose", "focus"} <= set(fem[variable].dims):
        raise LabkitError(f"no focus–exposure matrix of {variable!r}", allowed="a variable with dims dose and focus")
    found = fem[variable]
    found = found.mean([d for d in found.dims if d not in ("dose", "focus")]) if found.ndim > 2 else found
    cd = found.transpose("dose", "focus").to_numpy().astype(float)
    if not np.isfinite(cd).any():
        raise LabkitError(
            f"{variable!r} holds no number: the feature prints nowhere", fix="widen the range of dose or focus"
        )
    return cd, fem["dose"].to_numpy().astype(float), fem["focus"].to_numpy().astype(float)


def _shown_doses(cd: np.ndarray, visible: tuple[float, float]) -> list[int]:
    """Rows to draw: evenly spread over the doses whose median CD through focus is *visible*."""
    printing = [i for i in range(cd.shape[0]) if np.isfinite(cd[i]).sum() > 1]
    near = [i for i in printing if visible[0] <= float(np.nanmedian(cd[i])) <= visible[1]] or printing
    return [near[i] for i in np.unique(np.linspace(0, len(near) - 1, min(_CURVES, len(near))).round().astype(int))]


def _target_keys(target: float | None, tolerance: float, units: str) -> list[Key]:
    if target is None:
        return []
    return [
        Key(f"Target {short(target)} {unit_sign(units)}".rstrip(), "line", theme.INK, "dashed"),
        Key(f"±{100 * tolerance:g} %", "area", theme.BAND),
    ]


def _tint(fraction: float) -> str:
    """From light to dark blue: one hue, so that the order of doses survives in grey."""
    light, dark = np.array([0x8F, 0xC4, 0xE4]), np.array([0x05, 0x3A, 0x66])
    return "#" + "".join(f"{round(v):02x}" for v in light + fraction * (dark - light))
