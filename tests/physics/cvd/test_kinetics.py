"""Rate laws against what is published, and stoichiometry against the conservation of atoms."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.core.units import TORR
from labkit.materials.films import film
from labkit.processes.cvd.film_index import refractive_index
from labkit.processes.cvd.kinetics import LAWS, POLY_SI_APPARENT, POLY_SI_KUEHNE, SIO2_N2O, RateLaw

ATOMS = {
    "SiH4": {"Si": 1, "H": 4},
    "N2O": {"N": 2, "O": 1},
    "H2": {"H": 2},
    "N2": {"N": 2},
    "SiO2": {"Si": 1, "O": 2},
    "poly-Si": {"Si": 1},
}


@pytest.mark.parametrize("name", LAWS)
def test_reaction_conserves_every_element(name: str) -> None:
    law = LAWS[name]
    balance: dict[str, float] = dict(ATOMS[law.film])
    for gas, moles in law.stoichiometry.items():
        for element, count in ATOMS[gas].items():
            balance[element] = balance.get(element, 0.0) + moles * count
    assert balance == dict.fromkeys(balance, 0.0)


def test_both_chemistries_gain_one_mole_of_gas_per_silane() -> None:
    assert SIO2_N2O.expansion == 1.0
    assert POLY_SI_KUEHNE.expansion == 1.0


def test_polysilicon_has_52_kcal_per_mole_between_900_and_950_kelvin() -> None:
    cold, hot = POLY_SI_KUEHNE.rate_constant(np.array([900.0, 950.0]))
    assert hot / cold == pytest.approx(np.exp(52.0 * 4184.0 / 8.31446 * (1 / 900 - 1 / 950)), rel=0.01)


def test_apparent_polysilicon_law_lies_in_the_often_quoted_band() -> None:
    cold, hot = POLY_SI_APPARENT.rate_constant(np.array([873.15, 923.15]))
    apparent = np.log(hot / cold) * 8.617333e-5 / (1 / 873.15 - 1 / 923.15)
    assert 1.6 <= apparent <= 1.7


def test_oxide_law_has_the_170_kj_per_mole_that_it_claims() -> None:
    cold, hot = SIO2_N2O.rate_constant(np.array([1073.15, 1083.15]))
    assert np.log(hot / cold) == pytest.approx(170.0e3 / 8.31446 * (1 / 1073.15 - 1 / 1083.15), rel=5e-3)


@pytest.mark.parametrize("law", [POLY_SI_KUEHNE, POLY_SI_APPARENT], ids=lambda law: law.name)
@pytest.mark.parametrize("torr", [0.2, 0.225, 0.25])
def test_polysilicon_grows_8_to_12_nm_per_minute_at_620_degrees(law: object, torr: float) -> None:
    rate = law.growth(law.flux(np.array(893.15), {"SiH4": np.array(torr * TORR)}))  # type: ignore[attr-defined]
    assert 8.0 <= float(rate) <= 12.0


@pytest.mark.parametrize("law", [POLY_SI_KUEHNE, POLY_SI_APPARENT], ids=lambda law: law.name)
def test_polysilicon_rate_doubles_when_silane_pressure_is_quadrupled(law: RateLaw) -> None:
    slow, fast = law.flux(np.array(893.15), {"SiH4": np.array([10.0, 40.0])})
    assert fast / slow == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("law", [POLY_SI_KUEHNE, POLY_SI_APPARENT], ids=lambda law: law.name)
def test_polysilicon_law_is_the_middle_of_the_quoted_rates_at_the_middle_of_the_quoted_pressures(law: RateLaw) -> None:
    rate = law.growth(law.flux(np.array(893.15), {"SiH4": np.array(0.225 * 133.322)}))
    assert float(rate) == pytest.approx(10.0, rel=0.005)


def test_half_order_gives_way_to_first_at_a_ten_thousandth_of_the_reference_pressure() -> None:
    """There both asymptotes meet: below it the rate is that at the meeting point times what is left of the pressure."""
    meeting = 1e-4 * 0.225 * TORR
    below, above = POLY_SI_KUEHNE.flux(np.array(893.15), {"SiH4": np.array([1e-4 * meeting, 1e4 * meeting])})
    assert below / above == pytest.approx(1e-4 / 1e4**0.5, rel=1e-5)


def test_a_surface_short_of_silane_takes_what_arrives() -> None:
    slow, fast = POLY_SI_KUEHNE.flux(np.array(893.15), {"SiH4": np.array([1e-9, 2e-9])})
    assert fast / slow == pytest.approx(2.0, rel=1e-6)


def test_no_film_grows_without_gas() -> None:
    assert float(SIO2_N2O.flux(np.array(1073.15), {"SiH4": np.array(0.0), "N2O": np.array(40.0)})) == 0.0
    assert float(SIO2_N2O.flux(np.array(1073.15), {"SiH4": np.array(20.0), "N2O": np.array(0.0)})) == 0.0
    assert float(POLY_SI_KUEHNE.flux(np.array(893.15), {"SiH4": np.array(-1.0)})) == 0.0


def test_oxide_rate_is_5_and_a_half_nm_per_minute_at_the_reference_inlet() -> None:
    partial = {"SiH4": np.array(80 / 240 * 0.5 * 133.322), "N2O": np.array(160 / 240 * 0.5 * 133.322)}
    assert float(SIO2_N2O.growth(SIO2_N2O.flux(np.array(1073.15), partial))) == pytest.approx(5.5, rel=1e-4)


def test_nitrous_oxide_covers_about_seven_tenths_at_the_reference_pressure() -> None:
    partial = {"SiH4": np.array(22.2), "N2O": np.array(44.44)}
    orders = SIO2_N2O.local_orders(partial)
    assert orders["SiH4"] == 1.0
    assert 1.0 - float(orders["N2O"]) == pytest.approx(0.69, abs=0.01)


@pytest.mark.parametrize("name", LAWS)
def test_local_orders_are_logarithmic_derivatives(name: str) -> None:
    law = LAWS[name]
    partial = {gas: np.array(7.0 + 3.0 * k) for k, gas in enumerate({**law.orders, **law.langmuir})}
    for gas, order in law.local_orders(partial).items():
        up = law.composition_factor({**partial, gas: partial[gas] * 1.0001})
        down = law.composition_factor({**partial, gas: partial[gas] / 1.0001})
        assert float(np.log(up / down) / np.log(1.0001**2)) == pytest.approx(float(order), rel=1e-6)


@pytest.mark.parametrize(("name", "cubic_centimetres"), [("SiO2", 27.31), ("poly-Si", 12.06)])
def test_molar_volumes_are_the_tabulated_ones(name: str, cubic_centimetres: float) -> None:
    assert film(name).molar_volume * 1e6 == pytest.approx(cubic_centimetres, rel=1e-3)


def test_oxide_index_is_that_of_silica_without_silane_and_of_silicon_without_oxidant() -> None:
    thin = refractive_index("SiO2", {"SiH4": np.array(1e-9), "N2O": np.array(1.0)})
    rich = refractive_index("SiO2", {"SiH4": np.array(1.0), "N2O": np.array(0.0)})
    assert float(thin) == pytest.approx(1.457, abs=1e-4)
    assert float(rich) == pytest.approx(3.88, abs=1e-6)
    assert float(refractive_index("SiO2", {"SiH4": np.array(1.0), "N2O": np.array(2.0)})) == pytest.approx(
        1.482, abs=1e-3
    )
