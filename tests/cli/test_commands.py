"""Every command on a real lab: what it prints for people, and that ``--json`` is one JSON document and nothing else."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from .conftest import Labkit


def test_no_command_at_all_shows_the_help(labkit: Labkit) -> None:
    said = labkit()
    assert said.status == 0
    assert "Usage: labkit" in said.out
    assert said.err == ""


def test_a_run_is_shown_with_prediction_and_measurement(labkit: Labkit, lab: Path) -> None:
    said = labkit("--lab", lab, "show", "1")
    assert said.status == 0
    assert "COMPLETED, pass" in said.out
    assert "thickness_mean_nm" in said.out


def test_run_prints_the_run_as_json_and_nothing_else(labkit: Labkit, tmp_path: Path, oxide: Path) -> None:
    said = labkit("--lab", tmp_path / "new lab ü", "run", oxide, "--lot", "L7", "--json")
    assert (said.status, said.err) == (0, "")
    assert (said.document["state"], said.document["lot"]) == ("COMPLETED", "L7")
    assert 90.0 < said.document["measured"]["thickness_mean_nm"] < 110.0


def test_a_refused_run_has_a_status_of_its_own_and_is_kept_with_its_reason(
    labkit: Labkit, tmp_path: Path, nitride: Path
) -> None:
    said = labkit("--lab", tmp_path / "lab", "run", nitride, "--json")
    assert said.status == 3
    assert said.document["state"] == "BLOCKED"
    shown = labkit("--lab", tmp_path / "lab", "show", str(said.document["seq"]))
    assert "PECVD" in shown.out
    assert "refused" in shown.out


def test_a_dry_run_predicts_and_runs_nothing(labkit: Labkit, lab: Path, oxide: Path) -> None:
    before = labkit("--lab", lab, "runs", "--json").document["runs"]
    said = labkit("--lab", lab, "run", oxide, "--dry-run", "--json")
    assert said.status == 0
    estimates = {estimate["name"]: estimate for estimate in said.document["estimates"]}
    assert estimates["thickness_mean_nm"]["low"] < 100.0 < estimates["thickness_mean_nm"]["high"]
    assert labkit("--lab", lab, "runs", "--json").document["runs"] == before
    assert "thickness_mean_nm" in labkit("--lab", lab, "run", oxide, "--dry-run").out


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], [2, 1]),
        (["--state", "COMPLETED"], [1]),
        (["--state", "completed"], [1]),
        (["--state", "BLOCKED"], [2]),
        (["--verdict", "pass"], [1]),
        (["--verdict", "anomaly"], []),
        (["--process", "cvd"], [2, 1]),
        (["--process", "lithography"], []),
        (["--tool", "SIM-cvd"], [2, 1]),
        (["--tool", "other"], []),
        (["--lot", "L1"], [1]),
        (["--product", "P"], []),
        (["--sort", "oldest"], [1, 2]),
        (["--limit", "1"], [2]),
        (["--sort", "-duration_s"], [1]),
        (["--state", "COMPLETED", "--lot", "L2"], []),
    ],
)
def test_runs_are_listed_by_each_filter_and_order(
    labkit: Labkit, lab: Path, filters: list[str], found: list[int]
) -> None:
    said = labkit("--lab", lab, "runs", *filters, "--json")
    assert (said.status, said.err) == (0, "")
    assert [run["seq"] for run in said.document["runs"]] == found
    assert labkit("--lab", lab, "runs", *filters).status == 0


def test_a_run_is_found_by_number_and_by_id(labkit: Labkit, lab: Path) -> None:
    by_number = labkit("--lab", lab, "show", "1", "--json").document
    assert by_number["seq"] == 1
    assert labkit("--lab", lab, "show", by_number["id"], "--json").document == by_number


def test_doctor_finds_the_lab_or_says_how_to_make_one(labkit: Labkit, lab: Path, tmp_path: Path) -> None:
    findings = {finding["what"]: finding for finding in labkit("--lab", lab, "doctor", "--json").document}
    assert findings["lab"]["status"] == "ok"
    assert "2 runs" in findings["lab"]["detail"]
    absent = labkit("--lab", tmp_path / "none", "doctor", "--json")
    assert absent.status == 0
    assert {finding["what"]: finding for finding in absent.document}["lab"]["fix"]
    assert not (tmp_path / "none").exists()
    assert "Python" in labkit("--lab", lab, "doctor").out


def test_doctor_ends_with_a_status_when_something_is_broken(labkit: Labkit, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    said = labkit("--lab", tmp_path / "stranger", "doctor", "--json")
    assert said.status == 1
    assert [finding["status"] for finding in said.document if finding["what"] == "lab"] == ["broken"]


def test_a_backup_restores_to_the_same_runs(labkit: Labkit, lab: Path, tmp_path: Path) -> None:
    said = labkit("--lab", lab, "backup", tmp_path / "kept é.backup", "--json")
    assert said.status == 0
    assert Path(said.document["archive"]).stat().st_size == said.document["bytes"]
    restored = labkit("restore", tmp_path / "kept é.backup", tmp_path / "again")
    assert (restored.status, restored.out.strip()) == (0, str(tmp_path / "again"))
    for run in ("1", "2"):
        assert (
            labkit("--lab", tmp_path / "again", "show", run, "--json").document
            == labkit("--lab", lab, "show", run, "--json").document
        )


def test_the_demo_finds_the_drift_and_says_so_in_json(labkit: Labkit, tool_processes: None, tmp_path: Path) -> None:
    said = labkit(
        "demo", "--folder", tmp_path / "demo", "--batches", "12", "--fault-batch", "12", "--no-report", "--json"
    )
    assert (said.status, said.err) == (0, "")
    assert said.document["batches"] == 12
    assert said.document["alarm_batch"] is None or said.document["alarm_batch"] >= 12
    assert said.document["report"] is None
    assert labkit("--lab", tmp_path / "demo", "runs", "--lot", "LOT-A001", "--json").document["runs"][0]["seq"] == 1
    assert labkit("demo", "--folder", tmp_path / "demo").complaint


def test_a_name_made_of_markup_control_codes_or_other_scripts_is_shown_as_it_is(
    labkit: Labkit, tmp_path: Path, oxide: Path
) -> None:
    name = r"日本 \[/x] [red]ü[/red] 100 nm"
    recipe = tmp_path / "a recipe ü.json"
    recipe.write_text(json.dumps({**json.loads(oxide.read_text(encoding="utf-8")), "name": name}), encoding="utf-8")
    lab = tmp_path / "lab [/b]"
    assert name in labkit("--lab", lab, "run", recipe, "--lot", "[/lot]").out
    assert "[/lot]" in labkit("--lab", lab, "runs").out
    assert labkit("--lab", lab, "show", "1", "--json").document["recipe_name"] == name


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("papermill") is None, reason="the extra 'lab' is not installed")
def test_a_pipeline_writes_its_page(labkit: Labkit, lab: Path, tmp_path: Path) -> None:
    said = labkit(
        "--lab",
        lab,
        "pipeline",
        "batch_report",
        "-p",
        "tool",
        "SIM-cvd",
        "-p",
        "max_runs",
        "5",
        "-o",
        tmp_path / "a.html",
        "--json",
    )
    assert said.status == 0, said.err
    assert said.document == {"html": str(tmp_path / "a.html")}
    assert "<html" in (tmp_path / "a.html").read_text(encoding="utf-8").lower()
