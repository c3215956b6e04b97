"""The CVD chapter at the xarray border: recipe and wafers in, film and indicators out."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from labkit.core.errors import LabkitError
from labkit.core.limits import Limit, Severity
from labkit.core.process import Channel, Condition, Finding, Indicator, Knob, Process, Steering
from labkit.core.recipe import Recipe
from labkit.core.schema import DatasetSchema
from labkit.materials import wafers
from labkit.processes.cvd import indicators, metrology
from labkit.processes.cvd.batch import prepare, steady_growth
from labkit.processes.cvd.dynamics import TubeTwin
from labkit.processes.cvd.engine import PLUMBED, equipment_findings, missing_engine, rate_law_of
from labkit.processes.cvd.equipment import FAULT_MODES, TubeCondition
from labkit.processes.cvd.examples import EXAMPLES
from labkit.processes.cvd.film_index import refractive_index
from labkit.processes.cvd.load import site_map
from labkit.processes.cvd.recipe import CVDRecipe
from labkit.processes.cvd.results import SCHEMA, stamped, wafer_dataset
from labkit.processes.cvd.steady_telemetry import steady_telemetry, unreached
from labkit.processes.cvd.unasked import unasked_growth


def _channels() -> tuple[Channel, ...]:
    zones = [
        channel
        for k in (1, 2, 3)
        for channel in (
            Channel(f"temperature_zone_{k}_c", "degC", f"profile thermocouple of zone {k}"),
            Channel(f"heater_power_zone_{k}_pct", "percent", f"heater drive of zone {k}"),
        )
    ]
    gases = [Channel(f"gas_flow_{name}_sccm", "sccm", f"{name} flow as its controller reports it") for name in PLUMBED]
    return (
        Channel("step", "1", "position of the running recipe step, from 0"),
        Channel("chamber_pressure_torr", "torr", "process pressure gauge"),
        Channel("base_gauge_torr", "torr", "base pressure gauge"),
        Channel("foreline_pressure_torr", "torr", "pressure between booster and backing pump"),
        Channel("throttle_valve_pct", "percent", "throttle opening"),
        *zones,
        *gases,
        Channel("qcm_thickness_nm", "nm", "in-situ thickness at the monitor wafer"),
        Channel("deposition_rate_nm_per_min", "nm/min", "rate derived from the in-situ thickness"),
    )


class ChemicalVapourDeposition(Process):
    """Low-pressure CVD in a hot-wall tube."""

    name: ClassVar[str] = "cvd"
    title: ClassVar[str] = "Chemical vapour deposition"
    recipe_type: ClassVar[type[Recipe]] = CVDRecipe
    condition_type: ClassVar[type[Condition]] = TubeCondition
    schema: ClassVar[DatasetSchema] = SCHEMA
    channels: ClassVar[tuple[Channel, ...]] = _channels()
    indicators: ClassVar[tuple[Indicator, ...]] = indicators.INDICATORS
    fault_modes = FAULT_MODES
    limits: ClassVar[tuple[Limit, ...]] = (
        Limit("pressure_setpoints.process_pressure_torr", 0.02, 760.0, "torr", Severity.HARD, "vacuum to atmosphere"),
        Limit(
            "pressure_setpoints.base_pressure_torr",
            1e-4,
            0.1,
            "torr",
            Severity.SOFT,
            "what a tube pump reaches in time",
        ),
        Limit("thickness_target_nm", 1.0, 20_000.0, "nm", Severity.SOFT, "films that a furnace run can grow"),
        Limit(
            "uniformity_target_pct",
            0.2,
            20.0,
            "percent",
            Severity.SOFT,
            "what metrology can tell and a product can use",
        ),
    )
    interlocks: ClassVar[tuple[str, ...]] = (
        "vacuum_ok",
        "exhaust_ok",
        "gas_cabinet_ok",
        "over_temperature_ok",
        "door_closed",
        "n2_purge_ok",
    )
    safe_state: ClassVar[str] = "process gases shut, nitrogen purge on, pump on, heaters at standby"

    def example_recipes(self) -> tuple[Recipe, ...]:
        """The oxide reference recipe and a polysilicon one."""
        return tuple(CVDRecipe.parse(document) for document in EXAMPLES)

    def incoming_wafers(self, recipe: Recipe) -> xr.Dataset:
        """Twenty-five blank 150 mm wafers with 49 sites each."""
        return wafers.load(25, diameter_mm=150.0, sites=49)

    def simulate(
        self, recipe: Recipe, wafer: xr.Dataset, *, condition: Condition | None = None, seed: int = 0
    ) -> xr.Dataset:
        """Steady growth in every gas step for its duration: thickness, index, rate, partial pressures, telemetry.

        Quasi-steady: the seconds in which flow and pressure settle, and what is left of the ramp's temperature lag, are
        not counted; both together are below 0.5 % of a deposition of ten minutes or more after a settled ramp on a tube
        that reaches its pressures. Film that a stuck flow controller grows outside the gas steps is counted.

        What the tube does not reach is in ``attrs["unreached"]``; pump-down time is NaN where its mark is not reached
        before gas is let in. A pump that stands still from some moment of the run (``pump_trip_s``) leaves no steady
        state: only the twin knows what it does, and here the pump is taken to run. Likewise a zone whose heater is too
        weak is taken to be held.

        Raises
        ------
        LabkitError
            If no engine covers the recipe, in the words of its blocking finding.
        """
        began = perf_counter()
        state = _condition(condition)
        batch = prepare(_cvd(recipe), wafer)
        growth, unasked = steady_growth(batch, state), unasked_growth(batch, state)
        minutes = np.array([batch.recipe.recipe_steps[step].duration_s for step in batch.gas_steps]) / 60.0
        film = sum(
            minute * site_map(edge, modulus, batch.relative_radius)
            for minute, edge, modulus in zip(minutes, growth.edge, growth.modulus, strict=True)
        )
        partial = {name: p[:, batch.load.wafers] for name, p in growth.solution.partial.items()}
        weight = growth.edge * minutes[:, None]
        weighted, total = (weight * refractive_index(batch.law.film, partial)).sum(axis=0), weight.sum(axis=0)
        if unasked is not None:
            film = film + unasked.film(batch)
            weighted, total = weighted + unasked.weighted_index(batch), total + unasked.edge
        index = np.divide(weighted, total, out=np.full_like(total, np.nan), where=total > 0.0)
        found = wafer_dataset(batch, wafer, thickness=np.asarray(film), index=index, minutes=float(minutes.sum()))
        found = found.assign(
            partial_pressure=(
                ("gas", "slot"),
                np.stack([p[-1] for p in partial.values()]),
                {"units": "Pa", "long_name": "partial pressure in the last gas step"},
            ),
        ).assign_coords(gas=list(partial))
        readings = steady_telemetry(batch, state, growth)
        for name, (number, units) in readings.items():
            found[name] = ((), number, {"units": units})
        found = found.assign_attrs(unreached="; ".join(unreached(batch, state, readings)))
        return stamped(found, batch, seed=seed, duration_s=perf_counter() - began)

    def twin(self, recipe: Recipe, wafer: xr.Dataset, *, condition: Condition | None = None, seed: int = 0) -> TubeTwin:
        """The tube in time, with run-to-run scatter and sensor noise from *seed*."""
        return TubeTwin(_cvd(recipe), wafer, condition=_condition(condition), seed=seed)

    def measure(self, truth: xr.Dataset, *, seed: int) -> xr.Dataset:
        """*truth* as a 49-site ellipsometer reports it."""
        return metrology.measure(truth, seed=seed)

    def summarise(self, recipe: Recipe, results: xr.Dataset, telemetry: xr.Dataset | None = None) -> dict[str, float]:
        """Indicator values; NaN for what neither *results* nor *telemetry* knows."""
        found = indicators.from_wafers(results)
        if telemetry is not None:
            return found | indicators.from_telemetry(_cvd(recipe), telemetry)
        return found | {
            name: float(results[name]) if name in results else float("nan") for name in indicators.TELEMETRY_NAMES
        }

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Whether it has a film target and gas flows."""
        return "film_target" in document and "gas_flows" in document

    def findings(self, recipe: Recipe) -> tuple[Finding, ...]:
        """What no engine covers, what the tube cannot hold, and which ramps are stretched."""
        missing = missing_engine(_cvd(recipe))
        return (missing,) if missing is not None else equipment_findings(_cvd(recipe))

    def knobs(self, recipe: Recipe) -> tuple[Knob, ...]:
        """Duration of the longest gas step, zone setpoints, silane flow, process pressure."""
        cvd = _cvd(recipe)
        if missing_engine(cvd) is not None:
            return ()
        found = [_duration_knob(cvd)]
        for position, zone in enumerate(cvd.temperature_profile.zones):
            low, high = max(zone.setpoint - 15.0, 300.0), min(zone.setpoint + 15.0, 1150.0)
            if low < high:
                found.append(Knob(f"temperature_profile.zones.{position}.setpoint", low, high, "degC"))
        reactant = rate_law_of(cvd).reactant
        for position, gas in enumerate(cvd.gas_flows.gases):
            if gas.name == reactant and gas.flow_sccm > 0.0:
                found.append(
                    Knob(
                        f"gas_flows.gases.{position}.flow_sccm",
                        0.7 * gas.flow_sccm,
                        1.4 * gas.flow_sccm,
                        "sccm",
                        log=True,
                    )
                )
        pressure = cvd.pressure_setpoints.process_pressure_torr
        found.append(
            Knob(
                "pressure_setpoints.process_pressure_torr",
                max(0.6 * pressure, 0.02),
                min(1.6 * pressure, 1.0),
                "torr",
                log=True,
            )
        )
        return tuple(found)

    def family(self, recipe: Recipe) -> str:
        """Recipes of one film by one rate law."""
        cvd = _cvd(recipe)
        return f"{cvd.film_target}/{'none' if missing_engine(cvd) is not None else rate_law_of(cvd).name}"

    def steering(self, recipe: Recipe) -> Steering | None:
        """Thickness is kept by the duration of the longest gas step."""
        cvd = _cvd(recipe)
        if missing_engine(cvd) is not None:
            return None
        return Steering("thickness_mean_nm", _duration_knob(cvd), cvd.thickness_target_nm)

    def targets(self, recipe: Recipe) -> tuple[Limit, ...]:
        """Mean thickness within 5 % of its target, uniformity no worse than its target."""
        cvd = _cvd(recipe)
        return (
            Limit(
                "thickness_mean_nm",
                0.95 * cvd.thickness_target_nm,
                1.05 * cvd.thickness_target_nm,
                "nm",
                Severity.HARD,
                "recipe's thickness target ± 5 %",
            ),
            Limit(
                "thickness_uniformity_pct",
                high=cvd.uniformity_target_pct,
                units="percent",
                severity=Severity.HARD,
                reason="recipe's uniformity target",
            ),
        )


def _duration_knob(recipe: CVDRecipe) -> Knob:
    step = max(recipe.gas_steps, key=lambda index: recipe.recipe_steps[index].duration_s)
    duration = recipe.recipe_steps[step].duration_s
    return Knob(f"recipe_steps.{step}.duration_s", 0.5 * duration, min(2.0 * duration, 100_000.0), "s", log=True)


def _cvd(recipe: Recipe) -> CVDRecipe:
    if not isinstance(recipe, CVDRecipe):
        raise LabkitError(f"a {type(recipe).__name__} is not a recipe of this process", allowed="CVDRecipe")
    return recipe


def _condition(condition: Condition | None) -> TubeCondition:
    if condition is None:
        return TubeCondition()
    if not isinstance(condition, TubeCondition):
        raise LabkitError(f"a {type(condition).__name__} does not describe a tube", allowed="TubeCondition")
    return condition
