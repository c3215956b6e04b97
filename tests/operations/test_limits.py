import math

import pytest

from labkit.core.errors import LabkitError
from labkit.core.limits import Limit, Severity
from labkit.core.recipe import Recipe, knob
from labkit.operations.limits import ConstraintProfile, limits_for, recipe_values, recipe_violations


class _Steps(Recipe):
    process = "toy"
    pressure_torr: float = knob(1.0, units="torr", description="pressure")
    zones: tuple[float, ...] = (700.0, 800.0)


class _Toy:
    name = "toy"
    limits = (Limit("pressure_torr", 0.1, 10.0, "torr"), Limit("zones.*", 400.0, 1200.0, "degC"))


def test_default_limits_hold_without_any_profile():
    assert limits_for(_Toy(), []) == _Toy.limits


def test_the_more_specific_profile_wins():
    process = ConstraintProfile.of("all", "toy", [Limit("pressure_torr", 0.2, 5.0, "torr")])
    tool = ConstraintProfile.of("t1", "toy", [Limit("pressure_torr", 0.3, 4.0, "torr")], tool="T1")
    product = ConstraintProfile.of("p", "toy", [Limit("pressure_torr", 0.4, 3.0, "torr")], product="P")
    held = {lim.quantity: lim for lim in limits_for(_Toy(), [product, process, tool], tool="T1", product="P")}
    assert held["pressure_torr"].high == 3.0
    held = {lim.quantity: lim for lim in limits_for(_Toy(), [product, process, tool], tool="T1", product="Q")}
    assert held["pressure_torr"].high == 4.0
    held = {lim.quantity: lim for lim in limits_for(_Toy(), [product, process, tool], tool="T2", product="Q")}
    assert held["pressure_torr"].high == 5.0


def test_a_profile_of_another_process_does_not_apply():
    other = ConstraintProfile.of("x", "other", [Limit("pressure_torr", 0.2, 0.3, "torr")])
    assert limits_for(_Toy(), [other]) == _Toy.limits


def test_soft_and_hard_limits_on_one_quantity_live_side_by_side():
    soft = ConstraintProfile.of("s", "toy", [Limit("pressure_torr", 0.5, 2.0, "torr", Severity.SOFT)])
    found = recipe_violations(_Steps(name="a", pressure_torr=3.0), limits_for(_Toy(), [soft]))
    assert [v.limit.severity for v in found] == [Severity.SOFT]
    found = recipe_violations(_Steps(name="a", pressure_torr=30.0), limits_for(_Toy(), [soft]))
    assert {v.limit.severity for v in found} == {Severity.SOFT, Severity.HARD}


def test_a_starred_limit_is_applied_to_every_list_entry():
    hot = _Steps(name="a", zones=(700.0, 1300.0, 800.0))
    (violation,) = recipe_violations(hot, _Toy.limits)
    assert violation.value == 1300.0
    both = _Steps(name="a", zones=(300.0, 1300.0))
    assert [v.value for v in recipe_violations(both, _Toy.limits)] == [300.0, 1300.0]


def test_limits_are_inclusive():
    assert not recipe_violations(_Steps(name="a", pressure_torr=10.0), _Toy.limits)
    assert recipe_violations(_Steps(name="a", pressure_torr=math.nextafter(10.0, 11.0)), _Toy.limits)


def test_not_a_number_breaks_every_limit():
    assert Limit("x", 0.0, 1.0).excess(math.nan) == math.inf


def test_a_limit_with_ends_swapped_is_refused():
    with pytest.raises(ValueError, match="above high"):
        Limit("x", 2.0, 1.0)
    with pytest.raises(Exception, match="above high"):
        ConstraintProfile(name="x", process="toy", limits=({"quantity": "x", "low": 2, "high": 1},))


def test_a_profile_survives_json():
    profile = ConstraintProfile.of("p", "toy", [Limit("pressure_torr", 0.4, units="torr", reason="pump")], tool="T")
    again = ConstraintProfile.model_validate_json(profile.model_dump_json())
    assert again == profile
    assert again.built() == (Limit("pressure_torr", 0.4, math.inf, "torr", Severity.HARD, "pump"),)


def test_flags_and_text_are_not_numbers_of_a_recipe():
    values = recipe_values(_Steps(name="a"))
    assert "name" not in values
    assert values["zones.1"] == 800.0
    assert values["zones.*#min"] == 700.0


def test_a_limit_on_a_quantity_nobody_has_is_refused():
    from labkit.core import registry
    from labkit.operations.limits import require_quantities

    process = next(iter(registry.processes().values()))
    with pytest.raises(LabkitError, match="no quantity 'thicknes_mean'"):
        require_quantities(process, [Limit("thicknes_mean", 0.0, 1.0)])
    require_quantities(process, process.limits)
