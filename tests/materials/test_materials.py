"""Material data against independent numbers, and refusals that name what there is."""

from __future__ import annotations

import pytest

from labkit.core.errors import LabkitError
from labkit.materials import films, gases, silicon

ATOMIC_WEIGHTS = {"Si": 28.085, "H": 1.008, "N": 14.007, "O": 15.999, "Ar": 39.948, "He": 4.0026}
FORMULAS = {
    "SiH4": {"Si": 1, "H": 4},
    "N2O": {"N": 2, "O": 1},
    "H2": {"H": 2},
    "N2": {"N": 2},
    "O2": {"O": 2},
    "Ar": {"Ar": 1},
    "He": {"He": 1},
    "NH3": {"N": 1, "H": 3},
}


@pytest.mark.parametrize("name", gases.GASES)
def test_molar_masses_are_sums_of_atomic_weights(name: str) -> None:
    grams = sum(ATOMIC_WEIGHTS[element] * count for element, count in FORMULAS[name].items())
    assert gases.gas(name).molar_mass * 1e3 == pytest.approx(grams, rel=1e-4)


def test_silane_is_pyrophoric_and_nitrogen_is_not() -> None:
    assert "pyrophoric" in gases.HAZARDS["SiH4"]
    assert "pyrophoric" not in gases.HAZARDS["N2"]
    assert {"TMGa", "TMAl"} <= gases.METAL_ORGANICS


def test_films_are_found_by_alias_and_unknown_ones_name_the_known() -> None:
    assert films.film(" oxide ").name == "SiO2"
    assert films.film("Polysilicon").name == "poly-Si"
    with pytest.raises(LabkitError, match="SiO2, poly-Si"):
        films.film("cheese")
    with pytest.raises(LabkitError, match="SiH4, N2O"):
        gases.gas("XeF6")


def test_film_data_are_those_of_the_handbooks() -> None:
    assert films.film("SiO2").density == pytest.approx(2200.0, rel=0.005)
    assert films.film("SiO2").index == pytest.approx(1.4570, abs=1e-4)
    assert films.film("SiO2").molar_mass * 1e3 == pytest.approx(28.085 + 2 * 15.999, rel=1e-4)
    assert films.film("poly-Si").density == pytest.approx(2329.0, rel=0.005)
    assert films.film("poly-Si").index == pytest.approx(3.88, abs=0.01)


def test_silicon_has_5e22_atoms_per_cubic_centimetre_by_lattice_and_by_density() -> None:
    assert pytest.approx(4.996e22, rel=1e-3) == silicon.ATOMIC_DENSITY * 1e-6
    assert pytest.approx(silicon.ATOMIC_DENSITY, rel=1e-3) == silicon.DENSITY / silicon.MOLAR_MASS * 6.02214076e23


@pytest.mark.parametrize(("diameter", "micrometres"), [(100.0, 525), (150.0, 675), (200.0, 725), (300.0, 775)])
def test_wafer_thickness_is_that_of_the_standard(diameter: float, micrometres: float) -> None:
    assert silicon.wafer_thickness(diameter) * 1e6 == pytest.approx(micrometres)


def test_a_wafer_of_no_standard_is_refused() -> None:
    with pytest.raises(LabkitError, match="123 mm"):
        silicon.wafer_thickness(123.0)
