"""Gas transport against published integrals, diffusivities and free paths."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.materials.gases import GASES, gas
from labkit.processes.cvd.transport import (
    binary_diffusivity,
    collision_integral,
    damkoehler,
    mean_free_path,
    mixture_diffusivity,
    peclet,
)

MONCHICK_MASON = {
    0.30: 2.649, 0.35: 2.468, 0.50: 2.066, 0.70: 1.729, 1.0: 1.440, 1.3: 1.274, 2.0: 1.075, 2.5: 1.0006, 3.0: 0.9500,
    5.0: 0.8428, 10.0: 0.7422, 20.0: 0.6640, 50.0: 0.5763,
}  # fmt: skip
"""Collision integral for diffusion by kT/ε (Monchick and Mason 1961, as tabulated in bird2002, table E.2)."""


@pytest.mark.parametrize("reduced", MONCHICK_MASON)
def test_collision_integral_agrees_with_the_tables_within_two_tenths_of_a_per_cent(reduced: float) -> None:
    assert float(collision_integral(np.array(reduced))) == pytest.approx(MONCHICK_MASON[reduced], rel=0.002)


@pytest.mark.parametrize(
    ("pair", "kelvin", "measured"),
    [
        (("H2", "N2"), 273.2, 0.674e-4),
        (("N2", "O2"), 273.2, 0.181e-4),
        (("Ar", "O2"), 293.2, 0.20e-4),
        (("He", "Ar"), 298.0, 0.729e-4),
        (("He", "N2"), 298.0, 0.687e-4),
    ],
)
def test_diffusivities_agree_with_measured_ones(pair: tuple[str, str], kelvin: float, measured: float) -> None:
    found = binary_diffusivity(gas(pair[0]), gas(pair[1]), np.array(kelvin), np.array(101325.0))
    assert float(found) == pytest.approx(measured, rel=0.06)


def test_diffusivity_is_inverse_in_pressure_and_symmetric() -> None:
    low = binary_diffusivity(gas("SiH4"), gas("N2O"), np.array(1073.0), np.array(66.7))
    high = binary_diffusivity(gas("N2O"), gas("SiH4"), np.array(1073.0), np.array(133.4))
    assert float(low) == pytest.approx(2.0 * float(high), rel=1e-12)
    assert 0.05 < float(low) < 0.3


PUBLISHED = {
    "SiH4": (32.117, 4.084, 207.6),
    "N2O": (44.013, 3.828, 232.4),
    "H2": (2.016, 2.920, 38.0),
    "N2": (28.014, 3.621, 97.53),
    "O2": (31.998, 3.458, 107.4),
    "Ar": (39.948, 3.330, 136.5),
    "He": (4.0026, 2.576, 10.2),
    "NH3": (17.031, 2.920, 481.0),
}


def test_lennard_jones_parameters_are_those_of_the_published_table() -> None:
    found = {name: (g.molar_mass * 1e3, g.diameter * 1e10, g.well_depth) for name, g in GASES.items()}
    assert found.keys() == PUBLISHED.keys()
    for name, row in PUBLISHED.items():
        assert found[name] == pytest.approx(row, rel=1e-9)


def test_blanc_lies_between_its_pairs_and_meets_them_at_the_ends() -> None:
    t, p = np.array(900.0), np.array(50.0)
    heavy = float(binary_diffusivity(gas("SiH4"), gas("N2O"), t, p))
    light = float(binary_diffusivity(gas("SiH4"), gas("H2"), t, p))
    assert float(mixture_diffusivity("SiH4", {"N2O": 1.0}, t, p)) == pytest.approx(heavy)
    assert float(mixture_diffusivity("SiH4", {"H2": 3.0, "N2O": 0.0}, t, p)) == pytest.approx(light)
    half = float(mixture_diffusivity("SiH4", {"H2": 1.0, "N2O": 1.0}, t, p))
    assert 1.0 / half == pytest.approx(0.5 / heavy + 0.5 / light)


def test_mean_free_path_of_nitrogen_is_about_70_nanometres_in_air() -> None:
    assert float(mean_free_path(gas("N2"), 298.15, 101325.0)) == pytest.approx(70e-9, rel=0.03)


def test_a_tube_at_half_a_torr_is_a_continuum_between_wafers() -> None:
    assert float(mean_free_path(gas("SiH4"), 1073.0, 66.7)) / 9e-3 < 0.1


def test_peclet_number_is_velocity_times_length_over_diffusivity() -> None:
    flow = 240 * 7.4358e-7
    speed = 240e-6 / 60 * (101325 / 66.66) * (1073.15 / 273.15) / 0.02
    assert float(peclet(flow, 0.3, 0.02, 1073.15, 66.66, 0.13)) == pytest.approx(speed * 0.3 / 0.13, rel=1e-3)


def test_damkoehler_number_is_uptake_over_feed() -> None:
    assert damkoehler(3e-6, 2.0, 6e-5) == pytest.approx(0.1)
