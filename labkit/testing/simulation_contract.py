"""What the physics must keep: a pure function from recipe, wafers and condition to a Dataset of the declared schema."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import xarray as xr

from labkit.testing.subject import Subject, is_finite, simulated

_VOLATILE = ("duration_s",)


class SimulationContract(Subject):
    """``simulate`` and ``summarise`` have no memory, no side effect and no unit missing."""

    def test_results_keep_their_schema(self) -> None:
        for position in range(len(self.examples)):
            assert self.process.schema.problems(simulated(self.process_name, position)) == []

    def test_every_numeric_variable_of_a_result_has_units(self) -> None:
        for position in range(len(self.examples)):
            result = simulated(self.process_name, position)
            lacking = [
                str(name)
                for name, variable in result.variables.items()
                if variable.dtype.kind in "fiu" and "units" not in variable.attrs
            ]
            assert lacking == []

    def test_a_load_of_wafers_has_slots_and_sites(self) -> None:
        for recipe in self.examples:
            wafer = self.process.incoming_wafers(recipe)
            assert {"slot", "site"} <= set(wafer.sizes)
            assert wafer.sizes["slot"] >= 1
            assert np.array_equal(wafer["slot"].values, np.arange(1, wafer.sizes["slot"] + 1))

    def test_simulating_twice_gives_the_same_and_changes_nothing(self) -> None:
        for recipe in self.examples:
            wafer = self.process.incoming_wafers(recipe)
            before, content, state = wafer.copy(deep=True), recipe.to_json(), _random_state()
            first = self.process.simulate(recipe, wafer)
            second = self.process.simulate(recipe, wafer)
            xr.testing.assert_identical(_settled(first), _settled(second))
            xr.testing.assert_identical(wafer, before)
            assert recipe.to_json() == content
            assert _random_state() == state, "simulate used NumPy's global random numbers"

    def test_no_condition_is_the_nominal_condition(self) -> None:
        for position, recipe in enumerate(self.examples):
            stated = self.process.simulate(
                recipe, self.process.incoming_wafers(recipe), condition=self.process.condition_type()
            )
            xr.testing.assert_identical(_settled(stated), _settled(simulated(self.process_name, position)))

    def test_a_result_does_not_depend_on_what_was_simulated_before(self) -> None:
        first = self.examples[0]
        for fault in self.process.fault_modes:
            condition = self.process.condition_type().shifted(fault.path, fault.step)
            self.process.simulate(first, self.process.incoming_wafers(first), condition=condition)
        again = self.process.simulate(first, self.process.incoming_wafers(first))
        xr.testing.assert_identical(_settled(again), _settled(simulated(self.process_name, 0)))

    def test_a_result_says_where_it_comes_from(self) -> None:
        for position, recipe in enumerate(self.examples):
            origin = simulated(self.process_name, position).attrs
            assert origin["process"] == self.process_name
            assert origin["recipe_hash"] == recipe.content_hash
            assert {"seed", "device", "versions", "references", "illustrative"} <= set(origin)

    def test_cited_references_are_in_the_bibliography(self) -> None:
        module = sys.modules[type(self.process).__module__]
        assert module.__file__ is not None
        for position in range(len(self.examples)):
            cited = simulated(self.process_name, position).attrs["references"].split()
            assert cited, "a result must cite the sources of its physics"
            listed = re.findall(
                r"@\w+\{\s*([^,\s]+)", Path(module.__file__).with_name("references.bib").read_text("utf-8")
            )
            assert set(cited) <= set(listed), f"not in references.bib: {set(cited) - set(listed)}"

    def test_every_indicator_follows_from_results_alone(self) -> None:
        for position, recipe in enumerate(self.examples):
            values = self.process.summarise(recipe, simulated(self.process_name, position))
            assert set(values) == {indicator.name for indicator in self.process.indicators}
            assert all(is_finite(value) for value in values.values()), values

    def test_expected_values_are_those_of_the_simulation(self) -> None:
        for position, recipe in enumerate(self.examples):
            assert self.process.expected(recipe, self.process.incoming_wafers(recipe)) == self.process.summarise(
                recipe, simulated(self.process_name, position)
            )


def _settled(dataset: xr.Dataset) -> xr.Dataset:
    """*dataset* without the attributes that say how long computing it took."""
    copy = dataset.copy()
    copy.attrs = {key: value for key, value in dataset.attrs.items() if key not in _VOLATILE}
    return copy


def _random_state() -> bytes:
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    return bytes(state["state"]["key"].tobytes()) + str(state["state"]["pos"]).encode()
