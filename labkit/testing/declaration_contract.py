"""What a process declares as data: names, units, faults, knobs, limits, interlocks."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest

from labkit.core.errors import LabkitError
from labkit.core.limits import Limit
from labkit.core.process import Condition, Finding
from labkit.core.recipe import Recipe
from labkit.core.units import same_dimension
from labkit.testing.subject import Subject


class DeclarationContract(Subject):
    """Declarations mean what they say: every path leads somewhere, every unit is one, every fault shows."""

    def test_entry_point_process_and_recipes_carry_one_name(self) -> None:
        assert self.process.name == self.process_name
        assert self.process.recipe_type.process == self.process_name
        assert self.process.title

    def test_units_are_units(self) -> None:
        declared = [
            *((c.name, c.units) for c in self.process.channels),
            *((i.name, i.units) for i in self.process.indicators),
            *((v.name, v.units) for v in (*self.process.schema.variables, *self.process.schema.coords)),
            *((limit.quantity, limit.units) for limit in self.process.limits),
        ]
        for _, units in declared:
            assert same_dimension(units, units)

    def test_names_are_unique(self) -> None:
        schema = self.process.schema
        for names in (
            [c.name for c in self.process.channels],
            [i.name for i in self.process.indicators],
            [f.name for f in self.process.fault_modes],
            [v.name for v in (*schema.variables, *schema.coords)],
        ):
            assert len(names) == len(set(names))

    def test_channels_and_indicators_say_what_they_are(self) -> None:
        assert self.process.channels
        assert self.process.indicators
        for channel in self.process.channels:
            assert channel.description
            assert np.dtype(channel.dtype).kind in "fiub"
        for indicator in self.process.indicators:
            assert indicator.description
            assert indicator.source in ("metrology", "telemetry")
            assert indicator.residual in ("ratio", "difference")
            assert 0.0 < indicator.sigma < math.inf

    def test_comparing_and_restoring_an_indicator_are_inverse(self) -> None:
        expected = self.process.expected(self.examples[0], self.process.incoming_wafers(self.examples[0]))
        for indicator in self.process.indicators:
            value = expected[indicator.name]
            measured = indicator.restore(indicator.sigma, value)
            assert indicator.compare(measured, value) == pytest.approx(indicator.sigma, rel=1e-6)

    def test_the_nominal_condition_is_the_default(self) -> None:
        assert isinstance(self.process.condition_type(), Condition)
        assert self.process.sample_period_s > 0.0

    def test_every_fault_leads_to_a_field_of_the_condition(self) -> None:
        nominal = self.process.condition_type()
        for fault in self.process.fault_modes:
            shifted = nominal.shifted(fault.path, fault.step)
            assert shifted.value(fault.path) == pytest.approx(nominal.value(fault.path) + fault.step)
            assert shifted != nominal
            assert fault.step != 0.0
            assert fault.title
            assert fault.advice

    def test_every_fault_moves_an_indicator(self) -> None:
        process = self.process
        for fault in process.fault_modes:
            condition = process.condition_type().shifted(fault.path, fault.step)
            assert any(self._moved(recipe, condition) > 0.1 for recipe in self.examples), (
                f"fault {fault.name} moves no indicator by a tenth of its sigma, so that nothing can find it"
            )

    def test_a_fault_of_no_field_is_refused(self) -> None:
        with pytest.raises(LabkitError, match="no_such_field"):
            self.process.condition_type().value("no_such_field")

    def test_knobs_lead_into_the_recipe_and_their_ranges_hold_its_values(self) -> None:
        for recipe in self.examples:
            for knob in self.process.knobs(recipe):
                value = recipe.value(knob.path)
                assert isinstance(value, int | float), f"{knob.path} is {value!r}, not a number"
                assert knob.low < knob.high
                assert knob.low <= value <= knob.high, f"{knob.path} = {value} outside {knob.low} to {knob.high}"
                assert not knob.log or knob.low > 0.0
                assert same_dimension(knob.units, knob.units)
                assert recipe.changed({knob.path: value}).content_hash == recipe.content_hash

    def test_limits_and_targets_are_about_recipe_fields_or_indicators(self) -> None:
        for limit in self.process.limits:
            assert any(self._exists(limit, recipe) for recipe in self.examples), (
                f"limit on {limit.quantity}: no such quantity"
            )
        for recipe in self.examples:
            for target in self.process.targets(recipe):
                assert target.quantity in {i.name for i in self.process.indicators}, (
                    f"target for {target.quantity}: no indicator"
                )

    def test_limits_on_indicators_are_in_their_units(self) -> None:
        units = {indicator.name: indicator.units for indicator in self.process.indicators}
        for limit in self._every_limit():
            if limit.quantity in units:
                assert limit.units == units[limit.quantity]

    def test_example_recipes_need_only_interlocks_that_are_declared(self) -> None:
        assert self.process.interlocks
        assert self.process.safe_state
        for recipe in self.examples:
            assert set(recipe.required_interlocks) <= set(self.process.interlocks)

    def test_findings_on_example_recipes_do_not_block(self) -> None:
        for recipe in self.examples:
            for finding in self.process.findings(recipe):
                assert isinstance(finding, Finding)
                assert finding.message
                assert not finding.blocking, finding.message

    def _moved(self, recipe: Recipe, condition: Condition) -> float:
        wafer = self.process.incoming_wafers(recipe)
        healthy = self.process.expected(recipe, wafer)
        faulty = self.process.expected(recipe, wafer, condition)
        return max(abs(i.compare(faulty[i.name], healthy[i.name])) / i.sigma for i in self.process.indicators)

    def _exists(self, limit: Limit, recipe: Recipe) -> bool:
        if limit.quantity in {indicator.name for indicator in self.process.indicators}:
            return True
        try:
            recipe.value(limit.quantity)
        except LabkitError:
            return False
        return True

    def _every_limit(self) -> Iterable[Limit]:
        yield from self.process.limits
        for recipe in self.examples:
            yield from self.process.targets(recipe)
