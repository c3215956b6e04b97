"""Units: constants against independent numbers, UDUNITS spelling, and conversions that invert."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.core import units
from labkit.core.errors import UnitError


def test_one_sccm_is_the_molar_flow_of_the_semi_standard() -> None:
    # A mole of ideal gas at 0 °C and 101325 Pa fills 22413.969 54 cm³ (CODATA 2018): one cm³ per minute of it.
    assert pytest.approx(1.0 / 22413.96954 / 60.0, rel=1e-9) == units.SCCM
    assert pytest.approx(7.4358e-7, rel=1e-5) == units.SCCM
    assert units.convert(1.0, "sccm", "mol/s") == pytest.approx(7.4358e-7, rel=1e-5)
    assert units.convert(1.0, "slm", "sccm") == pytest.approx(1000.0)


def test_constants_are_those_of_codata() -> None:
    assert pytest.approx(1.380649e-23 * 6.02214076e23, rel=1e-9) == units.GAS_CONSTANT
    assert pytest.approx(1.380649e-23 / 1.602176634e-19, rel=1e-9) == units.BOLTZMANN_EV
    assert pytest.approx(133.322368, rel=1e-8) == units.TORR
    assert units.ZERO_CELSIUS == 273.15
    assert units.STANDARD_PRESSURE == 101325.0


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (1.0, "mJ/cm2", "J/m2", 10.0),
        (25.0, "degC", "K", 298.15),
        (32.0, "degF", "degC", 0.0),
        (760.0, "torr", "Pa", 101325.0),
        (1.0, "kg m-3", "g/cm3", 1e-3),
        (60.0, "nm/min", "nm/s", 1.0),
        (1.0, "angstrom", "nm", 0.1),
        (1e15, "cm-3", "m-3", 1e21),
        (1.0, "mPa s", "Pa s", 1e-3),
        (50.0, "%", "1", 0.5),
        (10.0, "degC/min", "K/min", 10.0),
        (1.0, "atm", "torr", 760.0),
    ],
)
def test_conversions_agree_with_the_definitions(value: float, source: str, target: str, expected: float) -> None:
    assert units.convert(value, source, target) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(
    st.floats(-1e6, 1e6),
    st.sampled_from([("nm", "um"), ("torr", "mbar"), ("sccm", "mol/min"), ("degC", "K"), ("eV", "J")]),
)
def test_a_conversion_and_its_reverse_give_the_value_back(value: float, pair: tuple[str, str]) -> None:
    there, back = pair
    assert units.convert(units.convert(value, there, back), back, there) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_arrays_convert_like_scalars() -> None:
    assert np.allclose(units.convert(np.array([1.0, 2.0]), "um", "nm"), [1000.0, 2000.0])


def test_a_unit_converted_to_itself_is_untouched() -> None:
    value = np.array([1.0])
    assert units.convert(value, "nm", "nm") is value


@pytest.mark.parametrize("text", ["flurbs", "nm nm nm/", "3 nm", "cm^^2"])
def test_what_is_no_unit_is_refused(text: str) -> None:
    with pytest.raises(UnitError, match="unknown unit"):
        units.convert(1.0, text, "nm")


def test_a_conversion_between_different_kinds_is_refused() -> None:
    with pytest.raises(UnitError, match="measure different things"):
        units.convert(1.0, "nm", "s")
    assert not units.same_dimension("torr", "sccm")
    assert units.same_dimension("1", "%")
