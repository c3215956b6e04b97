"""``ds.lab``: a result says what it rests on and what in it is a guess."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

import labkit.accessor
from labkit.core import registry
from tests.architecture.sources import imported

CHAPTERS = registry.names("labkit.processes")


@pytest.fixture(params=CHAPTERS)
def result(request: pytest.FixtureRequest) -> xr.Dataset:
    process = registry.process(request.param)
    recipe = process.example_recipes()[0]
    return process.simulate(recipe, process.incoming_wafers(recipe))


def test_a_result_cites_every_reference_it_was_stamped_with(result: xr.Dataset) -> None:
    lines = result.lab.cite().splitlines()
    assert len(lines) == len(result.attrs["references"].split()) > 0
    assert all(line.endswith(".") and not set("{}\\") & set(line) for line in lines)


def test_a_result_lists_its_guesses_one_by_one(result: xr.Dataset) -> None:
    assert "; ".join(result.lab.caveats) == result.attrs["illustrative"]
    assert len(result.lab.caveats) > 1
    assert all(caveat.strip() == caveat and caveat for caveat in result.lab.caveats)


def test_a_dataset_of_no_process_has_no_caveats_and_a_short_name() -> None:
    assert xr.Dataset().lab.caveats == ()
    assert repr(xr.Dataset().lab) == "<labkit result of unknown process, 0 caveats>"


def test_the_accessor_rests_on_the_core_alone() -> None:
    ours = {name for name in imported(Path("labkit/accessor.py")) if name.startswith("labkit")}
    assert ours
    assert all(name.startswith("labkit.core.") for name in ours)
    assert labkit.accessor.LabAccessor is type(xr.Dataset().lab)
