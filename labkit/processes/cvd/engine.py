"""Which recipes this chapter can compute, and what pre-flight says about the others."""

from __future__ import annotations

import numpy as np

from labkit.core.errors import LabkitError
from labkit.core.process import Finding
from labkit.core.units import SCCM, TORR
from labkit.materials.films import FILMS, film
from labkit.processes.cvd.equipment import TUBES
from labkit.processes.cvd.furnace import steady_power
from labkit.processes.cvd.kinetics import RateLaw, law, laws_for
from labkit.processes.cvd.recipe import MAX_DURATION_S, CVDRecipe
from labkit.processes.cvd.timeline import furnace_rates, stretch, zone_targets
from labkit.processes.cvd.vacuum import effective_speed, valve_opening

PLUMBED = ("SiH4", "N2O", "N2")
"""Gases that the simulated tube has lines for."""
SHORTEST_GAS_STEP_S = 60.0
"""Gas steps shorter than this are dominated by the settling of flow and pressure."""
_DILUENTS = frozenset({"N2"})


def energy_mode(recipe: CVDRecipe) -> str:
    """How a recipe brings its energy in: thermal, plasma, hot wire, laser, pulsed or MOCVD."""
    if recipe.plasma_settings is not None or any(step.plasma_power_w for step in recipe.recipe_steps):
        return "plasma"
    if recipe.filament_settings is not None:
        return "hot wire"
    if recipe.laser_settings is not None:
        return "laser"
    if recipe.pulsing_scheme is not None or any(gas.timing != "continuous" for gas in recipe.gas_flows.gases):
        return "pulsed"
    if any(gas.metal_organic for gas in recipe.gas_flows.gases):
        return "MOCVD"
    return "thermal"


def rate_law_of(recipe: CVDRecipe) -> RateLaw:
    """The rate law that *recipe* asks for, or its film's default.

    Raises
    ------
    LabkitError
        If the film has none.
    """
    if recipe.rate_law is not None:
        return law(recipe.rate_law)
    return laws_for(film(recipe.film_target).name)[0]


def missing_engine(recipe: CVDRecipe) -> Finding | None:
    """Why this chapter cannot compute *recipe*, in plain words; None when it can."""
    mode = energy_mode(recipe)
    if mode != "thermal":
        return Finding(
            f"{mode} deposition has no engine yet: {recipe.film_target[:60]} of this recipe cannot be predicted or "
            "simulated",
            "use a thermal recipe for SiO2 (SiH4 + N2O) or poly-Si (SiH4)",
            blocking=True,
        )
    try:
        rate = rate_law_of(recipe)
        asked = film(recipe.film_target)
    except LabkitError as error:
        return Finding(
            f"there is no engine for {recipe.film_target[:60]!r}",
            f"films: {', '.join(FILMS)} ({error.what})",
            blocking=True,
        )
    if rate.film != asked.name:
        return Finding(
            f"rate law {rate.name} grows {rate.film}, not {asked.name}",
            "choose a rate law of the film, or none",
            blocking=True,
        )
    gases = {gas.name for gas in recipe.gas_flows.gases}
    needed = {name for name, moles in rate.stoichiometry.items() if moles < 0.0}
    if needed - gases or gases - needed - _DILUENTS:
        return Finding(
            f"{rate.film} is grown from {' + '.join(sorted(needed))}, not from {' + '.join(sorted(gases))}"[:300],
            "use these gases; N2 may dilute them",
            blocking=True,
        )
    return _missing_gas(recipe, needed)


def _missing_gas(recipe: CVDRecipe, needed: set[str]) -> Finding | None:
    steps = recipe.gas_steps
    if not steps:
        return Finding("no step lets gas flow", "set flows_active: true on the deposition step", blocking=True)
    for index in steps:
        step = recipe.recipe_steps[index]
        dry = [gas.name for gas in recipe.gas_flows.gases if gas.name in needed and step.flow(gas) <= 0.0]
        if dry:
            return Finding(
                f"step {step.name[:60]!r} runs without {', '.join(dry)}",
                "give every reactant a flow there",
                blocking=True,
            )
    return None


def require_engine(recipe: CVDRecipe) -> RateLaw:
    """The rate law for *recipe*.

    Raises
    ------
    LabkitError
        In the words of the blocking finding, if there is one.
    """
    for finding in (missing_engine(recipe), *equipment_findings(recipe)):
        if finding is not None and finding.blocking:
            raise LabkitError(finding.message, fix=finding.fix)
    return rate_law_of(recipe)


def equipment_findings(recipe: CVDRecipe) -> tuple[Finding, ...]:
    """What the tube cannot follow in *recipe*, or does differently."""
    if missing_engine(recipe) is not None:
        return ()
    return (*_thermal_findings(recipe), *_vacuum_findings(recipe), *_validity_findings(recipe))


def _thermal_findings(recipe: CVDRecipe) -> list[Finding]:
    rate = rate_law_of(recipe)
    tube = TUBES[rate.film]
    zones = zone_targets(recipe, tube)
    found = []
    power = np.array([steady_power(tube, row, np.ones(3)) for row in zones])
    if power.max() > 0.9 or zones.max() > 1150.0 or zones.min() < 300.0 or power.min() < 0.02:
        found.append(
            Finding(
                f"the zones are asked for {zones.min():.0f} to {zones.max():.0f} degC, which this tube cannot hold",
                "keep zones between 300 and 1150 degC and within about 100 degC of each other",
                blocking=True,
            )
        )
        return found
    added = stretch(recipe, tube, zones)
    if float(sum(step.duration_s for step in recipe.recipe_steps) + added.sum()) > MAX_DURATION_S:
        found.append(
            Finding(f"with its ramps the run takes longer than {MAX_DURATION_S:g} s", "ramp faster", blocking=True)
        )
    wanted = recipe.ramp_rates()
    if (wanted / 60.0 > furnace_rates(recipe, tube)[0] + 1e-9).any():
        found.append(
            Finding(
                f"a ramp of {wanted.max():g} °C/min is more than the furnace follows; it ramps at "
                f"{tube.max_ramp_k_per_min:g} °C/min",
                f"ask for at most {tube.max_ramp_k_per_min:g} °C/min",
            )
        )
    for step, extra in zip(recipe.recipe_steps, added, strict=True):
        if extra > 0.5:
            found.append(
                Finding(
                    f"step {step.name[:60]!r} is stretched by {extra:.0f} s until the zones have arrived",
                    f"give it {step.duration_s + extra:.0f} s, or ramp faster",
                )
            )
    reference = recipe.reference_temp_c
    if reference is not None and abs(reference - float(recipe.zone_setpoints().mean())) > 15.0:
        found.append(
            Finding(
                f"the steps ask for {reference:g} degC but the zones average "
                f"{recipe.zone_setpoints().mean():.1f} degC; the zone setpoints rule",
                "make them agree",
            )
        )
    return found


def _vacuum_findings(recipe: CVDRecipe) -> list[Finding]:
    rate = rate_law_of(recipe)
    tube = TUBES[rate.film]
    found = []
    for index in recipe.gas_steps:
        step = recipe.recipe_steps[index]
        torr = step.target_pressure_torr or recipe.pressure_setpoints.process_pressure_torr
        flow = sum(step.flow(gas) for gas in recipe.gas_flows.gases)
        if not 0.02 <= torr <= 1.0:
            found.append(
                Finding(
                    f"step {step.name[:60]!r} asks for {torr:g} torr",
                    "this tube works from 0.02 to 1 torr",
                    blocking=True,
                )
            )
            continue
        opening = valve_opening(tube, flow * SCCM, torr * TORR)
        if not 0.02 < opening < 0.95:
            least = (
                flow
                * SCCM
                * 8.314462618
                * tube.pump_temperature
                / effective_speed(tube, tube.valve_conductance, 1.0)
                / TORR
            )
            found.append(
                Finding(
                    f"{flow:g} sccm cannot be held at {torr:g} torr: the throttle would stand at {100 * opening:.0f} %",
                    f"lower the flow or raise the pressure (fully open it reaches {least:.2g} torr)",
                    blocking=True,
                )
            )
    return found


def _validity_findings(recipe: CVDRecipe) -> list[Finding]:
    rate = rate_law_of(recipe)
    low, high = rate.temperature_range_c
    zones = recipe.zone_setpoints()
    found = []
    if zones.min() < low or zones.max() > high:
        found.append(
            Finding(
                f"zones of {zones.min():g} to {zones.max():g} degC lie outside the range of rate law {rate.name} "
                f"({low:g} to {high:g} degC): the prediction is an extrapolation",
                "treat the thickness with care",
            )
        )
    for index in recipe.gas_steps:
        step = recipe.recipe_steps[index]
        if step.duration_s < SHORTEST_GAS_STEP_S:
            found.append(
                Finding(
                    f"step {step.name[:60]!r} lets gas in for {step.duration_s:g} s; flow and pressure need about 10 s "
                    "to settle, so the prediction is rough",
                    f"let gas in for {SHORTEST_GAS_STEP_S:g} s or more",
                )
            )
        flow = {gas.name: step.flow(gas) for gas in recipe.gas_flows.gases}
        if rate.film == "SiO2" and flow["N2O"] < flow["SiH4"]:
            found.append(
                Finding(
                    f"step {step.name[:60]!r} has less N2O than SiH4: the film will be silicon-rich and the rate law "
                    "is an extrapolation",
                    "use at least as much N2O as SiH4",
                )
            )
    return found
