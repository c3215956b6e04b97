"""Commands around the queue, templates and schedules: what they print, what scripts get, how they refuse."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import labkit as package
from labkit.lab import Lab
from labkit.runs import hiring
from labkit.runs.worker import sole_worker
from tests.runs.crew import until

from .conftest import Labkit

COMMANDS = ("submit", "jobs", "cancel", "pause", "resume", "worker", "template", "schedule")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab with one tube, which whoever works may take; workers that have nothing to do end, and are waited for."""
    monkeypatch.setenv("LABKIT_WORKER_IDLE_S", "0.5")
    with package.open(tmp_path / "lab") as lab:
        lab.add_tool("TUBE", "cvd", seed=1)
        lab.workplace.tools.close()
        try:
            yield lab
        finally:
            until(lambda: not hiring.has_worker(lab.workplace), "the worker to go home")


@pytest.fixture
def unmanned(opened: Lab) -> Iterator[Path]:
    """The folder of the same lab, in which nobody works."""
    with sole_worker(opened.workplace):
        yield opened.folder
        for row in opened.jobs():
            opened.job(row["run"]).cancel()
        for row in opened.schedules():
            opened.unschedule(row["name"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(labkit: Labkit, name: str) -> None:
    said = labkit(name, "--help")
    assert (said.status, said.err) == (0, "")
    assert "Usage: labkit" in said.out


def test_jobs_are_listed_in_the_order_in_which_they_would_start(labkit: Labkit, unmanned: Path, oxide: Path) -> None:
    first = labkit("--lab", unmanned, "submit", oxide, "--lot", "L1", "--json")
    assert (first.status, first.err) == (0, "")
    assert (first.document["number"], first.document["state"]) == (1, "SUBMITTED")
    urgent = labkit("--lab", unmanned, "submit", oxide, "--priority", "5", "--after", "1")
    assert urgent.status == 0
    assert "run 2" in urgent.out
    listed = labkit("--lab", unmanned, "jobs", "--json").document
    assert [(job["seq"], job["priority"], job["tool"]) for job in listed] == [(2, 5, "TUBE"), (1, 0, "TUBE")]
    shown = labkit("--lab", unmanned, "jobs")
    assert shown.status == 0
    assert "SUBMITTED" in shown.out


def test_a_lab_without_jobs_has_an_empty_list(labkit: Labkit, unmanned: Path) -> None:
    assert labkit("--lab", unmanned, "jobs", "--json").document == []
    assert labkit("--lab", unmanned, "jobs").status == 0


def test_a_job_is_held_let_go_and_cancelled_by_number_or_id(labkit: Labkit, unmanned: Path, oxide: Path) -> None:
    made = labkit("--lab", unmanned, "submit", oxide, "--json").document
    assert labkit("--lab", unmanned, "pause", "1", "--json").document == {"run": made["run"], "state": "SUBMITTED"}
    assert labkit("--lab", unmanned, "jobs", "--json").document[0]["shown"] == "PAUSED"
    assert labkit("--lab", unmanned, "resume", made["run"]).status == 0
    assert labkit("--lab", unmanned, "jobs", "--json").document[0]["shown"] == "SUBMITTED"
    said = labkit("--lab", unmanned, "cancel", "1")
    assert said.status == 0
    assert "CANCELLED" in said.out
    assert labkit("--lab", unmanned, "jobs", "--json").document == []


def test_a_recipe_that_its_tool_cannot_run_has_the_status_of_a_refused_run(
    labkit: Labkit, opened: Lab, unmanned: Path, oxide: Path
) -> None:
    opened.add_tool("SCANNER", "lithography", seed=1)
    said = labkit("--lab", unmanned, "submit", oxide, "--tool", "SCANNER", "--json")
    assert said.status == 3
    assert said.document["state"] == "REJECTED"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cancel", "99"), "no run"),
        (("pause", "nothing"), "no run"),
        (("resume", "99999999999999999999"), "no run"),
        (("cancel",), "RUN"),
        (("submit",), "RECIPE"),
        (("submit", "nowhere.json"), "nowhere.json"),
        (("submit", "OXIDE", "--after", "99"), "no run"),
        (("submit", "OXIDE", "--priority", "high"), "priority"),
        (("submit", "OXIDE", "--priority", "99999999999"), "priority"),
        (("submit", "OXIDE", "--expires", "-5"), "expires"),
        (("submit", "OXIDE", "--in", "soon"), "--in"),
        (("submit", "OXIDE", "--tool", "NO-SUCH"), "NO-SUCH"),
        (("worker", "--slots", "0"), "slots"),
        (("worker", "--idle", "-1"), "idle"),
        (("template", "submit", "nightly"), "no template"),
        (("template", "delete", "nightly"), "no template"),
        (("template", "save", "nightly", "no-such-recipe"), "no recipe"),
        (("template", "save", "nightly", "OXIDE", "--version", "2"), "--version"),
        (("template", "save", "nightly", "OXIDE", "--retries", "-2"), "retries"),
        (("schedule", "add", "s", "0 2 * * *", "nightly"), "no template"),
        (("schedule", "add", "s", "every night", "nightly"), "0 2 * * *"),
        (("schedule", "add", "s", "0 2 * * *", "nightly", "--timezone", "Berlin"), "Europe/Berlin"),
        (("schedule", "remove", "s"), "no schedule"),
        (("schedule", "enable", "s"), "no schedule"),
    ],
    ids=" ".join,
)
def test_mistakes_are_refused_in_one_line_and_change_nothing(
    labkit: Labkit, opened: Lab, unmanned: Path, oxide: Path, arguments: tuple[str, ...], words: str
) -> None:
    given = [oxide if argument == "OXIDE" else argument for argument in arguments]
    said = labkit("--lab", unmanned, *given)
    assert words in said.complaint
    assert said.out == ""
    assert opened.counts()["runs"] == 0
    assert (len(opened.templates()), len(opened.schedules())) == (0, 0)


def test_a_job_that_is_over_is_not_cancelled_again(labkit: Labkit, unmanned: Path, oxide: Path) -> None:
    labkit("--lab", unmanned, "submit", oxide)
    labkit("--lab", unmanned, "cancel", "1")
    for word in ("cancel", "pause", "resume"):
        assert "over" in labkit("--lab", unmanned, word, "1").complaint


@pytest.mark.parametrize("word", ["jobs", "cancel", "worker", "template", "schedule"])
def test_a_lab_that_does_not_exist_is_not_made(labkit: Labkit, tmp_path: Path, word: str) -> None:
    more = {"cancel": ["1"], "template": ["list"], "schedule": ["list"]}.get(word, [])
    assert "no lab" in labkit("--lab", tmp_path / "none", word, *more).complaint
    assert not (tmp_path / "none").exists()


def test_a_second_worker_is_refused_in_one_line_and_one_on_demand_says_nothing(labkit: Labkit, unmanned: Path) -> None:
    assert "has a worker already" in labkit("--lab", unmanned, "worker").complaint
    said = labkit("--lab", unmanned, "worker", "--on-demand")
    assert (said.status, said.out, said.err) == (0, "", "")


def test_a_worker_does_what_there_is_and_goes_home(
    labkit: Labkit, opened: Lab, oxide: Path, command: tuple[list[str], Mapping[str, str]]
) -> None:
    with sole_worker(opened.workplace):
        labkit("--lab", opened.folder, "submit", oxide)
    program, environment = command
    done = subprocess.run(
        [*program, "--lab", str(opened.folder), "worker", "--idle", "0.3", "--slots", "2"],
        env={**environment, "LABKIT_TOOLS": "inside"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("worker ")
    assert "ended" in done.stdout
    assert done.stdout.endswith("nothing left to do\n")
    assert opened.run(1).state == "COMPLETED"


def test_a_job_that_is_waited_for_is_shown_like_a_run(labkit: Labkit, opened: Lab, oxide: Path) -> None:
    said = labkit("--lab", opened.folder, "submit", oxide, "--lot", "L1", "--wait", "--json")
    assert (said.status, said.err) == (0, "")
    assert (said.document["state"], said.document["lot"]) == ("COMPLETED", "L1")
    assert 90.0 < said.document["measured"]["thickness_mean_nm"] < 110.0


def test_a_job_that_is_waited_for_and_refused_has_the_status_of_a_refused_run(
    labkit: Labkit, opened: Lab, nitride: Path
) -> None:
    said = labkit("--lab", opened.folder, "submit", nitride, "--wait", "--json")
    assert said.status == 3
    assert said.document["state"] == "BLOCKED"


def test_a_template_is_kept_handed_in_and_forgotten(labkit: Labkit, unmanned: Path, oxide: Path) -> None:
    kept = labkit("--lab", unmanned, "template", "save", "nightly", oxide, "--tool", "TUBE", "--priority", "4")
    assert (kept.status, kept.err) == (0, "")
    (listed,) = labkit("--lab", unmanned, "template", "list", "--json").document
    assert (listed["name"], listed["tool"], listed["terms"]) == ("nightly", "TUBE", "priority=4")
    assert "nightly" in labkit("--lab", unmanned, "template", "list").out
    made = labkit("--lab", unmanned, "template", "submit", "nightly", "--lot", "L3", "--json")
    assert (made.status, made.document["number"]) == (0, 1)
    (job,) = labkit("--lab", unmanned, "jobs", "--json").document
    assert job["priority"] == 4
    assert labkit("--lab", unmanned, "template", "delete", "nightly").status == 0
    assert labkit("--lab", unmanned, "template", "list", "--json").document == []


def test_a_schedule_is_added_rests_and_is_removed(labkit: Labkit, unmanned: Path, oxide: Path) -> None:
    labkit("--lab", unmanned, "template", "save", "nightly", oxide)
    where = ("--timezone", "Europe/Berlin", "--lot", "N-{date}")
    added = labkit("--lab", unmanned, "schedule", "add", "every night", "0 2 * * *", "nightly", *where, "--json")
    assert added.status == 0
    assert "T02:00:00+0" in added.document["next"]
    assert "used by schedule" in labkit("--lab", unmanned, "template", "delete", "nightly").complaint
    (listed,) = labkit("--lab", unmanned, "schedule", "list", "--json").document
    assert (listed["name"], listed["enabled"], listed["next"]) == ("every night", True, added.document["next"])
    assert "02:00" in labkit("--lab", unmanned, "schedule", "list").out
    assert labkit("--lab", unmanned, "schedule", "disable", "every night").status == 0
    (listed,) = labkit("--lab", unmanned, "schedule", "list", "--json").document
    assert (listed["enabled"], listed["next"]) == (False, None)
    assert labkit("--lab", unmanned, "schedule", "enable", "every night").status == 0
    assert labkit("--lab", unmanned, "schedule", "remove", "every night").status == 0
    assert labkit("--lab", unmanned, "schedule", "list", "--json").document == []
