"""The twin: one load in the tube, second by second, with sensors, run-to-run scatter and noise from one seed.

The whole run is computed once, when the first sample is asked for; blocks are then views of it, so block size cannot
matter. Gas phase and surface are quasi-steady (residence takes about a second); temperature, flow and pressure are not.
Growth is that of gas on its way through: once a pump stands still none is counted (a real tube would shut the gas).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

import numpy as np
import xarray as xr

from labkit.core.process import Telemetry
from labkit.core.units import GAS_CONSTANT, SCCM, TORR, ZERO_CELSIUS
from labkit.processes.cvd.batch import (
    complete,
    heater_gains,
    prepare,
    reported_flows,
    steady_growth,
    stuck_flows,
    true_offsets,
)
from labkit.processes.cvd.engine import PLUMBED
from labkit.processes.cvd.equipment import NOMINAL_REPEATABILITY, Repeatability, TubeCondition
from labkit.processes.cvd.film_index import refractive_index
from labkit.processes.cvd.furnace import FurnaceTrace, ramped, run_furnace
from labkit.processes.cvd.insitu import reported_rate, reported_thickness
from labkit.processes.cvd.load import grow, site_map
from labkit.processes.cvd.mass_flow import delivered
from labkit.processes.cvd.recipe import CVDRecipe
from labkit.processes.cvd.results import stamped, wafer_dataset
from labkit.processes.cvd.scatter import draw_scatter
from labkit.processes.cvd.timeline import furnace_rates
from labkit.processes.cvd.vacuum import VacuumTrace, background_flow, first_air, run_vacuum, valve_opening
from labkit.processes.cvd.wafer_stack import radial_profile

_NEGLIGIBLE = 1e-3
"""Share of the greatest flow or pressure below which a sample is taken to be without process gas."""


@dataclass(frozen=True)
class _Deposit:
    """Film in time: ``rows`` the samples with reactive gas; ``edge`` nm/min, ``modulus`` and ``index``, (row, slot)."""

    rows: np.ndarray
    edge: np.ndarray
    modulus: np.ndarray
    index: np.ndarray

    @cached_property
    def centre(self) -> np.ndarray:
        """Rate at the wafer centre, nm/min (row, slot)."""
        return np.asarray(self.edge * radial_profile(self.modulus, np.zeros(1)))


class TubeTwin:
    """A load in the tube. Keeps :class:`labkit.core.process.Twin`."""

    def __init__(
        self,
        recipe: CVDRecipe,
        wafer: xr.Dataset,
        *,
        condition: TubeCondition | None = None,
        seed: int = 0,
        repeatability: Repeatability = NOMINAL_REPEATABILITY,
    ) -> None:
        self._batch = prepare(recipe, wafer)
        self._wafer = wafer
        self._seed = seed
        self._size = repeatability
        rng = np.random.default_rng(seed)
        self._scatter = draw_scatter(rng, condition or TubeCondition(), repeatability)
        self._noise = rng.standard_normal((self.samples, 16))
        self._done = 0

    @property
    def samples(self) -> int:
        """Telemetry samples of the whole run, one per second."""
        return self._batch.timeline.samples

    @property
    def done(self) -> int:
        """Samples already delivered."""
        return self._done

    def advance(self, samples: int) -> Telemetry:
        """The next *samples* samples (fewer at the end)."""
        window = slice(self._done, min(self._done + max(0, samples), self.samples))
        self._done = window.stop
        return {name: values[window].copy() for name, values in self._telemetry.items()}

    def finish(self) -> xr.Dataset:
        """What the wafers became by the last delivered sample; exact."""
        began = perf_counter()
        batch, deposit = self._batch, self._deposit
        past = deposit.rows < self._done
        grown = deposit.edge[past].sum(axis=0) / 60.0
        weight = deposit.edge[past]
        total = np.clip(weight.sum(axis=0), 1e-300, None)
        modulus = (weight * deposit.modulus[past]).sum(axis=0) / total
        index = np.where(grown > 0.0, (weight * deposit.index[past]).sum(axis=0) / total, np.nan)
        flowing = batch.timeline.shares[batch.gas_steps][:, : self._done].sum()
        found = wafer_dataset(
            batch,
            self._wafer,
            thickness=site_map(grown, modulus, batch.relative_radius),
            index=index,
            minutes=float(flowing) / 60.0,
        )
        return stamped(found, batch, seed=self._seed, duration_s=perf_counter() - began)

    @cached_property
    def _furnace(self) -> FurnaceTrace:
        batch, condition = self._batch, self._scatter.condition
        up, down = furnace_rates(batch.recipe, batch.tube)
        setpoint = ramped(batch.timeline.zones[batch.timeline.step], batch.tube.standby_c, up, down)
        return run_furnace(
            batch.tube,
            setpoint,
            true_offsets(condition),
            heater_gains(condition),
            self._size.thermocouple_sample_k * self._noise[:, 0:3],
        )

    @property
    def _gas_k(self) -> np.ndarray:
        """Temperature of the gas in the tube, K (sample,)."""
        return np.asarray(self._furnace.zone.mean(axis=1) + ZERO_CELSIUS)

    @cached_property
    def _flows(self) -> dict[str, np.ndarray]:
        """Flow inside each controller as it reports it, sccm (sample,)."""
        flows = {
            name: delivered(self._batch.timeline.of_steps(flow), self._batch.tube.mfc_lag_s)
            for name, flow in self._batch.flows.items()
        }
        stuck = stuck_flows(self._scatter.condition)
        return flows | {name: np.full(self.samples, flow) for name, flow in stuck.items()}

    @cached_property
    def _true_flows(self) -> dict[str, np.ndarray]:
        """True flows, mol/s (sample,)."""
        gain = self._scatter.condition.mfc_gain
        return {name: flow * SCCM * gain.get(name, 1.0) for name, flow in self._flows.items()}

    @cached_property
    def _expansion(self) -> np.ndarray:
        """Relative volume that reaction adds to the gas in each step, from its steady state, shape (step,)."""
        batch, condition = self._batch, self._scatter.condition
        outflow = steady_growth(batch, condition).solution.outflow
        flows = reported_flows(batch, condition)
        fed = sum(flow[batch.gas_steps] * condition.mfc_gain.get(name, 1.0) for name, flow in flows.items())
        found = np.zeros(len(batch.recipe.recipe_steps))
        found[batch.gas_steps] = outflow / (fed * SCCM) - 1.0
        return found

    @cached_property
    def _vacuum(self) -> VacuumTrace:
        batch, condition, line = self._batch, self._scatter.condition, self._batch.timeline
        preset = np.ones(len(batch.recipe.recipe_steps))
        for step in batch.gas_steps:
            asked = sum(flow[step] for flow in batch.flows.values()) * SCCM
            preset[step] = valve_opening(batch.tube, asked * (1.0 + self._expansion[step]), float(batch.pressure[step]))
        venting = np.array(["vent" in step.name.lower() for step in batch.recipe.recipe_steps], dtype=float)
        return run_vacuum(
            batch.tube,
            flow=np.sum(np.stack(list(self._true_flows.values())), axis=0),
            setpoint=batch.pressure[line.step],
            preset=preset[line.step],
            vent=(venting * batch.tube.vent_flow_sccm * SCCM)[line.step],
            gas_temperature=self._gas_k,
            growth=self._expansion[line.step],
            leak_sccm=condition.leak_sccm,
            pump_gain=condition.pump_gain,
            gauge_gain=condition.pressure_gauge_gain,
            soft_gain=self._scatter.soft_pump,
            noise=self._size.pressure_sample * self._noise[:, 3],
            pump_trip_s=condition.pump_trip_s or np.inf,
        )

    @cached_property
    def _background(self) -> np.ndarray:
        leak, trip = self._scatter.condition.leak_sccm, self._scatter.condition.pump_trip_s or np.inf
        return np.array(
            [background_flow(self._batch.tube, s + 1.0, leak, pumped=s < trip) for s in range(self.samples)]
        )

    @cached_property
    def _deposit(self) -> _Deposit:
        batch, vacuum = self._batch, self._vacuum
        total = np.sum(np.stack(list(self._true_flows.values())), axis=0)
        steady = total > _NEGLIGIBLE * total.max()
        last = np.maximum.accumulate(np.where(steady, np.arange(total.size), -1))
        foreign = self._background / np.clip(vacuum.throughput, 1e-300, None) + first_air(
            batch.tube, vacuum, self._gas_k
        )
        share = np.clip(1.0 - foreign, 0.0, 1.0)
        pressure = vacuum.pressure * share
        passing = (pressure > _NEGLIGIBLE * batch.pressure.max()) & (vacuum.throughput > 0.0)
        rows = np.nonzero((last >= 0) & passing & complete(batch.law, self._true_flows)[last])[0]
        if not rows.size:
            none = np.zeros((0, batch.load.slots))
            return _Deposit(rows=rows, edge=none, modulus=none, index=none)
        expansion = self._expansion[batch.timeline.step[last[rows]]]
        through = vacuum.throughput[rows] * share[rows] / (1.0 + expansion)
        flows = {
            name: through * (flow / np.where(total > 0.0, total, 1.0))[last[rows]]
            for name, flow in self._true_flows.items()
        }
        growth = grow(
            batch.load,
            batch.law,
            zones_c=self._furnace.wafer[rows],
            pressure=pressure[rows],
            flows=flows,
            activity=self._scatter.condition.rate_gain,
        )
        here = {name: p[:, batch.load.wafers] for name, p in growth.solution.partial.items()}
        return _Deposit(
            rows=rows, edge=growth.edge, modulus=growth.modulus, index=refractive_index(batch.law.film, here)
        )

    @cached_property
    def _telemetry(self) -> Telemetry:
        batch, vacuum, furnace, noise, size = self._batch, self._vacuum, self._furnace, self._noise, self._size
        condition = self._scatter.condition
        found = {"time": np.arange(1.0, self.samples + 1.0), "step": batch.timeline.step.astype(float)}
        found["chamber_pressure_torr"] = (
            vacuum.ending / TORR / condition.pressure_gauge_gain * (1.0 + size.pressure_sample * noise[:, 4])
        )
        found["base_gauge_torr"] = (
            vacuum.ending / TORR * self._scatter.base_gauge * (1.0 + size.gauge_sample * noise[:, 5])
        )
        foreline = vacuum.throughput * GAS_CONSTANT * batch.tube.pump_temperature / batch.tube.foreline_speed / TORR
        found["foreline_pressure_torr"] = (
            foreline * self._scatter.foreline_gauge * (1.0 + size.pressure_sample * noise[:, 6])
        )
        found["throttle_valve_pct"] = np.clip(
            100.0 * vacuum.valve + self._scatter.valve_pct + size.valve_sample_pct * noise[:, 7], 0.0, 100.0
        )
        for k in range(3):
            found[f"temperature_zone_{k + 1}_c"] = furnace.reported[:, k]
            found[f"heater_power_zone_{k + 1}_pct"] = (
                100.0 * furnace.power[:, k] + size.heater_sample_pct * noise[:, 8 + k]
            )
        for k, name in enumerate(PLUMBED):
            flow = self._flows.get(name, np.zeros(self.samples))
            found[f"gas_flow_{name}_sccm"] = flow * (1.0 + size.flow_sample * noise[:, 11 + k])
        true = np.zeros(self.samples)
        true[self._deposit.rows] = self._deposit.centre[:, batch.load.slots // 2] / 60.0
        thickness = reported_thickness(np.cumsum(true), condition.insitu_gain, size.insitu_sample_nm * noise[:, 14])
        found["qcm_thickness_nm"] = thickness
        found["deposition_rate_nm_per_min"] = reported_rate(thickness)
        return {name: values if name == "time" else values.astype(np.float32) for name, values in found.items()}
