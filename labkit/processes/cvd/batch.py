"""A recipe made ready for its tube: film, rate law, load, timeline, and gas setpoints per step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from labkit.core.errors import LabkitError
from labkit.core.units import SCCM, TORR
from labkit.processes.cvd.engine import require_engine
from labkit.processes.cvd.equipment import TUBES, TubeCondition, TubeFurnace
from labkit.processes.cvd.kinetics import RateLaw
from labkit.processes.cvd.load import Growth, Load, arrange, grow
from labkit.processes.cvd.recipe import CVDRecipe
from labkit.processes.cvd.timeline import Timeline, timeline
from labkit.processes.cvd.vacuum import background_flow

OVERHANG = 0.2
"""Length in m by which a load may reach beyond the outer zones' centres, both ends together."""
CLEARANCE = 0.03
"""Room in m that boat and door seal take from the tube's inner diameter."""


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


def steady_growth(batch: Batch, condition: TubeCondition) -> Growth:
    """Steady growth in every gas step, one row each, on equipment in *condition*."""
    steps = batch.gas_steps
    flows = {name: flow[steps] * SCCM * condition.mfc_gain.get(name, 1.0) for name, flow in batch.flows.items()}
    fed = np.sum(np.stack(list(flows.values())), axis=0)
    elapsed = batch.timeline.edges[steps]
    background = np.array([background_flow(batch.tube, t, condition.leak_sccm) for t in elapsed])
    pressure = batch.pressure[steps] * condition.pressure_gauge_gain * fed / (fed + background)
    return grow(
        batch.load,
        batch.law,
        zones_c=batch.timeline.zones[steps] + true_offsets(condition),
        pressure=pressure,
        flows=flows,
        activity=condition.rate_gain,
    )
