"""Units and numbers as they are printed."""

from __future__ import annotations

import pytest

from labkit.plots.labels import _LINE, in_margin
from labkit.plots.notation import number, short, unit_sign
from labkit.plots.theme import padded, ticks


@pytest.mark.parametrize(
    ("udunits", "printed"),
    [
        ("1", ""),
        ("nm", "nm"),
        ("degC", "°C"),
        ("mJ/cm2", "mJ/cm²"),
        ("nm/min", "nm/min"),
        ("um", "µm"),
        ("cm-3", "cm⁻³"),
        ("percent", "%"),
        ("torr", "Torr"),
        ("kg m-3", "kg m⁻³"),
        ("W/cm^2", "W/cm²"),
    ],
)
def test_units_are_printed_with_the_fields_signs(udunits: str, printed: str) -> None:
    assert unit_sign(udunits) == printed


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (99.1234, "99.12"),
        (0.0, "0.000"),
        (-3.5, "−3.500"),
        (1.2e-7, "1.200 × 10⁻⁷"),
        (123456.0, "123456"),
        (float("nan"), "–"),
        (None, "–"),
        (0.01234, "0.01234"),
    ],
)
def test_numbers_are_printed_to_four_figures(value: float | None, printed: str) -> None:
    assert number(value) == printed


def test_short_numbers_have_no_trailing_zeros() -> None:
    assert [short(v) for v in (100.0, 2.5, 1000.0, -0.5)] == ["100", "2.5", "1000", "−0.5"]


def test_ticks_are_round_and_stay_inside() -> None:
    assert ticks(-300.0, 300.0) == [-300.0, -200.0, -100.0, 0.0, 100.0, 200.0, 300.0]
    assert ticks(0.13, 0.87, 5) == [0.2, 0.4, 0.6, 0.8]


def test_axis_limits_leave_room_even_around_a_single_value() -> None:
    low, high = padded([5.0, 5.0, float("nan")])
    assert low < 5.0 < high


def test_labels_in_the_margin_keep_apart_and_in_order() -> None:
    pytest.importorskip("holoviews", reason="needs the extra labkit[lab]")
    labels = in_margin([(5.0, "c", "#000000"), (4.99, "b", "#000000"), (1.0, "a", "#000000")], 0.0, (0.0, 10.0), 2.6)
    heights = [label.data[1] for label in labels]
    assert [label.data[2] for label in labels] == ["a", "b", "c"]
    assert heights[0] == pytest.approx(1.0)
    assert heights[2] - heights[1] == pytest.approx(_LINE * 10.0 / 2.6)
    assert sum(heights[1:]) / 2 == pytest.approx(4.995, abs=0.01)
