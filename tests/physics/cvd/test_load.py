"""The load as a whole: what leaves the gas is the film on the wafers, the boat and the wall, wafer by wafer."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.processes.cvd.equipment import TUBES
from labkit.processes.cvd.kinetics import SIO2_N2O
from labkit.processes.cvd.load import arrange, grow
from labkit.processes.cvd.wafer_stack import radial_profile

LOAD = arrange(TUBES["SiO2"], 25, 150.0)


@pytest.mark.parametrize("activity", [1.0, 40.0])
def test_gas_used_at_a_wafer_is_the_film_on_its_faces_boat_and_wall(activity: float) -> None:
    one = np.ones(1)
    found = grow(
        LOAD,
        SIO2_N2O,
        zones_c=np.full((1, 3), 800.0),
        pressure=66.66 * one,
        flows={"SiH4": 6e-5 * one, "N2O": 1.2e-4 * one},
        activity=activity,
    )
    ring = (np.arange(2000) + 0.5) / 2000
    faces = 2.0 * np.pi * 0.075**2
    bare = np.pi * 0.22 * 9.525e-3 + 0.05 * faces
    for slot in (0, 12, 24):
        mean = np.mean(2.0 * ring * radial_profile(found.modulus[0, slot], ring))
        edge = found.edge[0, slot] * 1e-9 / 60.0 / 27.31e-6
        used = found.solution.consumed[0, LOAD.wafers][slot]
        assert used == pytest.approx(edge * (faces * mean + bare), rel=2e-4)
    if activity > 1.0:
        assert mean < 0.98


def test_thiele_modulus_of_the_reference_oxide_is_about_a_tenth() -> None:
    one = np.ones(1)
    found = grow(
        LOAD,
        SIO2_N2O,
        zones_c=np.full((1, 3), 800.0),
        pressure=66.66 * one,
        flows={"SiH4": 6e-5 * one, "N2O": 1.2e-4 * one},
    )
    concentration = 66.66 / 3.0 / (8.31446 * 1073.15)
    slope = 5.5e-9 / 60.0 / 27.31e-6 / concentration * (1.0 + 0.31)
    kelvin, atmospheres, integral = 1073.15, 66.66 / 101325.0, 0.8466
    diameter = 0.5 * (4.084 + 3.828)
    practical = (
        1.8583e-3 * np.sqrt(kelvin**3 * (1 / 32.117 + 1 / 44.013)) / (atmospheres * diameter**2 * integral) * 1e-4
    )
    assert found.modulus[0, 12] == pytest.approx(0.075 * np.sqrt(2.0 * slope / (practical * 8.85e-3)), rel=0.02)
