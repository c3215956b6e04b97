"""Conditions and indicators: how equipment departs from nominal and how departures are compared."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from labkit.core.errors import LabkitError
from labkit.core.process import Condition, Indicator


class TubeCondition(Condition):
    """A tube's condition."""

    leak_sccm: float = 0.0
    mfc_gain: dict[str, float] = Field(default_factory=dict)
    offset_c: dict[str, float] = Field(default_factory=dict)


def test_an_absent_gain_is_one_and_an_absent_offset_is_zero() -> None:
    nominal = TubeCondition()
    assert nominal.value("mfc_gain.SiH4") == 1.0
    assert nominal.value("offset_c.zone1") == 0.0
    assert nominal.value("leak_sccm") == 0.0


@given(st.sampled_from(["leak_sccm", "mfc_gain.SiH4", "offset_c.zone1"]), st.floats(-5, 5), st.floats(-5, 5))
def test_shifts_add_up_and_touch_nothing_else(path: str, first: float, second: float) -> None:
    nominal = TubeCondition(mfc_gain={"O2": 0.9})
    moved = nominal.shifted(path, first).shifted(path, second)
    assert moved.value(path) == pytest.approx(nominal.value(path) + first + second, abs=1e-12)
    assert moved.value("mfc_gain.O2") == 0.9
    assert nominal == TubeCondition(mfc_gain={"O2": 0.9})


def test_a_field_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(LabkitError, match=r"no field .pump.*leak_sccm, mfc_gain, offset_c"):
        TubeCondition().value("pump.speed")
    with pytest.raises(LabkitError, match="no field 'pump'"):
        TubeCondition().shifted("pump", 1.0)


def test_a_condition_is_frozen_and_finite() -> None:
    with pytest.raises(ValidationError):
        TubeCondition(leak_sccm=math.nan)
    with pytest.raises(ValidationError):
        TubeCondition().shifted("leak_sccm", math.inf)


positive = st.floats(1e-3, 1e6)


@given(positive, positive, st.sampled_from(["ratio", "difference"]))
def test_restoring_a_residual_gives_the_measurement_back(measured: float, expected: float, residual: str) -> None:
    indicator = Indicator("x", "nm", "a thickness", residual=residual)
    assert indicator.restore(indicator.compare(measured, expected), expected) == pytest.approx(
        measured, rel=1e-9, abs=1e-9
    )


def test_residuals_are_positive_above_expectation() -> None:
    ratio, difference = Indicator("x", "nm", ""), Indicator("x", "nm", "", residual="difference")
    assert ratio.compare(math.e * 100.0, 100.0) == pytest.approx(1.0)
    assert difference.compare(103.0, 100.0) == 3.0
    assert difference.restore(-3.0, 100.0) == 97.0


def test_a_ratio_that_does_not_exist_is_not_a_number() -> None:
    assert math.isnan(Indicator("x", "nm", "").compare(0.0, 1.0))
    assert math.isnan(Indicator("x", "nm", "").compare(1.0, -1.0))
