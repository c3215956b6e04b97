"""The conformance suite notices each way of breaking the contract: a kit that passes everything proves nothing."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from labkit.core import registry
from labkit.core.errors import RecipeError
from labkit.core.process import Finding, Indicator, Knob, Process, Telemetry
from labkit.testing import ProcessTests, subject


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ProcessTests]]:
    """A function that gives the contract for a spin coater with some of its members replaced."""
    folder = Path(__file__).resolve().parents[1] / "plugins/labkit_spin_coating"
    monkeypatch.syspath_prepend(str(folder))
    plugin: Any = importlib.import_module("labkit_spin_coating.process")
    caches = (subject.simulated, subject.completed)

    def spoilt(twin: dict[str, Any] | None = None, **members: Any) -> ProcessTests:
        for cache in caches:
            cache.cache_clear()
        process = type("Spoilt", (plugin.SpinCoating,), {**members, "__module__": plugin.__name__})()
        if twin:
            kind = type("SpoiltTwin", (plugin.SpinCoaterTwin,), twin)
            monkeypatch.setattr(plugin, "SpinCoaterTwin", kind)
        monkeypatch.setattr(registry, "process", lambda name: process)
        contract = type("TestSpoilt", (ProcessTests,), {"process_name": "spin_coating"})
        made: ProcessTests = contract()
        return made

    yield spoilt
    for cache in caches:
        cache.cache_clear()


def original(name: str) -> Any:
    return getattr(importlib.import_module("labkit_spin_coating.process").SpinCoating, name)


def test_a_good_process_passes_what_the_spoilt_ones_fail(spoil: Callable[..., ProcessTests]) -> None:
    contract = spoil()
    contract.test_simulating_twice_gives_the_same_and_changes_nothing()
    contract.test_block_size_changes_no_bit((1, 7, 64, 3))
    contract.test_measurements_are_of_the_truth_without_bias()
    contract.test_a_mutated_document_is_refused_clearly_or_runs()


def test_a_simulation_with_a_memory_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    calls = []

    def simulate(self: Process, recipe: Any, wafer: xr.Dataset, **options: Any) -> xr.Dataset:
        calls.append(1)
        result: xr.Dataset = original("simulate")(self, recipe, wafer, **options)
        return result.assign(thickness=result["thickness"] + len(calls))

    with pytest.raises(AssertionError):
        spoil(simulate=simulate).test_simulating_twice_gives_the_same_and_changes_nothing()


def test_a_simulation_that_changes_its_wafers_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    def simulate(self: Process, recipe: Any, wafer: xr.Dataset, **options: Any) -> xr.Dataset:
        result: xr.Dataset = original("simulate")(self, recipe, wafer, **options)
        wafer.attrs["seen"] = True
        return result

    with pytest.raises(AssertionError):
        spoil(simulate=simulate).test_simulating_twice_gives_the_same_and_changes_nothing()


def test_global_random_numbers_are_noticed(spoil: Callable[..., ProcessTests]) -> None:
    def simulate(self: Process, recipe: Any, wafer: xr.Dataset, **options: Any) -> xr.Dataset:
        np.random.rand()
        result: xr.Dataset = original("simulate")(self, recipe, wafer, **options)
        return result

    with pytest.raises(AssertionError, match="global random"):
        spoil(simulate=simulate).test_simulating_twice_gives_the_same_and_changes_nothing()


def test_a_variable_without_units_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    def simulate(self: Process, recipe: Any, wafer: xr.Dataset, **options: Any) -> xr.Dataset:
        result: xr.Dataset = original("simulate")(self, recipe, wafer, **options)
        return result.assign(extra=("slot", [1.0]))

    with pytest.raises(AssertionError, match="extra"):
        spoil(simulate=simulate).test_every_numeric_variable_of_a_result_has_units()


def test_noise_that_depends_on_the_block_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    def advance(self: Any, samples: int) -> Telemetry:
        count = min(samples, self.samples - self.done)
        self.done += count
        noise = np.random.default_rng(count).normal(size=count)
        return {"time": np.arange(self.done - count, self.done, dtype=float), "spindle_speed_rpm": noise.astype("f4")}

    with pytest.raises(AssertionError, match="spindle_speed_rpm"):
        spoil(twin={"advance": advance}).test_block_size_changes_no_bit((7,))


def test_an_undeclared_channel_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    with pytest.raises(AssertionError):
        spoil(channels=()).test_telemetry_has_the_declared_channels_and_types()


def test_a_biased_measurement_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    def measure(self: Process, truth: xr.Dataset, *, seed: int) -> xr.Dataset:
        result: xr.Dataset = original("measure")(self, truth, seed=seed)
        return result.assign(thickness=(result["thickness"] * 1.002).assign_attrs(truth["thickness"].attrs))

    with pytest.raises(AssertionError, match="off on average"):
        spoil(measure=measure).test_measurements_are_of_the_truth_without_bias()


def test_a_healthy_run_that_looks_ill_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    tight = (
        Indicator("thickness_mean_nm", "nm", "Mean", sigma=1e-6),
        Indicator("spindle_speed_mean_rpm", "rpm", "Speed", source="telemetry", sigma=0.001),
    )
    with pytest.raises(AssertionError, match="thickness_mean_nm"):
        spoil(indicators=tight).test_a_healthy_run_lies_within_its_declared_spread()


def test_a_fault_that_shows_nowhere_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    blind = (
        Indicator("thickness_mean_nm", "nm", "Mean", sigma=10.0),
        Indicator("spindle_speed_mean_rpm", "rpm", "Speed", source="telemetry", sigma=10.0),
    )
    with pytest.raises(AssertionError, match="moves no indicator"):
        spoil(indicators=blind).test_every_fault_moves_an_indicator()


def test_a_knob_outside_its_range_and_one_that_leads_nowhere_are_noticed(spoil: Callable[..., ProcessTests]) -> None:
    with pytest.raises(AssertionError, match="outside"):
        spoil(
            knobs=lambda self, recipe: (Knob("spin_speed_rpm", 1.0, 2.0, "rpm"),)
        ).test_knobs_lead_into_the_recipe_and_their_ranges_hold_its_values()
    with pytest.raises(RecipeError):
        spoil(
            knobs=lambda self, recipe: (Knob("no_such_field", 1.0, 2.0, "rpm"),)
        ).test_knobs_lead_into_the_recipe_and_their_ranges_hold_its_values()


def test_an_accidental_exception_on_an_odd_recipe_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    def findings(self: Process, recipe: Any) -> tuple[Finding, ...]:
        return (Finding(str(1.0 / math.floor(recipe.spin_time_s / 60.0))),)

    with pytest.raises(ZeroDivisionError):
        spoil(findings=findings).test_a_mutated_document_is_refused_clearly_or_runs()


def test_a_result_outside_its_schema_on_an_odd_recipe_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    def simulate(self: Process, recipe: Any, wafer: xr.Dataset, **options: Any) -> xr.Dataset:
        result: xr.Dataset = original("simulate")(self, recipe, wafer, **options)
        if recipe.spin_speed_rpm != 3000.0:
            result["thickness"] = (-result["thickness"]).assign_attrs(result["thickness"].attrs)
        return result

    with pytest.raises(AssertionError, match="outside 0 to inf"):
        spoil(simulate=simulate).test_a_mutated_document_is_refused_clearly_or_runs()


def test_a_citation_that_leads_nowhere_is_noticed(spoil: Callable[..., ProcessTests]) -> None:
    def simulate(self: Process, recipe: Any, wafer: xr.Dataset, **options: Any) -> xr.Dataset:
        result: xr.Dataset = original("simulate")(self, recipe, wafer, **options)
        return result.assign_attrs(references="nobody1900")

    with pytest.raises(AssertionError, match="nobody1900"):
        spoil(simulate=simulate).test_cited_references_are_in_the_bibliography()


def test_a_contract_without_a_name_says_what_to_write() -> None:
    with pytest.raises(TypeError, match="process_name"):
        ProcessTests().test_names_are_unique()
