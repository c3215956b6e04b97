import math

import pytest

import labkit
from labkit.core import registry
from labkit.core.tool import Fault
from labkit.runs.why import _next_step, commonality, explain, sensitivities

CVD = registry.process("cvd")
RECIPE = CVD.example_recipes()[0]


def runs(flagged: int, clean: int, **flagged_values):
    blank = {"tool": "T1", "chamber": None, "product": "P", "lot": None, "operator": "ann", "recipe_hash": "h"}
    return [{**blank, **flagged_values, "verdict": "anomaly"} for _ in range(flagged)] + [
        {**blank, "verdict": "pass"} for _ in range(clean)
    ]


def test_a_planted_common_value_is_named_first():
    found = commonality(runs(6, 40, operator="bob") + runs(0, 3, tool="T2"))
    assert (found[0].attribute, found[0].value, found[0].flagged, found[0].others) == ("operator", "bob", 6, 0)


def test_chance_is_the_hypergeometric_one_times_the_values_tried():
    # 2 flagged of 4 runs, both and only they by bob: C(2,2)C(2,0)/C(4,2) = 1/6; two operators were tried.
    (first, *_) = commonality(runs(2, 2, operator="bob"), chance=1.1)
    assert first.chance == pytest.approx(2.0 / 6.0)


def test_nothing_in_common_is_reported_as_nothing():
    assert commonality(runs(5, 50)) == ()
    assert commonality([]) == ()
    assert commonality(runs(0, 50, operator="bob")) == ()


def test_values_without_verdict_do_not_count():
    undecided = [{**run, "verdict": None} for run in runs(20, 0, operator="eve")]
    assert commonality(undecided + runs(2, 2, operator="bob"), chance=1.1)[0].value == "bob"


def test_a_longer_deposition_makes_a_thicker_film_and_the_numbers_are_per_hundredth_of_the_range():
    found = {s.path: s for s in sensitivities(CVD, RECIPE)}
    duration = found["recipe_steps.3.duration_s"]
    assert duration.move == pytest.approx(18.0)
    rate = CVD.expected(RECIPE, CVD.incoming_wafers(RECIPE))["thickness_mean_nm"] / 1200.0
    assert duration.changes["thickness_mean_nm"] == pytest.approx(18.0 * rate, rel=1e-6)
    assert all(math.isfinite(v) for s in found.values() for v in s.changes.values())


def test_between_two_causes_it_asks_for_the_measurement_that_tells_them_apart():
    step = {mode.name: mode.step for mode in CVD.fault_modes}
    rivals = [
        {"fault": name, "amplitude": 2.0 * step[name], "title": name, "advice": "a"}
        for name in ("sih4_mfc", "zone_2_heater")
    ]
    answer = _next_step(CVD, RECIPE, "ambiguous: sih4_mfc | zone_2_heater", rivals, [])
    # Two per cent of heater power move its own drive by about 2 %, five of its sigmas; two per cent of silane do not.
    assert answer.startswith("measure heater_power_zone_2_pct again")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with labkit.open(tmp_path_factory.mktemp("why") / "lab") as opened:
        opened.add_tool("TUBE-1", "cvd", seed=5)
        opened.tool("TUBE-1").inject(Fault(mode="zone_1_thermocouple", magnitude=4.0, first_run=9))
        for batch in range(1, 11):
            opened.execute(RECIPE, tool="TUBE-1", lot=f"L{batch:02d}", progress=False)
            if batch == 8:
                opened.qualify("TUBE-1", range(1, 9))
        yield opened


def test_a_planted_cause_is_named_first_with_its_evidence_and_what_to_do(lab):
    answer = lab.why(10)
    assert answer.causes[0]["fault"] == "zone_1_thermocouple"
    assert abs(answer.contributions[0].z) > 4.0
    assert abs(answer.contributions[0].z) == max(abs(c.z) for c in answer.contributions)
    assert "zone 1" in answer.next_step
    assert "Zone 1 thermocouple reads low" in repr(answer)


def test_a_healthy_run_needs_nothing(lab):
    answer = lab.why(lab.run(8))
    assert answer.causes == ()
    assert answer.next_step == "nothing to do"


def test_a_refused_run_says_why_it_was_refused(lab):
    hot = RECIPE.changed(
        {"name": "hot", "temperature_profile.zones.0.setpoint": 840.0, "temperature_profile.zones.1.setpoint": 840.0}
    )
    refused = lab.execute(hot, tool="TUBE-1", progress=False)
    answer = explain(lab._workplace, refused.id)
    assert "hard limit" in answer.headline
    assert answer.sensitivities == ()
