"""Run-to-run scatter and sensor noise of the simulated tube have the sizes that its data sheet states."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import xarray as xr

from labkit.materials.wafers import load
from labkit.processes.cvd import ChemicalVapourDeposition
from labkit.processes.cvd import metrology as ellipsometer
from labkit.processes.cvd.dynamics import TubeTwin
from labkit.processes.cvd.equipment import NOMINAL_REPEATABILITY, QUIET, TubeCondition
from labkit.processes.cvd.scatter import draw_scatter

PROCESS = ChemicalVapourDeposition()
OXIDE = PROCESS.example_recipes()[0]
RUNS = 4000
TENTH = 0.06
"""Relative deviation of a standard deviation over 4000 runs that chance allows once in 1e7 tests; below a tenth."""

STATED = {
    "common temperature, K": 0.15,
    "zone 1 temperature, K": 0.10,
    "zone 3 temperature, K": 0.10,
    "heater 1": 0.004,
    "heater 3": 0.004,
    "SiH4": 0.002,
    "N2O": 0.002,
    "pressure gauge": 0.0015,
    "surface activity": 0.002,
    "in-situ gauge": 0.003,
    "throttle, %": 0.05,
    "base gauge": 0.03,
    "foreline gauge": 0.004,
    "soft pump": 0.005,
}


def scatter(condition: TubeCondition) -> np.ndarray:
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(RUNS):
        drawn = draw_scatter(rng, condition, NOMINAL_REPEATABILITY)
        c = drawn.condition
        rows.append(
            [
                c.temperature_offset_k, c.zone_offset_k["1"], c.zone_offset_k["3"],
                np.log(c.heater_gain["1"]), np.log(c.heater_gain["3"]),
                np.log(c.mfc_gain["SiH4"]), np.log(c.mfc_gain["N2O"]),
                np.log(c.pressure_gauge_gain), np.log(c.rate_gain), np.log(c.insitu_gain),
                drawn.valve_pct, np.log(drawn.base_gauge), np.log(drawn.foreline_gauge), np.log(drawn.soft_pump),
            ]
        )  # fmt: skip
    return np.array(rows)


def test_run_to_run_scatter_is_as_stated_independent_and_around_nominal() -> None:
    drawn = scatter(TubeCondition())
    assert drawn.std(axis=0) == pytest.approx(list(STATED.values()), rel=TENTH)
    assert np.all(np.abs(drawn.mean(axis=0)) < 5.0 * drawn.std(axis=0) / RUNS**0.5)
    correlation = np.corrcoef(drawn.T) - np.eye(len(STATED))
    assert np.abs(correlation).max() < 5.0 / RUNS**0.5


def test_scatter_comes_on_top_of_the_condition() -> None:
    condition = TubeCondition(
        mfc_gain={"SiH4": 1.05},
        zone_offset_k={"3": 2.0},
        heater_gain={"1": 0.9},
        temperature_offset_k=-1.0,
        pressure_gauge_gain=1.02,
        rate_gain=0.97,
        insitu_gain=1.01,
    )
    centre = dict(zip(STATED, scatter(condition).mean(axis=0), strict=True))
    wanted = dict.fromkeys(STATED, 0.0) | {
        "common temperature, K": -1.0,
        "zone 3 temperature, K": 2.0,
        "heater 1": np.log(0.9),
        "SiH4": np.log(1.05),
        "pressure gauge": np.log(1.02),
        "surface activity": np.log(0.97),
        "in-situ gauge": np.log(1.01),
    }
    for name, sigma in STATED.items():
        assert centre[name] == pytest.approx(wanted[name], abs=5.0 * sigma / RUNS**0.5), name


@cache
def telemetry(**sizes: float) -> dict[str, np.ndarray]:
    twin = TubeTwin(OXIDE, load(3, diameter_mm=150.0, sites=9), seed=4, repeatability=replace(QUIET, **sizes))  # type: ignore[arg-type]
    return {name: np.asarray(values, dtype=float) for name, values in twin.advance(twin.samples).items()}


def departures(names: tuple[str, ...], *sizes: str) -> dict[str, float]:
    """Standard deviation of channels from those of a quiet run, with the nominal *sizes* switched on."""
    noisy = telemetry(**{name: getattr(NOMINAL_REPEATABILITY, name) for name in sizes})
    quiet, settled = telemetry(), slice(1060, 2220)
    return {name: float((noisy[name][settled] / quiet[name][settled] - 1.0).std()) for name in names} | {
        f"{name}, absolute": float((noisy[name] - quiet[name])[settled].std()) for name in names
    }


def test_samples_are_as_noisy_as_the_instruments_are_said_to_be() -> None:
    gauges = departures(
        ("chamber_pressure_torr", "foreline_pressure_torr", "base_gauge_torr", "gas_flow_SiH4_sccm",
         "gas_flow_N2O_sccm"),
        "pressure_sample", "gauge_sample", "flow_sample",
    )  # fmt: skip
    assert gauges["chamber_pressure_torr"] == pytest.approx(0.0008, rel=0.09)
    assert gauges["foreline_pressure_torr"] == pytest.approx(0.0008, rel=0.09)
    assert gauges["base_gauge_torr"] == pytest.approx(0.01, rel=0.06)
    assert gauges["gas_flow_SiH4_sccm"] == pytest.approx(0.001, rel=0.06)
    assert gauges["gas_flow_N2O_sccm"] == pytest.approx(0.001, rel=0.06)
    others = departures(("throttle_valve_pct", "heater_power_zone_2_pct"), "valve_sample_pct", "heater_sample_pct")
    assert others["throttle_valve_pct, absolute"] == pytest.approx(0.02, rel=0.06)
    assert others["heater_power_zone_2_pct, absolute"] == pytest.approx(0.05, rel=0.06)
    zone = departures(("temperature_zone_1_c",), "thermocouple_sample_k")
    assert zone["temperature_zone_1_c, absolute"] == pytest.approx(0.03, rel=0.09)
    film = telemetry(insitu_sample_nm=NOMINAL_REPEATABILITY.insitu_sample_nm)["qcm_thickness_nm"]
    assert np.diff(film - telemetry()["qcm_thickness_nm"])[1060:2220].std() == pytest.approx(0.05 * 2**0.5, rel=0.06)


def test_ellipsometer_is_calibrated_and_repeats_as_stated() -> None:
    wafer = load(1, diameter_mm=150.0, sites=25)
    slots = 40
    flat = {"slot": np.arange(slots), "site": np.arange(25)}

    def truth(nanometres: float) -> xr.Dataset:
        return xr.Dataset(
            {
                "thickness": (("slot", "site"), np.full((slots, 25), nanometres)),
                "refractive_index": ("slot", np.full(slots, 1.46)),
            },
            coords=flat,
            attrs=wafer.attrs,
        )

    thick = [ellipsometer.measure(truth(1000.0), seed=seed) for seed in range(500)]
    scale = np.array([float(found["thickness"].mean()) / 1000.0 for found in thick])
    index = np.array([found["refractive_index"].values for found in thick])
    assert scale.std() == pytest.approx(0.0005, rel=0.08)
    assert scale.mean() == pytest.approx(1.0, abs=1e-4)
    assert index.mean(axis=1).std() == pytest.approx(np.hypot(1.5e-4, 5e-4 / slots**0.5), rel=0.08)
    assert index.std(axis=1, ddof=1).mean() == pytest.approx(5e-4, rel=0.03)
    assert index.mean() == pytest.approx(1.46, abs=5e-5)
    per_site = np.mean([float(found["thickness"].std()) for found in thick[:50]])
    assert per_site == pytest.approx(np.hypot(0.10, 0.5), rel=0.03)
    thin = np.mean([float(ellipsometer.measure(truth(10.0), seed=s)["thickness"].std()) for s in range(50)])
    assert thin == pytest.approx(0.10, rel=0.03)
