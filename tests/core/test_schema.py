"""Dataset schemas: every departure is named, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from labkit.core.errors import SchemaError
from labkit.core.schema import DatasetSchema, Variable

SCHEMA = DatasetSchema(
    "film",
    (
        Variable("thickness", ("slot", "site"), "nm", "film thickness", low=0.0, high=1e4),
        Variable("stress", ("slot",), "MPa", missing=True),
        Variable("label", ("slot",), kind="U", optional=True),
        Variable("count", ("slot",), kind="i", optional=True),
    ),
    coords=(Variable("slot", ("slot",), kind="i"),),
)


def film() -> xr.Dataset:
    return xr.Dataset(
        {
            "thickness": (("slot", "site"), np.full((2, 3), 100.0), {"units": "nm"}),
            "stress": ("slot", np.array([1.0, np.nan]), {"units": "MPa"}),
        },
        coords={"slot": ("slot", [1, 2], {"units": "1"})},
    )


def test_a_dataset_that_keeps_the_schema_passes_unchanged() -> None:
    dataset = film()
    assert SCHEMA.check(dataset) is dataset
    extra = dataset.assign(more=("slot", [1.0, 2.0]))
    assert SCHEMA.problems(extra) == []


def spoilt(**changes: object) -> list[str]:
    dataset = film()
    for name, value in changes.items():
        dataset[name] = value
    return SCHEMA.problems(dataset)


def sites(values: np.ndarray, units: str | None = "nm") -> tuple[object, ...]:
    return (("slot", "site"), values, {"units": units} if units else {})


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (sites(np.full((2, 3), -1.0)), "outside 0 to 10000"),
        (sites(np.full((2, 3), 2e4)), "outside 0 to 10000"),
        (sites(np.full((2, 3), np.nan)), "holds NaN"),
        (sites(np.ones((2, 3)), None), "has no units"),
        (sites(np.ones((2, 3)), "s"), "cannot be turned into 'nm'"),
        (sites(np.ones((2, 3)), "um"), "the schema states 'nm'"),
        (sites(np.ones((2, 3)), "flurbs"), "unknown unit"),
        (sites(np.ones((2, 3), dtype=int)), "not kind 'f'"),
        ((("site", "slot"), np.ones((3, 2)), {"units": "nm"}), "has dims"),
    ],
)
def test_each_departure_is_named(found: object, words: str) -> None:
    [line] = [line for line in spoilt(thickness=found) if words in line]
    assert "'thickness'" in line


def test_missing_variables_and_coordinates_are_named_unless_optional() -> None:
    assert SCHEMA.problems(film().drop_vars("stress")) == ["variable 'stress' is missing"]
    assert SCHEMA.problems(film().drop_vars("slot")) == ["coordinate 'slot' is missing"]


def test_text_and_unsigned_counts_are_what_they_seem() -> None:
    assert spoilt(label=("slot", ["a", "b"]), count=("slot", np.array([1, 2], dtype="u4"), {"units": "1"})) == []
    assert len(spoilt(label=("slot", [1.0, 2.0]))) == 1


def test_a_refusal_lists_all_departures_at_once() -> None:
    with pytest.raises(SchemaError, match="'film'") as refused:
        SCHEMA.check(film().drop_vars(["stress", "thickness"]))
    assert "'stress' is missing" in str(refused.value)
    assert "'thickness' is missing" in str(refused.value)


def test_describe_writes_units_and_names_without_overwriting() -> None:
    bare = xr.Dataset(
        {"thickness": (("slot", "site"), np.ones((2, 3))), "stress": ("slot", np.ones(2), {"units": "GPa"})}
    )
    described = SCHEMA.describe(bare)
    assert described["thickness"].attrs == {"units": "nm", "long_name": "film thickness"}
    assert described["stress"].attrs["units"] == "GPa"
