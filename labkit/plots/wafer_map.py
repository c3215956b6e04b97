"""A wafer map: site values interpolated over the disc, as deviation from the wafer's mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import LabkitError
from labkit.plots import theme
from labkit.plots.notation import number, sentence, unit_sign

if TYPE_CHECKING:
    import xarray as xr

_GRID = 241
_FLAT_MM = {50.0: 15.88, 75.0: 22.22, 100.0: 32.5, 125.0: 42.5, 150.0: 57.5}
"""Length of the primary flat by wafer diameter, mm (SEMI M1); larger wafers have a notch."""
_NOTCH_MM = 3.0
"""Drawn depth of the notch, mm: three times the real 1 mm (SEMI M1), which could not be seen."""


def wafer_map(
    dataset: xr.Dataset, variable: str, slot: int | None = None, *, title: str = "", limit: float | None = None
) -> Any:
    """Deviation of *variable* from its mean on one wafer, in %.

    Sites above the mean are marked +, sites below −; contours above the mean are solid, below it dashed, so that
    the map can be read in grey. Nothing is drawn outside the outermost sites.

    Parameters
    ----------
    dataset : xarray.Dataset
        *variable* with dim ``site`` (and ``slot``), coordinates ``x(site)``, ``y(site)`` in mm, attribute
        ``diameter_mm``.
    variable : str
        Which variable.
    slot : int, optional
        Which wafer, by its ``slot`` coordinate; needed when there are several.
    title : str
        Put above the map, with mean and half range.
    limit : float, optional
        Half range of the colour scale, %; the map's own by default.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    LabkitError
        If the variable, slot or site coordinates are missing, or fewer than four sites hold a number.
    """
    import holoviews as hv

    values, x, y = _sites(dataset, variable, slot)
    mean = float(values.mean())
    percent = 100.0 * (values / mean - 1.0)
    radius = float(dataset.attrs.get("diameter_mm", 2.0 * np.hypot(x, y).max())) / 2.0
    line, field = _interpolated(x, y, percent, float(np.hypot(x, y).max()), radius)
    reach = limit or max(float(np.nanmax(np.abs(field))), float(np.abs(percent).max()), 1e-6)
    across, up = hv.Dimension("x", unit="mm"), hv.Dimension("y", unit="mm")
    deviation = hv.Dimension("deviation", label="Deviation from mean", unit="%")
    image = theme.styled(
        hv.Image((line, line, field), [across, up], deviation),
        cmap=_colours(),
        colorbar=True,
        clim=(-reach, reach),
        matplotlib={"cbar_width": 0.04, "cbar_padding": 0.04, "clabel": deviation.pprint_label},
        bokeh={"clabel": deviation.pprint_label},
    )
    layers = [image, *_contours(line, field, reach, across, up), _outline(radius, across, up)]
    for above, marker in ((True, "+"), (False, "_")):
        chosen = (percent >= 0.0) == above
        layers.append(
            theme.styled(
                hv.Points((x[chosen], y[chosen], percent[chosen]), [across, up], deviation),
                matplotlib={"marker": marker, "color": theme.ON_COLOUR, "edgecolors": None, "s": 22, "linewidth": 0.9},
                bokeh={"marker": "cross" if above else "dash", "color": theme.ON_COLOUR, "size": 6},
            )
        )
    sign = unit_sign(str(dataset[variable].attrs.get("units", "1")))
    half_range = 50.0 * float(values.max() - values.min()) / mean
    head = f"{sentence(title)}\n" if title else ""
    heading = f"{head}mean {number(mean)} {sign}, half range ±{half_range:.2f} %"
    edge, marks = 1.06 * radius, theme.ticks(-radius, radius, 5)
    return theme.framed(
        hv.Overlay(layers),
        width=4.9,
        height=4.3,
        grid="",
        xlim=(-edge, edge),
        ylim=(-edge, edge),
        xticks=marks,
        yticks=marks,
        title=heading,
        xlabel=across.pprint_label,
        ylabel=up.pprint_label,
        finish=[_round],
    )


def _sites(dataset: xr.Dataset, variable: str, slot: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if variable not in dataset or "site" not in dataset[variable].dims or not {"x", "y"} <= set(dataset.coords):
        raise LabkitError(
            f"no map of {variable!r}", allowed="a variable with dim site and coordinates x(site), y(site)"
        )
    chosen = dataset[variable]
    if "slot" in chosen.dims:
        slots = [int(s) for s in np.atleast_1d(chosen["slot"].to_numpy())]
        if slot is None and len(slots) == 1:
            slot = slots[0]
        if slot not in slots:
            raise LabkitError(f"no wafer in slot {slot}", allowed=", ".join(map(str, slots)))
        chosen = chosen.sel(slot=slot)
    values = chosen.to_numpy().astype(float)
    held = np.isfinite(values)
    if int(held.sum()) < 4 or not values[held].mean():
        raise LabkitError(
            f"{int(held.sum())} sites of {variable!r} hold a number", allowed="at least four, with a mean other than 0"
        )
    return values[held], dataset["x"].to_numpy()[held].astype(float), dataset["y"].to_numpy()[held].astype(float)


def _interpolated(
    x: np.ndarray, y: np.ndarray, values: np.ndarray, radius: float, edge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Thin-plate spline through the sites on a square grid; NaN beyond *radius* and the flat at radius *edge*."""
    from scipy.interpolate import RBFInterpolator

    line = np.linspace(-radius, radius, _GRID)
    across, up = np.meshgrid(line, line)
    sites = np.column_stack([x, y])
    spline = RBFInterpolator(sites / radius, values, kernel="thin_plate_spline", degree=1)
    inside = (np.hypot(across, up) <= radius * (1.0 + 1e-9)) & (up >= -edge * np.cos(_half_angle(edge)[0]))
    field = np.full(across.shape, np.nan)
    field[inside] = spline(np.column_stack([across[inside], up[inside]]) / radius)
    return line, field


def _colours() -> list[str]:
    """The diverging scale in 101 steps."""
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in theme.DIVERGING], dtype=float)
    at = np.linspace(0, len(stops) - 1, 101)
    mixed = np.column_stack([np.interp(at, np.arange(len(stops)), stops[:, i]) for i in range(3)])
    return ["#" + "".join(f"{round(v):02x}" for v in row) for row in mixed]


def _contours(line: np.ndarray, field: np.ndarray, reach: float, across: Any, up: Any) -> list[Any]:
    import holoviews as hv
    from contourpy import contour_generator

    generator = contour_generator(x=line, y=line, z=np.ma.masked_invalid(field))
    layers = []
    for level in (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75):
        paths = [path for path in generator.lines(level * reach) if len(path) > 3]
        if paths:
            style, width = ("solid", 1.3) if level == 0.0 else ("solid", 0.5) if level > 0 else ("dashed", 0.5)
            layers.append(theme.line(hv.Path(paths, [across, up]), theme.ON_COLOUR, style, width))
    return layers


def _outline(radius: float, across: Any, up: Any) -> Any:
    """The wafer's edge with its flat or notch at the bottom."""
    import holoviews as hv

    half, flat = _half_angle(radius)
    angle = np.linspace(-np.pi / 2 + half, 1.5 * np.pi - half, 361)
    edge_x, edge_y = radius * np.cos(angle), radius * np.sin(angle)
    if not flat:
        edge_x, edge_y = np.append(edge_x, 0.0), np.append(edge_y, -radius + _NOTCH_MM)
    edge = np.column_stack([np.append(edge_x, edge_x[0]), np.append(edge_y, edge_y[0])])
    return theme.line(hv.Path([edge], [across, up]), theme.INK, "solid", 1.2)


def _half_angle(radius: float) -> tuple[float, bool]:
    """Half the angle that the flat or the drawn notch takes of the edge, and whether it is a flat."""
    flat = next((length for size, length in _FLAT_MM.items() if abs(size - 2.0 * radius) < 1.0), None)
    return float(np.arcsin((flat or 2.0 * _NOTCH_MM) / (2.0 * radius))), flat is not None


def _round(axes: Any) -> None:
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set_visible(False)
