"""What a Dataset must look like at a border: dims, variables, units, dtypes — checked, not hoped for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from labkit.core.errors import SchemaError, UnitError
from labkit.core.units import same_dimension

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Variable:
    """One array variable: its dims in order, unit (UDUNITS), NumPy dtype kind and meaning.

    ``kind`` is NumPy's dtype kind: ``"f"`` float, ``"i"`` integer, ``"b"`` boolean, ``"U"`` text.
    ``low``/``high`` bound every finite value; ``missing`` says whether NaN may occur.
    """

    name: str
    dims: tuple[str, ...]
    units: str = "1"
    long_name: str = ""
    kind: str = "f"
    low: float = -np.inf
    high: float = np.inf
    missing: bool = False
    optional: bool = False


@dataclass(frozen=True)
class DatasetSchema:
    """The variables and coordinates that a Dataset must carry; more are welcome."""

    name: str
    variables: tuple[Variable, ...]
    coords: tuple[Variable, ...] = field(default=())

    def problems(self, dataset: xr.Dataset) -> list[str]:
        """Everything in *dataset* that departs from the schema, one line each."""
        found: list[str] = []
        for group, members in (("variable", self.variables), ("coordinate", self.coords)):
            available = dataset.data_vars if group == "variable" else dataset.coords
            for expected in members:
                if expected.name not in available:
                    if not expected.optional:
                        found.append(f"{group} {expected.name!r} is missing")
                    continue
                found.extend(
                    f"{group} {expected.name!r} {line}" for line in _departures(expected, dataset[expected.name])
                )
        return found

    def check(self, dataset: xr.Dataset) -> xr.Dataset:
        """Return *dataset* unchanged if it keeps the schema.

        Raises
        ------
        SchemaError
            Listing every departure.
        """
        found = self.problems(dataset)
        if found:
            raise SchemaError(
                f"Dataset does not keep the schema {self.name!r}: " + "; ".join(found),
                fix="see the schema's variables: " + ", ".join(v.name for v in self.variables),
            )
        return dataset

    def describe(self, dataset: xr.Dataset) -> xr.Dataset:
        """*dataset* with the schema's unit and long name written on each variable that lacks them."""
        for expected in (*self.variables, *self.coords):
            if expected.name in dataset.variables:
                dataset[expected.name].attrs.setdefault("units", expected.units)
                if expected.long_name:
                    dataset[expected.name].attrs.setdefault("long_name", expected.long_name)
        return dataset


def _departures(expected: Variable, found: xr.DataArray) -> list[str]:
    lines: list[str] = []
    if tuple(found.dims) != expected.dims:
        lines.append(f"has dims {tuple(found.dims)}, not {expected.dims}")
    kind = found.dtype.kind
    if (
        kind != expected.kind
        and not (expected.kind == "i" and kind == "u")
        and not (expected.kind == "U" and kind in "OT")
    ):
        lines.append(f"has dtype {found.dtype}, not kind {expected.kind!r}")
    units = found.attrs.get("units")
    if units is None:
        if expected.kind in "fi":
            lines.append(f"has no units (expected {expected.units!r})")
    else:
        try:
            if not same_dimension(str(units), expected.units):
                lines.append(f"is in {units!r}, which cannot be turned into {expected.units!r}")
            elif str(units) != expected.units:
                lines.append(f"is in {units!r}; the schema states {expected.units!r}")
        except UnitError as error:
            lines.append(str(error))
    if expected.kind == "f" and kind == "f":
        lines.extend(_value_departures(expected, np.asarray(found.values)))
    return lines


def _value_departures(expected: Variable, values: np.ndarray) -> list[str]:
    lines: list[str] = []
    if not expected.missing and bool(np.isnan(values).any()):
        lines.append("holds NaN")
    finite = values[np.isfinite(values)]
    if finite.size and (finite.min() < expected.low or finite.max() > expected.high):
        lines.append(f"ranges {finite.min():.4g} to {finite.max():.4g}, outside {expected.low:g} to {expected.high:g}")
    return lines
