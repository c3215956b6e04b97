"""Film thickness along the boat: measured against predicted, for several runs in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import LabkitError
from labkit.plots import theme
from labkit.plots.labels import Key, draw_keys
from labkit.plots.notation import axis

if TYPE_CHECKING:
    import xarray as xr


def profile(dataset: xr.Dataset, *, quantity: str = "", width: float = theme.WIDTH, height: float = 3.1) -> Any:
    """Wafer means along the boat, measured (points) and predicted (lines), one colour per run.

    Parameters
    ----------
    dataset : xarray.Dataset
        ``measured(run, slot)`` and optionally ``predicted(run, slot)`` with ``units``; coordinate ``run`` holds the
        labels, an optional boolean coordinate ``departed(run)`` says which runs are out of control. A ``site``
        dimension is averaged.
    quantity : str
        What is drawn; the variable's ``long_name`` by default.
    width, height : float
        Size in print, inch.

    Returns
    -------
    holoviews.Overlay

    Raises
    ------
    LabkitError
        If a variable or dimension is missing, or there are more runs than can be told apart.
    """
    import holoviews as hv

    measured = _means(dataset, "measured")
    predicted = _means(dataset, "predicted") if "predicted" in dataset else None
    most = len(theme.SERIES) - 1
    if measured.sizes["run"] > most:
        raise LabkitError(
            f"{measured.sizes['run']} runs in one profile",
            allowed=f"at most {most}",
            fix="select the runs that matter, e.g. dataset.isel(run=[0, -1])",
        )
    units = str(dataset["measured"].attrs.get("units", "1"))
    x = axis("slot", "Slot", "1")
    y = axis("thickness", quantity or str(dataset["measured"].attrs.get("long_name", "Thickness")), units)
    slots = measured["slot"].to_numpy().astype(float)
    departed = (
        dataset["departed"].to_numpy().astype(bool)
        if "departed" in dataset.coords
        else np.zeros(measured.sizes["run"], bool)
    )
    layers, keys = [], []
    for index, (label, (colour, style, marker)) in enumerate(
        zip(measured["run"].to_numpy(), _looks(departed), strict=True)
    ):
        if predicted is not None:
            layers.append(theme.line(hv.Curve((slots, predicted.isel(run=index).to_numpy()), x, y), colour, style, 1.3))
        layers.append(
            theme.points(
                hv.Scatter((slots, measured.isel(run=index).to_numpy()), x, y, label=str(label)), colour, marker, 4.5
            )
        )
        keys.append(Key(str(label), "marker", colour, marker=marker))
        if predicted is not None:
            keys.append(Key("predicted", "line", colour, style))
    everything = np.concatenate([v.to_numpy().ravel() for v in (measured, predicted) if v is not None])
    return theme.framed(
        hv.Overlay(layers),
        xlim=(slots.min() - 0.8, slots.max() + 0.8),
        ylim=theme.padded(everything),
        xlabel=x.pprint_label,
        ylabel=y.pprint_label,
        width=width,
        height=height,
        finish=[lambda axes: draw_keys(axes, keys)],
    )


def _looks(departed: np.ndarray) -> list[tuple[str, str, str]]:
    """Colour, line style and marker per run; vermilion is kept for the first run that departed."""
    calm = iter([look for look in theme.SERIES if look[0] != theme.DEPARTED])
    first = True
    looks = []
    for flag in departed:
        looks.append((theme.DEPARTED, "dashed", "s") if flag and first else next(calm))
        first = first and not flag
    return looks


def _means(dataset: xr.Dataset, name: str) -> xr.DataArray:
    if name not in dataset or not {"run", "slot"} <= set(dataset[name].dims):
        raise LabkitError(
            f"a profile needs {name}(run, slot)", allowed="a Dataset with measured(run, slot) and predicted(run, slot)"
        )
    found = dataset[name]
    return found.mean([d for d in found.dims if d not in ("run", "slot")]).transpose("run", "slot")
