"""Recipes that run as they stand: the oxide reference and polysilicon."""

from __future__ import annotations

from typing import Any

_OXIDE: dict[str, Any] = {
    "name": "LPCVD SiO2 - 100nm",
    "film_target": "SiO2",
    "thickness_target_nm": 100.0,
    "uniformity_target_pct": 2.0,
    "temperature_profile": {
        "zones": [{"zone": 1, "setpoint": 800, "ramp_rate": 10}, {"zone": 2, "setpoint": 800, "ramp_rate": 10}],
        "profile_type": "isothermal",
    },
    "pressure_setpoints": {"base_pressure_torr": 0.001, "process_pressure_torr": 0.5, "pumpdown_time_s": 300},
    "gas_flows": {"gases": [{"name": "SiH4", "flow_sccm": 80}, {"name": "N2O", "flow_sccm": 160}]},
    "recipe_steps": [
        {"name": "pumpdown", "duration_s": 300, "target_pressure_torr": 0.001},
        {"name": "heatup", "duration_s": 600, "target_temp_c": 800},
        {"name": "stabilize", "duration_s": 120},
        {"name": "deposition", "duration_s": 1200, "flows_active": True},
        {"name": "cooldown", "duration_s": 900},
    ],
    "safety_hazard_level": 3,
}

_POLY: dict[str, Any] = {
    "name": "LPCVD poly-Si - 200nm",
    "film_target": "poly-Si",
    "thickness_target_nm": 200.0,
    "uniformity_target_pct": 3.0,
    "temperature_profile": {
        "zones": [
            {"zone": 1, "setpoint": 619, "ramp_rate": 5},
            {"zone": 2, "setpoint": 620, "ramp_rate": 5},
            {"zone": 3, "setpoint": 621, "ramp_rate": 5},
        ],
        "profile_type": "graded",
    },
    "pressure_setpoints": {"base_pressure_torr": 0.001, "process_pressure_torr": 0.225, "pumpdown_time_s": 300},
    "gas_flows": {"gases": [{"name": "SiH4", "flow_sccm": 200}]},
    "recipe_steps": [
        {"name": "pumpdown", "duration_s": 300, "target_pressure_torr": 0.001},
        {"name": "heatup", "duration_s": 900, "target_temp_c": 620},
        {"name": "stabilize", "duration_s": 300},
        {"name": "deposition", "duration_s": 1310, "flows_active": True},
        {"name": "cooldown", "duration_s": 600},
    ],
    "safety_hazard_level": 3,
    "required_interlocks": ["vacuum_ok", "exhaust_ok", "gas_cabinet_ok"],
}

EXAMPLES: tuple[dict[str, Any], ...] = (_OXIDE, _POLY)
"""Example recipes as decoded JSON; the first is the default."""
