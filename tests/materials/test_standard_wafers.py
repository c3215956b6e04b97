"""Wafers, loads and sampling maps against the standard's figures and plain geometry."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.core.errors import LabkitError
from labkit.materials import films, gases, silicon, wafers

SEMI_M1 = {
    50.0: 279, 75.0: 381, 100.0: 525, 125.0: 625, 150.0: 675, 200.0: 725, 300.0: 775, 450.0: 925,
}  # fmt: skip
"""Nominal thickness in µm by diameter in mm."""


def test_every_standard_wafer_has_its_nominal_thickness_and_can_be_loaded() -> None:
    assert {d: round(silicon.wafer_thickness(d) * 1e6) for d in silicon.THICKNESS_MM} == SEMI_M1
    for diameter in SEMI_M1:
        load = wafers.load(1, diameter_mm=diameter, sites=9, edge_exclusion_mm=2.0)
        assert np.hypot(load["x"], load["y"]).max() == pytest.approx(diameter / 2 - 2.0)


def test_silicon_has_its_published_lattice_constant_density_and_mass() -> None:
    assert pytest.approx(0.5431, rel=1e-4) == silicon.LATTICE_CONSTANT * 1e9
    assert pytest.approx(4.996e28, rel=1e-3) == silicon.ATOMIC_DENSITY
    assert pytest.approx(2329.0, rel=1e-3) == silicon.DENSITY
    assert pytest.approx(28.0855e-3, rel=1e-4) == silicon.MOLAR_MASS


TRANSPORT = {
    "SiH4": (32.117, 4.084, 207.6), "N2O": (44.013, 3.828, 232.4), "H2": (2.016, 2.920, 38.0),
    "N2": (28.014, 3.621, 97.53), "O2": (31.998, 3.458, 107.4), "Ar": (39.948, 3.330, 136.5),
    "He": (4.0026, 2.576, 10.2), "NH3": (17.031, 2.920, 481.0),
}  # fmt: skip
"""Molar mass in g/mol; diameter in Å and well depth in K of SAND86-8246."""


def test_gases_have_the_mass_diameter_and_well_depth_of_the_transport_data_base() -> None:
    found = {g.name: (1e3 * g.molar_mass, 1e10 * g.diameter, g.well_depth) for g in gases.GASES.values()}
    assert found.keys() == TRANSPORT.keys()
    for name, row in TRANSPORT.items():
        assert found[name] == pytest.approx(row, rel=1e-3), name


def test_films_have_their_molar_volumes() -> None:
    assert films.film("SiO2").molar_volume == pytest.approx(27.31e-6, rel=1e-3)
    assert films.film("poly-Si").molar_volume == pytest.approx(12.06e-6, rel=1e-3)
    assert (films.film("SiO2").index, films.film("poly-Si").index) == pytest.approx((1.457, 3.88), rel=1e-3)


@pytest.mark.parametrize(("count", "rings"), [(9, 1), (13, 2), (25, 2), (49, 3), (121, 5)])
def test_sampling_maps_are_rings_of_evenly_turned_sites_about_the_centre(count: int, rings: int) -> None:
    x, y = wafers.polar_sites(count, 90.0)
    radius, turn = np.hypot(x, y), np.arctan2(y, x)
    assert x.size == count
    found, number = np.unique(np.round(radius, 9), return_counts=True)
    assert found == pytest.approx(np.linspace(0.0, 90.0, rings + 1))
    assert number[0] == 1
    for r, n in zip(found[1:], number[1:], strict=True):
        steps = np.diff(np.sort(turn[np.isclose(radius, r)]))
        assert steps == pytest.approx(np.full(n - 1, 2.0 * np.pi / n))
    assert np.isclose(x, 90.0).any()
    assert (float(x.sum()), float(y.sum())) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_sampling_maps_have_the_usual_number_of_sites_per_ring() -> None:
    usual = {9: [1, 8], 13: [1, 4, 8], 25: [1, 8, 16], 49: [1, 8, 16, 24], 121: [1, 8, 16, 24, 32, 40]}
    for count, rings in usual.items():
        radius = np.round(np.hypot(*wafers.polar_sites(count, 1.0)), 9)
        assert np.unique(radius, return_counts=True)[1].tolist() == rings


def test_a_load_is_twenty_five_200_mm_wafers_of_49_sites_three_millimetres_from_the_edge() -> None:
    usual = wafers.load()
    assert usual["slot"].values.tolist() == list(range(1, 26))
    assert usual.sizes["site"] == 49
    assert usual.attrs["diameter_mm"] == 200.0
    assert float(np.hypot(usual["x"], usual["y"]).max()) == pytest.approx(97.0)


def test_loads_that_cannot_be_are_refused_at_their_bounds() -> None:
    assert wafers.load(200, sites=9).sizes["slot"] == 200
    assert wafers.load(1, sites=9).sizes["slot"] == 1
    assert wafers.load(1, sites=9, edge_exclusion_mm=0.0).attrs["edge_exclusion_mm"] == 0.0
    assert wafers.load(1, sites=9, edge_exclusion_mm=49.0).attrs["edge_exclusion_mm"] == 49.0
    for arguments, word in (
        ({"count": 0}, "1 to 200"),
        ({"count": 201}, "1 to 200"),
        ({"diameter_mm": 180.0}, "200"),
        ({"edge_exclusion_mm": -0.1}, "0 to 50"),
        ({"edge_exclusion_mm": 50.0}, "0 to 50"),
        ({"sites": 10}, "9, 13"),
    ):
        with pytest.raises(LabkitError) as refused:
            wafers.load(**arguments)  # type: ignore[arg-type]
        assert word in str(refused.value)
