"""Recipes, approvals, limits, trust labels and wafers through the Lab itself."""

import pytest

import labkit
from labkit.core import registry
from labkit.core.errors import LabkitError, NotFound, PermissionDenied, StoreError
from labkit.core.identity import Principal, Role
from labkit.core.limits import Limit, Severity
from labkit.core.resources import resource
from labkit.operations.cost import Rates
from labkit.operations.limits import ConstraintProfile
from labkit.store import learning, tables

CVD = registry.process("cvd")
OXIDE, POLY = CVD.example_recipes()


@pytest.fixture
def lab(tmp_path):
    with labkit.open(tmp_path / "lab", principal=Principal("ada")) as opened:
        opened.add_tool("TUBE-1", "cvd", seed=1, rates=Rates(per_hour=60.0, per_wafer=1.0, per_run=8.0))
        yield opened


def test_the_seeds_approved_recipe_is_a_draft_here_and_says_so(lab):
    recipe = labkit.load_recipe(resource("data/recipes/lpcvd_sio2_100nm.json"))
    assert recipe.status == "draft"
    assert "approved" in recipe.notes[0]
    assert lab.save_recipe(recipe).status == "draft"


def test_two_people_approve_and_an_approved_version_is_immutable(lab):
    lab.save_recipe(OXIDE)
    with pytest.raises(PermissionDenied, match="ada wrote this recipe"):
        lab.approve(OXIDE.name, by="ada")
    with pytest.raises(PermissionDenied, match="may not recipe:approve"):
        lab.approve(OXIDE.name, by=Principal("bob", role=Role.ENGINEER))
    approved = lab.approve(OXIDE.name, by="grace")
    assert approved.status == "approved"
    assert approved.content_hash == OXIDE.content_hash
    with pytest.raises(StoreError, match="exists with other content"):
        lab.save_recipe(OXIDE.changed({"recipe_steps.3.duration_s": 1300.0}))
    changed = lab.save_recipe(OXIDE.changed({"recipe_steps.3.duration_s": 1300.0, "version": 2}))
    assert (changed.status, lab.recipe(OXIDE.name, 1).status) == ("draft", "approved")


def test_a_real_tool_refuses_a_draft_and_is_never_played_by_a_simulated_one(lab):
    lab.save_recipe(OXIDE)
    with lab._workplace.catalogue.begin() as tx:
        tx.update(tables.tools, {"id": "TUBE-1"}, {"kind": "real"})
    refused = lab.execute(OXIDE, tool="TUBE-1", progress=False)
    assert refused.state == "REJECTED"
    assert "approved recipes only" in refused.reason
    lab.approve(OXIDE.name, by="grace")
    again = lab.execute(lab.recipe(OXIDE.name), tool="TUBE-1", progress=False)
    assert again.state == "REJECTED"
    assert "no driver" in again.reason
    assert again.record["origin"] == "real"


def test_simulated_data_never_reaches_a_real_tools_history_or_charts(lab):
    for _ in range(3):
        lab.execute(OXIDE, tool="TUBE-1", progress=False)
    assert lab.predict(OXIDE, tool="TUBE-1").rows == 3
    with lab._workplace.catalogue.begin() as tx:
        tx.update(tables.tools, {"id": "TUBE-1"}, {"kind": "real"})
    assert lab.predict(OXIDE, tool="TUBE-1").rows == 0
    with lab._workplace.catalogue.read() as tx:
        assert len(learning.training_rows(tx, process="cvd", origins=["simulated"], tool="TUBE-1")) == 3
        assert learning.training_rows(tx, process="cvd", origins=["real"], tool="TUBE-1") == []


def test_a_stricter_profile_for_one_tool_blocks_there_and_only_there(lab):
    lab.add_tool("TUBE-2", "cvd", seed=2)
    path = "pressure_setpoints.process_pressure_torr"
    lab.add_profile(
        ConstraintProfile.of("low pressure", "cvd", [Limit(path, 0.02, 0.4, "torr", reason="pump")], tool="TUBE-2")
    )
    blocked = lab.execute(OXIDE, tool="TUBE-2", progress=False)
    assert blocked.state == "BLOCKED"
    assert "0.02 to 0.4 torr (pump)" in blocked.preflight["reasons"][0]
    assert blocked.violations[0]["stage"] == "preflight"
    (offer,) = [c for c in blocked.preflight["offer"] if c["path"] == path]
    assert offer["after"] <= 0.4
    assert lab.execute(OXIDE, tool="TUBE-1", progress=False).state == "COMPLETED"
    with pytest.raises(NotFound, match="no data"):
        _ = blocked.data


def test_a_soft_limit_warns_and_is_stored_but_does_not_stop(lab):
    lab.add_profile(
        ConstraintProfile.of(
            "prefer", "cvd", [Limit("pressure_setpoints.process_pressure_torr", 0.02, 0.4, "torr", Severity.SOFT)]
        )
    )
    run = lab.execute(OXIDE, tool="TUBE-1", progress=False)
    assert run.state == "COMPLETED"
    assert any("soft limit" in warning for warning in run.preflight["warnings"])
    assert [row["severity"] for row in run.violations] == ["soft"]


def test_a_misspelt_limit_is_refused(lab):
    with pytest.raises(LabkitError, match="no quantity 'presure'"):
        lab.add_profile(ConstraintProfile.of("x", "cvd", [Limit("presure", 0.0, 1.0)]))


def test_wafers_go_from_run_to_run_with_their_films_and_passports(lab):
    first = lab.execute(OXIDE, tool="TUBE-1", lot="LOT-7", product="P", progress=False)
    second = lab.execute(POLY, tool="TUBE-1", wafers=first, lot="LOT-7", product="P", progress=False)
    films = second.data["wafer"]["film_thickness"]
    assert list(films["film"].values) == ["SiO2", "poly-Si"]
    before = first.data["wafer"]["film_thickness"].sel(film="SiO2")
    assert float(abs(films.sel(film="SiO2") - before).max()) == 0.0
    passport = lab.wafer("LOT-7-W05")
    assert [row["id"] for row in passport] == [first.id, second.id]
    assert {row["slot"] for row in passport} == {5}
    assert [row["seq"] for row in lab.runs(wafer="LOT-7-W05", sort="oldest")] == [first.seq, second.seq]


def test_a_run_costs_what_the_rates_say(lab):
    run = lab.execute(OXIDE, tool="TUBE-1", lot="L", progress=False)
    assert run.record["cost"] == pytest.approx(8.0 + 60.0 * 3120 / 3600 + 25 * 1.0)


def test_the_tools_timeline_shows_the_run(lab):
    lab.execute(OXIDE, tool="TUBE-1", progress=False)
    assert [row["state"] for row in lab.tool_history("TUBE-1")] == ["standby", "productive", "standby"]
    lab.set_tool_state("TUBE-1", "unscheduled_down", "pump belt")
    assert lab.tool_history("TUBE-1")[-1]["reason"] == "pump belt"


def test_pages_follow_each_other_without_gap_or_repeat(lab):
    for _ in range(5):
        lab.execute(OXIDE, tool="TUBE-1", progress=False)
    seen, after = [], None
    while True:
        page = lab.runs(limit=2, after=after)
        seen += [row["seq"] for row in page]
        after = page.after
        if after is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 5


def test_a_restored_backup_holds_the_same_runs(lab, tmp_path):
    run = lab.execute(OXIDE, tool="TUBE-1", lot="L", progress=False)
    lab.backup(tmp_path / "lab.tar.zst")
    with labkit.restore(tmp_path / "lab.tar.zst", tmp_path / "again") as again:
        other = again.run(run.id)
        assert other.measured == run.measured
        assert bool((other.data["measured"]["thickness"] == run.data["measured"]["thickness"]).all())
        assert again.verify().rows == []


def test_two_tools_for_one_process_must_be_told_apart(lab):
    lab.add_tool("TUBE-2", "cvd")
    with pytest.raises(LabkitError, match="2 tools run cvd"):
        lab.execute(OXIDE, progress=False)


def test_a_viewer_may_look_but_not_run(tmp_path, lab):
    lab.close()
    with labkit.open(tmp_path / "lab", principal=Principal("vic", role=Role.VIEWER)) as viewed:
        assert len(viewed.tools()) == 1
        with pytest.raises(PermissionDenied, match="may not cvd:create_run"):
            viewed.execute(OXIDE, progress=False)


def test_another_organisation_sees_nothing(tmp_path, lab):
    lab.execute(OXIDE, tool="TUBE-1", progress=False)
    with labkit.open(tmp_path / "lab", principal=Principal("eve", "elsewhere")) as other:
        assert len(other.runs()) == 0
        assert len(other.tools()) == 0
        with pytest.raises(NotFound):
            other.run(1)
