"""What people get wrong: one line on standard error that says so, a status, and never a traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Labkit

OTHER = "no lab here"


def _document(oxide: Path, **changes: Any) -> bytes:
    return json.dumps({**json.loads(oxide.read_text(encoding="utf-8")), **changes}).encode()


FILES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "no JSON": (lambda oxide: b"thickness: 100", "not JSON at line 1, column 1"),
    "binary": (lambda oxide: bytes(range(256)) * 8, "not UTF-8"),
    "empty": (lambda oxide: b"", "not JSON"),
    "UTF-16": (lambda oxide: oxide.read_text(encoding="utf-8").encode("utf-16"), "not UTF-8"),
    "a list": (lambda oxide: b"[1, 2]", "a recipe is a JSON object"),
    "cut off": (lambda oxide: oxide.read_bytes()[:200], "not JSON at line"),
    "a huge file": (lambda oxide: b" " * 5_000_000, "more than 4000000 characters"),
    "deep": (lambda oxide: b"[" * 100_000, "nested too deeply"),
    "an unknown process": (
        lambda oxide: _document(oxide, process="alchemy"),
        "'alchemy', which is not installed. Allowed: cvd, lithography",
    ),
    "no process at all": (lambda oxide: b"{}", "no process recognises this recipe"),
    "a field too many": (lambda oxide: _document(oxide, presure=1), "presure = 1: allowed no such field"),
    "a field with a line break": (lambda oxide: _document(oxide, **{"a\nb": 1}), "a b = 1"),
    "text for a number": (lambda oxide: _document(oxide, thickness_target_nm="thick"), "thickness_target_nm = 'thick'"),
    "a number in quotes": (
        lambda oxide: _document(oxide, thickness_target_nm="100"),
        "thickness_target_nm = '100': allowed a number",
    ),
    "true for a number": (
        lambda oxide: _document(oxide, thickness_target_nm=True),
        "thickness_target_nm = True: allowed a number",
    ),
    "a number out of range": (
        lambda oxide: _document(oxide, safety_hazard_level=6),
        "safety_hazard_level = 6: allowed at most 5",
    ),
    "an overflow": (lambda oxide: oxide.read_bytes().replace(b"100.0", b"1e999"), "thickness_target_nm = inf"),
    "not a number": (lambda oxide: oxide.read_bytes().replace(b"100.0", b"NaN"), "NaN is not a number"),
    "a key twice": (
        lambda oxide: oxide.read_bytes().replace(b'"version": 1', b'"version": 1, "version": 2'),
        "'version' stands twice",
    ),
    "a name with control codes": (lambda oxide: _document(oxide, name="a\x1b[2J"), "name = 'a\\x1b[2J'"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_recipe_is_refused_by_name(
    labkit: Labkit, lab: Path, tmp_path: Path, oxide: Path, kind: str
) -> None:
    content, words = FILES[kind]
    path = tmp_path / "my recipe ü.json"
    path.write_bytes(content(oxide))
    said = labkit("--lab", lab, "run", path)
    assert words in said.complaint
    assert said.status == 1
    assert labkit("--lab", lab, "runs", "--json").document["runs"][0]["seq"] == 2, "nothing was recorded"


def test_a_missing_file_a_folder_and_an_endless_file_are_refused(labkit: Labkit, tmp_path: Path) -> None:
    assert "No such file" in labkit("run", tmp_path / "none.json").complaint
    assert "Is a directory" in labkit("run", tmp_path).complaint
    assert "more than 4000000" in labkit("run", "/dev/zero").complaint
    assert not (tmp_path / "mylab").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "99"), "no run"),
        (("show", "0"), "no run"),
        (("show", "nope"), "no run 'nope'"),
        (("show", "²"), "no run"),
        (("show", "9" * 30), "no run"),
        (("show", "-1"), "No such option"),
        (("show", ""), "no run"),
        (("show",), "Missing argument"),
        (("show", "1", "2"), "unexpected extra argument"),
        (("shwo", "1"), "No such command"),
        (("runs", "--sate", "x"), "No such option"),
        (("runs", "--state", "DONE"), "'completed'"),
        (("runs", "--verdict", "good"), "'anomaly'"),
        (("runs", "--sort", "colour"), "newest"),
        (("runs", "--limit", "0"), "range"),
        (("runs", "--limit", "1001"), "range"),
        (("runs", "--limit", "many"), "integer"),
        (("bench", "nope"), "no benchmark suite"),
        (("bench", "../tests"), "no benchmark suite"),
        (("restore", "none.backup", "new"), "no archive"),
        (("demo", "--batches", "3"), "range"),
        (("demo", "--seed", "-1"), "range"),
    ],
)
def test_a_wrong_word_is_refused_with_what_is_allowed(
    labkit: Labkit, lab: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert words in labkit("--lab", lab, *arguments).complaint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tool", "nope"), "no tool 'nope'"),
        (("--tool", "SIM-lithography-none"), "Allowed: SIM-cvd"),
        (("--lot", "\x1b[2J"), "cannot be a name"),
        (("--lot", "L" * 10_000), "cannot be a name"),
        (("--lot", ""), "cannot be a name"),
        (("--product", "\udcff"), "cannot be a name"),
    ],
)
def test_a_run_with_a_wrong_word_is_not_started(
    labkit: Labkit, lab: Path, oxide: Path, options: tuple[str, ...], words: str
) -> None:
    assert words in labkit("--lab", lab, "run", oxide, *options).complaint
    assert labkit("--lab", lab, "runs", "--json").document["runs"][0]["seq"] == 2


def test_two_fitting_tools_must_be_told_apart(labkit: Labkit, tmp_path: Path, oxide: Path) -> None:
    import labkit as package

    with package.open(tmp_path / "lab") as two:
        two.add_tool("TUBE-1", "cvd")
        two.add_tool("TUBE-2", "cvd")
    said = labkit("--lab", tmp_path / "lab", "run", oxide)
    assert "2 tools run cvd. Allowed: TUBE-1, TUBE-2. Fix: say which" in said.complaint
    assert labkit("--lab", tmp_path / "lab", "run", oxide, "--tool", "TUBE-2", "--json").status == 0


def test_a_recipe_on_a_tool_of_another_process_is_rejected(labkit: Labkit, tmp_path: Path, oxide: Path) -> None:
    import labkit as package

    with package.open(tmp_path / "lab") as lab:
        lab.add_tool("SCANNER", "lithography")
    said = labkit("--lab", tmp_path / "lab", "run", oxide, "--tool", "SCANNER", "--json")
    assert (said.status, said.document["state"]) == (3, "REJECTED")
    assert "SCANNER is a lithography tool" in said.document["error_message"]


@pytest.mark.parametrize("where", ["a file", "below a file", "other files", "too long", "nobody's home", "nothing"])
@pytest.mark.parametrize("command", [("runs",), ("show", "1"), ("backup", "b")])
def test_a_folder_that_is_no_lab_is_refused_and_left_alone(
    labkit: Labkit, tmp_path: Path, where: str, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine", encoding="utf-8")
    folder = {
        "a file": "file",
        "below a file": "file/lab",
        "other files": "other",
        "too long": "x" * 5000,
        "nobody's home": "~nobody-has-it/lab",
        "nothing": "nothing",
    }[where]
    labkit("--lab", folder, *command).complaint  # noqa: B018
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]
    assert os.listdir(tmp_path / "other") == ["file"]


@pytest.mark.parametrize("folder", ["file", "file/lab", "other"])
def test_a_lab_is_not_made_where_something_else_is(labkit: Labkit, tmp_path: Path, oxide: Path, folder: str) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine", encoding="utf-8")
    for command in (("--lab", folder, "run", oxide), ("demo", "--folder", folder, "--no-report")):
        labkit(*command).complaint  # noqa: B018
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
    assert os.listdir(tmp_path / "other") == ["file"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("colour = 'blue'", "colour"),
        ("this is not TOML", "labkit.toml cannot be read"),
        ("prediction_level = 2", "prediction_level"),
        ("database_url = 'mysql://x/y'", "catalogue URL of kind 'mysql'"),
        ("database_url = 5", "database_url"),
    ],
)
def test_wrong_settings_are_named(labkit: Labkit, tmp_path: Path, settings: str, words: str) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "labkit.toml").write_text(settings, encoding="utf-8")
    assert words in labkit("--lab", tmp_path / "lab", "runs").complaint


def test_a_catalogue_that_is_no_database_is_refused(labkit: Labkit, tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "labkit.toml").write_text("", encoding="utf-8")
    (tmp_path / "lab" / "catalogue.db").write_bytes(b"not a database at all" * 100)
    assert "is not a labkit catalogue" in labkit("--lab", tmp_path / "lab", "runs").complaint


def test_archives_are_neither_overwritten_nor_unpacked_over_something(
    labkit: Labkit, lab: Path, tmp_path: Path
) -> None:
    assert labkit("--lab", lab, "backup", tmp_path / "b").status == 0
    assert "exists" in labkit("--lab", lab, "backup", tmp_path / "b").complaint
    assert "exists" in labkit("--lab", lab, "backup", tmp_path).complaint
    assert "cannot be written" in labkit("--lab", lab, "backup", tmp_path / "none" / "b").complaint
    assert "not empty" in labkit("restore", tmp_path / "b", tmp_path).complaint
    for name, content in (("empty", b""), ("text", b"hello"), ("cut", (tmp_path / "b").read_bytes()[:1000])):
        (tmp_path / name).write_bytes(content)
        assert "cannot be read as a backup" in labkit("restore", tmp_path / name, tmp_path / "new").complaint
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nope",), "no pipeline 'nope'"),
        (("batch_report", "-p", "colour", "blue"), "no parameter 'colour'"),
        (("batch_report", "-p", "max_runs", "many"), "max_runs = 'many' is not of type int"),
        (("batch_report", "-p", "tool"), "requires 2 arguments"),
        (("../x.ipynb",), "no pipeline"),
    ],
)
def test_a_pipeline_that_cannot_run_says_why(labkit: Labkit, lab: Path, arguments: tuple[str, ...], words: str) -> None:
    pytest.importorskip("papermill", reason="the extra 'lab' is not installed")
    assert words in labkit("--lab", lab, "pipeline", *arguments).complaint


def test_a_pipeline_without_a_lab_leaves_no_folder_in_its_place(labkit: Labkit, tmp_path: Path, oxide: Path) -> None:
    pytest.importorskip("papermill", reason="the extra 'lab' is not installed")
    assert "no lab in" in labkit("--lab", "new", "pipeline", "batch_report").complaint
    assert not (tmp_path / "new").exists()
    assert labkit("--lab", "new", "run", oxide, "--json").status == 0
