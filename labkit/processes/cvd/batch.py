"""A recipe made ready for its tube: film, rate law, load, timeline, and gas setpoints per step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from labkit.core.errors import LabkitError
from labkit.core.units import SCCM, TORR
from labkit.processes.cvd.engine import PLUMBED, require_engine
from labkit.processes.cvd.equipment import TUBES, TubeCondition, TubeFurnace
from labkit.processes.cvd.kinetics import RateLaw
from labkit.processes.cvd.load import Growth, Load, arrange, grow
from labkit.processes.cvd.recipe import CVDRecipe
from labkit.processes.cvd.timeline import Timeline, timeline
from labkit.processes.cvd.vacuum import background_flow, settled_pressure

OVERHANG = 0.2
"""Length in m by which a load may reach beyond the outer zones' centres, both ends together."""
CLEARANCE = 0.03
"""Room in m that boat and door seal take from the tube's inner diameter."""

_TRACE = 1e-6
"""Share of the flow below which a reactant is taken to be missing."""
_SETTLED = 1e-9
"""Relative change of pressure at which a throttle at the end of its travel has settled."""
_ROUNDS = 60
"""Rounds of pressure and growth; gas gains at most its own volume by reaction, so each at least halves the change."""


@dataclass(frozen=True)
class Batch:
    """Everything that follows from recipe and wafers alone.

    ``flows`` sccm by gas (step,); ``pressure`` reported Pa (step,), 0 where the tube is pumped without control.
    """

    recipe: CVDRecipe
    tube: TubeFurnace
    law: RateLaw
    load: Load
    timeline: Timeline
    flows: dict[str, np.ndarray]
    pressure: np.ndarray
    relative_radius: np.ndarray

    @property
    def gas_steps(self) -> np.ndarray:
        """Positions of the steps with gas."""
        return np.array(self.recipe.gas_steps, dtype=int)


def prepare(recipe: CVDRecipe, wafer: xr.Dataset) -> Batch:
    """The batch of *recipe* on *wafer*.

    Raises
    ------
    LabkitError
        If no engine covers the recipe, or the wafers do not fit the tube.
    """
    law = require_engine(recipe)
    tube = TUBES[law.film]
    slots, diameter = int(wafer.sizes["slot"]), float(wafer.attrs["diameter_mm"])
    room = int((tube.zone_centres[-1] - tube.zone_centres[0] + OVERHANG) / tube.wafer_pitch)
    widest = 1e3 * (tube.inner_diameter - CLEARANCE)
    if slots > room or diameter > widest:
        raise LabkitError(
            f"{slots} wafers of {diameter:g} mm do not fit the tube",
            allowed=f"up to {room} wafers of at most {widest:g} mm",
        )
    steps = recipe.recipe_steps
    flows = {gas.name: np.array([step.flow(gas) for step in steps]) for gas in recipe.gas_flows.gases}
    wanted = [step.target_pressure_torr or recipe.pressure_setpoints.process_pressure_torr for step in steps]
    gassed = np.isin(np.arange(len(steps)), recipe.gas_steps)
    radius = np.hypot(np.asarray(wafer["x"].values), np.asarray(wafer["y"].values)) / (0.5 * diameter)
    return Batch(
        recipe=recipe,
        tube=tube,
        law=law,
        load=arrange(tube, slots, diameter),
        timeline=timeline(recipe, tube),
        flows=flows,
        pressure=np.where(gassed, np.array(wanted) * TORR, 0.0),
        relative_radius=radius,
    )


def true_offsets(condition: TubeCondition) -> np.ndarray:
    """True minus reported temperature of the zones, K, shape (3,)."""
    return np.array(
        [condition.temperature_offset_k + condition.zone_offset_k.get(str(zone), 0.0) for zone in (1, 2, 3)]
    )


def heater_gains(condition: TubeCondition) -> np.ndarray:
    """Delivered over demanded power of the zones, shape (3,)."""
    return np.array([condition.heater_gain.get(str(zone), 1.0) for zone in (1, 2, 3)])


def stuck_flows(condition: TubeCondition) -> dict[str, float]:
    """Flow that each stuck controller reports from the first second to the last, sccm by gas."""
    return {name: flow for name, flow in condition.mfc_stuck.items() if flow > 0.0 and name in PLUMBED}


def reported_flows(batch: Batch, condition: TubeCondition) -> dict[str, np.ndarray]:
    """Flow that each controller reports in each step, sccm (step,): a stuck one the same in all."""
    steps = len(batch.recipe.recipe_steps)
    return batch.flows | {name: np.full(steps, flow) for name, flow in stuck_flows(condition).items()}


def idle_flow(condition: TubeCondition) -> float:
    """Gas in mol/s that flows although nothing is asked for: from stuck controllers."""
    return sum(
        (flow * SCCM * condition.mfc_gain.get(name, 1.0) for name, flow in stuck_flows(condition).items()), start=0.0
    )


def complete(law: RateLaw, flows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether every reactant of *law* is in *flows* (any one unit and shape): oxide does not grow from silane alone."""
    total = np.sum(np.stack(list(flows.values())), axis=0)
    needed = [name for name, moles in law.stoichiometry.items() if moles < 0.0]
    return np.asarray(np.all([flows[name] > _TRACE * total for name in needed], axis=0))


def steady_growth(batch: Batch, condition: TubeCondition) -> Growth:
    """Steady growth in every gas step, one row each, on equipment in *condition*.

    Pressure is the recipe's as the gauge reports it, or what it settles at where the throttle is at the end of its
    travel. A pump that fails during the run (``pump_trip_s``) has no steady state and is not counted.
    """
    steps = batch.gas_steps
    reported = reported_flows(batch, condition)
    flows = {name: flow[steps] * SCCM * condition.mfc_gain.get(name, 1.0) for name, flow in reported.items()}
    fed = np.sum(np.stack(list(flows.values())), axis=0)
    elapsed = batch.timeline.edges[steps]
    background = np.array([background_flow(batch.tube, t, condition.leak_sccm) for t in elapsed])
    pressure = wanted = batch.pressure[steps] * condition.pressure_gauge_gain
    for _ in range(_ROUNDS):
        growth = grow(
            batch.load,
            batch.law,
            zones_c=batch.timeline.zones[steps] + true_offsets(condition),
            pressure=pressure * fed / (fed + background),
            flows=flows,
            activity=condition.rate_gain,
        )
        leaving = growth.solution.outflow + background
        before, pressure = pressure, settled_pressure(batch.tube, leaving, wanted, condition.pump_gain)
        if np.all(np.abs(pressure - before) <= _SETTLED * before):
            break
    return replace(growth, edge=growth.edge * complete(batch.law, flows)[:, None])
