"""The scalars that are predicted, charted and judged: film over the load, and how hard the tube works for it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.core.process import Indicator
from labkit.processes.cvd.insitu import fitted_rate
from labkit.processes.cvd.recipe import CVDRecipe

PUMPED_DOWN_TORR = 0.01
"""Pressure at which the pump-down time is taken."""
_SETTLING = 0.3

INDICATORS: tuple[Indicator, ...] = (
    Indicator("thickness_mean_nm", "nm", "mean over all sites of the load", sigma=0.0038),
    Indicator(
        "thickness_uniformity_pct",
        "percent",
        "1σ over all sites of the load, % of the mean",
        residual="difference",
        sigma=0.06,
    ),
    Indicator(
        "thickness_slope_pct",
        "percent",
        "linear change from inlet to pump end, % of the mean",
        residual="difference",
        sigma=0.20,
    ),
    Indicator(
        "thickness_curvature_pct",
        "percent",
        "middle of the load below its ends, % of the mean",
        residual="difference",
        sigma=0.17,
    ),
    Indicator(
        "within_wafer_pct",
        "percent",
        "edge above centre within the wafers, % of the mean",
        residual="difference",
        sigma=0.010,
    ),
    Indicator("refractive_index", "1", "mean index at 632.8 nm", residual="difference", sigma=1.9e-4),
    Indicator("insitu_rate_nm_per_min", "nm/min", "rate from the in-situ thickness", source="telemetry", sigma=0.0048),
    Indicator(
        "throttle_valve_pct",
        "percent",
        "throttle opening in deposition",
        source="telemetry",
        residual="difference",
        sigma=0.07,
    ),
    Indicator("heater_power_zone_1_pct", "percent", "drive of zone 1 in deposition", source="telemetry", sigma=0.004),
    Indicator("heater_power_zone_2_pct", "percent", "drive of zone 2 in deposition", source="telemetry", sigma=0.004),
    Indicator("heater_power_zone_3_pct", "percent", "drive of zone 3 in deposition", source="telemetry", sigma=0.004),
    Indicator("base_pressure_torr", "torr", "pressure just before gas is let in", source="telemetry", sigma=0.03),
    Indicator("pumpdown_time_s", "s", "from atmosphere to 10 mtorr", source="telemetry", sigma=0.005),
    Indicator("foreline_pressure_torr", "torr", "foreline pressure in deposition", source="telemetry", sigma=0.0041),
)
"""Indicators of a tube run. The sigmas follow from the scatter that the twin draws, for the reference oxide recipe."""

TELEMETRY_NAMES = tuple(indicator.name for indicator in INDICATORS if indicator.source == "telemetry")


def from_wafers(results: xr.Dataset) -> dict[str, float]:
    """Indicators of the film from ``thickness(slot, site)`` and ``refractive_index(slot)``.

    Slope and curvature are the coefficients of s/2 ξ and c ξ² in the least-squares fit of the wafer means over
    ξ = -1 (inlet) … 1 (pump end), the radial figure that of w (ρ² - mean) over the sites.
    """
    thickness = np.asarray(results["thickness"].values, dtype=float)
    mean = float(thickness.mean())
    if not mean > 0.0:
        return {
            name: float("nan")
            for name in (
                "thickness_uniformity_pct",
                "thickness_slope_pct",
                "thickness_curvature_pct",
                "within_wafer_pct",
                "refractive_index",
            )
        } | {"thickness_mean_nm": mean}
    relative = 100.0 * thickness / mean
    radius = np.hypot(results["x"].values, results["y"].values) / (0.5 * float(results.attrs["diameter_mm"]))
    return {
        "thickness_mean_nm": mean,
        "thickness_uniformity_pct": float(relative.std()),
        **_axial(relative.mean(axis=1)),
        "within_wafer_pct": _radial(relative.mean(axis=0), radius),
        "refractive_index": float(np.mean(results["refractive_index"].values)),
    }


def _axial(profile: np.ndarray) -> dict[str, float]:
    if profile.size < 3:
        return {"thickness_slope_pct": float(profile[-1] - profile[0]), "thickness_curvature_pct": 0.0}
    place = np.linspace(-1.0, 1.0, profile.size)
    basis = np.stack([np.ones_like(place), 0.5 * place, place**2], axis=1)
    _, slope, curvature = np.linalg.lstsq(basis, profile, rcond=None)[0]
    return {"thickness_slope_pct": float(slope), "thickness_curvature_pct": float(curvature)}


def _radial(profile: np.ndarray, radius: np.ndarray) -> float:
    square = radius**2 - np.mean(radius**2)
    spread = float(square @ square)
    return float(square @ profile) / spread if spread > 0.0 else 0.0


def from_telemetry(recipe: CVDRecipe, telemetry: xr.Dataset) -> dict[str, float]:
    """Indicators of the equipment from telemetry (dim ``time``); NaN for what the run did not reach.

    Deposition values are means over the last gas step without its first 30 %; base pressure is the mean of the ten
    samples before the first gas step; pump-down is over when that begins.
    """
    step = np.asarray(telemetry["step"].values)
    found = dict.fromkeys(TELEMETRY_NAMES, float("nan"))
    gas = np.nonzero(step == max(recipe.gas_steps, default=-1))[0]
    steady = gas[int(_SETTLING * gas.size) :]
    if steady.size >= 3:
        for name in (
            "throttle_valve_pct",
            "foreline_pressure_torr",
            *(f"heater_power_zone_{k}_pct" for k in (1, 2, 3)),
        ):
            found[name] = float(np.mean(np.asarray(telemetry[name].values)[steady], dtype=float))
        found["insitu_rate_nm_per_min"] = fitted_rate(
            np.asarray(telemetry["time"].values, dtype=float)[steady],
            np.asarray(telemetry["qcm_thickness_nm"].values, dtype=float)[steady],
        )
    first = np.nonzero(step == min(recipe.gas_steps, default=-1))[0]
    if first.size and first[0] >= 10:
        found["base_pressure_torr"] = float(
            np.mean(telemetry["base_gauge_torr"].values[first[0] - 10 : first[0]], dtype=float)
        )
    pumping = slice(None, int(first[0]) if first.size else None)
    found["pumpdown_time_s"] = _crossing(
        np.asarray(telemetry["time"].values, dtype=float)[pumping],
        np.asarray(telemetry["chamber_pressure_torr"].values, dtype=float)[pumping],
    )
    return found


def _crossing(time: np.ndarray, pressure: np.ndarray) -> float:
    """Time at which *pressure* first falls to the pump-down mark, interpolated on its logarithm."""
    below = np.nonzero(pressure <= PUMPED_DOWN_TORR)[0]
    if not below.size or below[0] == 0:
        return float("nan")
    index = int(below[0])
    high, low = np.log(pressure[index - 1]), np.log(max(pressure[index], 1e-12))
    return float(time[index - 1] + (high - np.log(PUMPED_DOWN_TORR)) / (high - low) * (time[index] - time[index - 1]))
