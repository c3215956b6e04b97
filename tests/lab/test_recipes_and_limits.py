"""Recipes through approval, constraint profiles, suggestions, and who may do what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import labkit
from labkit.core.errors import LabkitError, PermissionDenied, StoreError
from labkit.core.identity import Principal, Role
from labkit.core.limits import Limit, Severity
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.lab import Lab, load_recipe
from labkit.operations.limits import ConstraintProfile
from labkit.store import learning, tools

from .conftest import BORIS


def test_approval_takes_another_person_and_is_bound_to_the_content(lab: Lab, oxide: Recipe) -> None:
    saved = lab.save_recipe(oxide)
    assert saved.status == "draft"
    with pytest.raises(PermissionDenied, match="anna wrote this recipe"):
        lab.approve(oxide.name, by="anna")
    with pytest.raises(PermissionDenied, match="may not recipe:approve"):
        lab.approve(oxide.name, by=Principal("carl", role=Role.OPERATOR))
    approved = lab.approve(oxide.name, by=BORIS, note="checked")
    assert (approved.status, approved.content_hash) == ("approved", oxide.content_hash)
    assert lab.recipe(oxide.name).status == "approved"
    with pytest.raises(StoreError):
        lab.save_recipe(oxide.changed({"thickness_target_nm": 101.0}))
    assert lab.recipe(oxide.name).content_hash == oxide.content_hash
    assert lab.recipe(oxide.name).changed({"thickness_target_nm": 101.0}).status == "draft"
    second = lab.save_recipe(oxide.changed({"thickness_target_nm": 101.0, "version": 2}))
    assert (second.status, lab.recipe(oxide.name).version, lab.recipe(oxide.name, 1).status) == ("draft", 2, "approved")


def test_a_file_cannot_approve_itself(lab: Lab) -> None:
    path = resource("data/recipes/lpcvd_sio2_100nm.json")
    assert json.loads(path.read_text(encoding="utf-8"))["status"] == "approved"
    recipe = lab.save_recipe(load_recipe(path))
    assert recipe.status == "draft"
    assert any("imported with status 'approved'" in note for note in lab.recipe(recipe.name).notes)


def test_a_real_tool_refuses_drafts_and_without_a_driver_everything(lab: Lab, oxide: Recipe) -> None:
    config = {"seed": 0, "rates": {}, "condition": {}}
    with lab._place.catalogue.begin() as tx:
        tools.register(tx, "FURNACE", process="cvd", kind="real", config=config)
    draft = lab.execute(oxide, tool="FURNACE", progress=False)
    assert (draft.state, "a real tool runs approved recipes only" in str(draft.reason)) == ("REJECTED", True)
    lab.save_recipe(oxide)
    lab.approve(oxide.name, by=BORIS)
    edited = lab.execute(oxide.changed({"thickness_target_nm": 99.0}), tool="FURNACE", progress=False)
    assert "a real tool runs approved recipes only" in str(edited.reason), "approval is of the content, not of the name"
    approved = lab.execute(oxide, tool="FURNACE", progress=False)
    assert (approved.state, "no driver" in str(approved.reason)) == ("REJECTED", True), (
        "physics must not pass for a tool's data"
    )
    assert {run["state"] for run in lab.runs(origin="real")} == {"REJECTED"}


def test_a_difference_names_each_field(oxide: Recipe) -> None:
    changes = oxide.diff(oxide.changed({"thickness_target_nm": 90.0, "recipe_steps.3.duration_s": 1000.0}))
    assert {change.path: (change.before, change.after) for change in changes} == {
        "thickness_target_nm": (100.0, 90.0),
        "recipe_steps.3.duration_s": (1200.0, 1000.0),
    }


def test_a_stricter_profile_of_one_tool_blocks_there_and_only_there(lab: Lab, oxide: Recipe) -> None:
    lab.add_tool("TUBE-2", "cvd")
    lab.add_profile(
        ConstraintProfile.of("strict", "cvd", [Limit("thickness_mean_nm", 110.0, 120.0, "nm")], tool="TUBE-2")
    )
    blocked = lab.execute(oxide, tool="TUBE-2", progress=False)
    assert blocked.state == "BLOCKED"
    assert "hard limit 110 to 120 nm" in str(blocked.reason)
    assert [(row["stage"], row["severity"], row["quantity"]) for row in blocked.violations] == [
        ("preflight", "hard", "thickness_mean_nm")
    ]
    with pytest.raises(LabkitError, match="no data: it is BLOCKED"):
        _ = blocked.data
    assert lab.execute(oxide, tool="TUBE", progress=False).state == "COMPLETED"
    assert "110 to 120 nm" in repr(lab.limits("cvd", tool="TUBE-2"))
    assert "110 to 120 nm" not in repr(lab.limits("cvd", tool="TUBE"))


def test_a_soft_limit_warns_is_kept_and_lets_the_run_go(lab: Lab, oxide: Recipe) -> None:
    lab.add_profile(
        ConstraintProfile.of(
            "careful", "cvd", [Limit("thickness_mean_nm", high=90.0, units="nm", severity=Severity.SOFT)]
        )
    )
    run = lab.execute(oxide, tool="TUBE", progress=False)
    assert run.state == "COMPLETED"
    assert run.preflight is not None
    assert any("soft limit at most 90 nm" in warning for warning in run.preflight["warnings"])
    assert {(row["stage"], row["severity"]) for row in run.violations} == {("preflight", "soft"), ("result", "soft")}


def test_a_profile_on_something_that_does_not_exist_is_refused(lab: Lab) -> None:
    with pytest.raises(LabkitError, match="no quantity 'thicknes'"):
        lab.add_profile(ConstraintProfile.of("typo", "cvd", [Limit("thicknes", 1.0, 2.0)]))


def test_an_accepted_suggestion_is_a_new_draft_that_still_needs_approval(lab: Lab, oxide: Recipe) -> None:
    lab.save_recipe(oxide)
    lab.approve(oxide.name, by=BORIS)
    run = lab.execute(oxide, tool="TUBE", progress=False)
    with lab._place.catalogue.begin() as tx:
        learning.suggest(
            tx,
            kind="run-to-run",
            tool="TUBE",
            process="cvd",
            changes={"recipe_steps.3.duration_s": 1250.0},
            family="f",
            reason="thin",
            run=run.id,
            recipe_name=oxide.name,
            recipe_version=1,
        )
    (suggestion,) = lab.suggestions()
    draft = lab.accept(suggestion["id"])
    assert (draft.version, draft.status, draft.value("recipe_steps.3.duration_s")) == (2, "draft", 1250.0)
    assert len(lab.suggestions()) == 0
    assert [row["parent_version"] for row in lab.recipes() if row["version"] == 2] == [1]
    with pytest.raises(LabkitError):
        lab.accept(suggestion["id"])


def test_a_viewer_looks_and_changes_nothing(tmp_path: Path, oxide: Recipe) -> None:
    with labkit.open(tmp_path / "lab") as lab:
        lab.add_tool("TUBE", "cvd")
    with labkit.open(tmp_path / "lab", principal=Principal("vera", role=Role.VIEWER)) as lab:
        assert len(lab.tools()) == 1
        profile = ConstraintProfile.of("p", "cvd", [Limit("thickness_mean_nm", 1.0, 2.0, "nm")])
        for call in (
            lambda: lab.execute(oxide, progress=False),
            lambda: lab.add_tool("X", "cvd"),
            lambda: lab.add_profile(profile),
            lambda: lab.sweep(oxide, {"thickness_target_nm": [1.0]}),
            lambda: lab.qualify("TUBE", []),
            lambda: lab.accept("x"),
        ):
            with pytest.raises(PermissionDenied, match="vera is viewer and may not"):
                call()
        assert lab.counts()["runs"] == 0
