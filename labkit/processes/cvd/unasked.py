"""Film that grows while the recipe has the gas shut: every reactant comes from a controller that is stuck open.

Gas phase and surface are steady from moment to moment, temperatures are followed in time without noise. The tube is
pumped without control; the volume that reaction adds to the gas is not counted there, nor the seconds in which gas
settles. While nitrogen is let in nothing flows through, and nothing grows.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.core.arrays import Array, namespace
from labkit.core.units import SCCM
from labkit.processes.cvd.batch import Batch, complete, heater_gains, idle_flow, stuck_flows, true_offsets
from labkit.processes.cvd.equipment import TubeCondition
from labkit.processes.cvd.film_index import refractive_index
from labkit.processes.cvd.furnace import ramped, run_furnace
from labkit.processes.cvd.load import Growth, grow, site_map
from labkit.processes.cvd.timeline import furnace_rates
from labkit.processes.cvd.vacuum import background_flow, base_pressure

_STRIDE = 10
"""Samples per moment: a ramp of 10 K/min moves the rate by a few per cent in this time."""


@dataclass(frozen=True)
class UnaskedGrowth:
    """Growth at moments outside the gas steps, one row each, and the ``minutes`` (row,) that each stands for."""

    minutes: Array
    growth: Growth

    @property
    def edge(self) -> Array:
        """Film at the wafer edge, nm (slot,)."""
        return self.minutes @ self.growth.edge

    def film(self, batch: Batch) -> Array:
        """Film at each site, nm (slot, site)."""
        mean = (
            self.minutes @ (self.growth.edge * self.growth.modulus) / namespace(self.edge).clip(self.edge, 1e-300, None)
        )
        return site_map(self.edge, mean, batch.relative_radius)

    def weighted_index(self, batch: Batch) -> Array:
        """Refractive index times film at the wafer edge, nm (slot,)."""
        partial = {name: p[:, batch.load.wafers] for name, p in self.growth.solution.partial.items()}
        return self.minutes @ (self.growth.edge * refractive_index(batch.law.film, partial))


def unasked_growth(batch: Batch, condition: TubeCondition) -> UnaskedGrowth | None:
    """Growth on equipment in *condition* in the steps of *batch* without gas; None if there is none."""
    xp = namespace(batch.timeline.shares)
    flows = {
        name: xp.asarray(flow * SCCM * condition.mfc_gain.get(name, 1.0))
        for name, flow in stuck_flows(condition).items()
    }
    needed = {name for name, moles in batch.law.stoichiometry.items() if moles < 0.0}
    moments = _moments(batch)
    if not moments or not needed <= set(flows) or not complete(batch.law, flows):
        return None
    tube, leak, load = batch.tube, condition.leak_sccm, idle_flow(condition)
    background = xp.asarray([background_flow(tube, at, leak) for _, at, _ in moments])
    pressure = xp.asarray(
        [base_pressure(tube, at, leak, condition.pump_gain, fed=load, filled=filled) for _, at, filled in moments]
    )
    growth = grow(
        batch.load,
        batch.law,
        zones_c=_wafer_zones(batch, condition)[xp.asarray([at for _, at, _ in moments]), :],
        pressure=pressure * load / (load + background),
        flows={name: flow * xp.ones_like(pressure) for name, flow in flows.items()},
        activity=condition.rate_gain,
    )
    return UnaskedGrowth(minutes=xp.asarray([minutes for minutes, _, _ in moments]), growth=growth)


def _moments(batch: Batch) -> list[tuple[float, int, bool]]:
    """Minutes without gas that a moment stands for, its time s, and whether air still fills the tube then."""
    xp = namespace(batch.timeline.shares)
    idle, filled, full = [], [], True
    for index, step in enumerate(batch.recipe.recipe_steps):
        venting, gassed = "vent" in step.name.lower(), index in batch.recipe.gas_steps
        full = venting or (full and not gassed)
        idle.append(float(not venting and not gassed))
        filled.append(full)
    seconds = batch.timeline.of_steps(xp.asarray(idle))
    found = []
    for start in range(0, batch.timeline.samples, _STRIDE):
        end = min(start + _STRIDE, batch.timeline.samples)
        minutes, middle = float(xp.sum(seconds[start:end])) / 60.0, (start + end) // 2
        if minutes > 0.0:
            found.append((minutes, middle, filled[int(batch.timeline.step[middle])]))
    return found


def _wafer_zones(batch: Batch, condition: TubeCondition) -> Array:
    """True temperature of the wafers by zone, °C (sample, 3)."""
    line = batch.timeline
    up, down = furnace_rates(batch.recipe, batch.tube)
    setpoint = ramped(line.zones[line.step], batch.tube.standby_c, up, down)
    quiet = 0.0 * setpoint
    return run_furnace(batch.tube, setpoint, true_offsets(condition), heater_gains(condition), quiet).wafer
