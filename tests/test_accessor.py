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


def test_a_tree_says_what_all_its_nodes_rest_on_once() -> None:
    first, second = (
        process.simulate(recipe, process.incoming_wafers(recipe))
        for process in map(registry.process, CHAPTERS[:2])
        for recipe in process.example_recipes()[:1]
    )
    notes = xr.Dataset({"a": ("n", [1.0])})
    tree = xr.DataTree.from_dict({"/one": first, "/one/again": first, "/two": second, "/notes": notes})
    lines = tree.lab.cite().splitlines()
    assert sorted(lines) == sorted({*first.lab.cite().splitlines(), *second.lab.cite().splitlines()})
    assert set(tree.lab.caveats) == {*first.lab.caveats, *second.lab.caveats}
    assert len(set(tree.lab.caveats)) == len(tree.lab.caveats)
    assert repr(tree.lab) == f"<labkit results of {', '.join(CHAPTERS[:2])}, {len(tree.lab.caveats)} caveats>"
    assert tree["/two"].lab.cite() == second.lab.cite()


def test_a_tree_without_results_rests_on_nothing() -> None:
    bare = xr.DataTree.from_dict({"/notes": xr.Dataset({"a": ("n", [1.0])})})
    assert (bare.lab.cite(), bare.lab.caveats) == ("", ())
    assert repr(bare.lab) == "<labkit results of unknown process, 0 caveats>"
