"""Wafers as Datasets: a load of slots, measurement sites on each, and the films they carry.

A wafer Dataset has dims ``slot`` (position in the load, 1-based) and ``site`` (measurement point) with site
coordinates ``x`` and ``y`` in mm from the wafer centre. Films, once there are any, lie along dim ``film`` from the
substrate upwards, as ``film_thickness(slot, film, site)`` in nm with the film's material in coordinate ``film``.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.core.errors import LabkitError

DIAMETERS_MM = (50.0, 75.0, 100.0, 125.0, 150.0, 200.0, 300.0, 450.0)
"""Nominal wafer diameters, mm (SEMI M1)."""
_RINGS = {9: (1, 8), 13: (1, 4, 8), 25: (1, 8, 16), 49: (1, 8, 16, 24), 121: (1, 8, 16, 24, 32, 40)}
"""Sites per ring, centre first, of the usual polar sampling maps; ring radii are equally spaced."""


def polar_sites(count: int, radius_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates, mm, of the polar sampling map with *count* sites on a disc of *radius_mm*.

    Rings are equally spaced in radius, so that each ring but the centre stands for the area around it.

    Raises
    ------
    LabkitError
        If there is no such map.
    """
    if count not in _RINGS:
        raise LabkitError(f"no polar map of {count} sites", allowed=", ".join(map(str, _RINGS)))
    rings = _RINGS[count]
    radii = np.linspace(0.0, radius_mm, len(rings))
    x = np.concatenate([r * np.cos(2 * np.pi * np.arange(n) / n) for r, n in zip(radii, rings, strict=True)])
    y = np.concatenate([r * np.sin(2 * np.pi * np.arange(n) / n) for r, n in zip(radii, rings, strict=True)])
    return x, y


def load(
    count: int = 25,
    *,
    diameter_mm: float = 200.0,
    sites: int = 49,
    edge_exclusion_mm: float = 3.0,
    material: str = "Si(100)",
) -> xr.Dataset:
    """A load of *count* blank wafers.

    Returns
    -------
    xarray.Dataset
        Coordinates ``slot`` (1 … count), ``x(site)``, ``y(site)`` in mm; attributes ``diameter_mm`` and ``material``.

    Raises
    ------
    LabkitError
        If the count, diameter or edge exclusion is not one a load can have.
    """
    if not 1 <= count <= 200:
        raise LabkitError(f"a load of {count} wafers", allowed="1 to 200")
    if diameter_mm not in DIAMETERS_MM:
        raise LabkitError(f"wafer diameter {diameter_mm:g} mm", allowed=", ".join(f"{d:g}" for d in DIAMETERS_MM))
    if not 0.0 <= edge_exclusion_mm < diameter_mm / 4:
        raise LabkitError(f"edge exclusion {edge_exclusion_mm:g} mm", allowed=f"0 to {diameter_mm / 4:g} mm")
    x, y = polar_sites(sites, diameter_mm / 2 - edge_exclusion_mm)
    return xr.Dataset(
        coords={
            "slot": ("slot", np.arange(1, count + 1), {"units": "1", "long_name": "slot in the load"}),
            "x": ("site", x, {"units": "mm", "long_name": "distance from centre along x"}),
            "y": ("site", y, {"units": "mm", "long_name": "distance from centre along y"}),
        },
        attrs={"diameter_mm": diameter_mm, "edge_exclusion_mm": edge_exclusion_mm, "material": material},
    )


def with_film(wafer: xr.Dataset, material: str, thickness: xr.DataArray) -> xr.Dataset:
    """*wafer* with a film of *material* added on top; *thickness* has dims ``slot``, ``site`` and is in nm."""
    layer = thickness.expand_dims(film=[material]).transpose("slot", "film", "site")
    if "film_thickness" in wafer:
        stack = xr.concat([wafer["film_thickness"], layer], dim="film")
        wafer = wafer.drop_vars(["film_thickness", "film"])
    else:
        stack = layer
    stack = stack.rename("film_thickness").assign_attrs(units="nm", long_name="film thickness, substrate upwards")
    return wafer.assign(film_thickness=stack)
