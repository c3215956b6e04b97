"""Opening and closing a lab, and looking at its objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import labkit
from labkit.core.errors import LabkitError, NotFound, StoreError
from labkit.core.recipe import Recipe
from labkit.lab import Lab, Run

from .conftest import ANNA


def test_a_lab_is_made_on_first_use_and_found_again(tmp_path: Path, oxide: Recipe) -> None:
    with pytest.raises(NotFound, match="no lab in"):
        labkit.open(tmp_path / "lab", create=False)
    with labkit.open(tmp_path / "lab", principal=ANNA) as lab:
        lab.save_recipe(oxide)
    with labkit.open(str(tmp_path / "lab"), create=False) as again:
        assert [row["author"] for row in again.recipes()] == ["anna"]
        assert again.recipe(oxide.name) == oxide


@pytest.mark.parametrize("name", ["", "a b", "ünï", "[x]"])
def test_a_lab_may_have_any_ordinary_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with labkit.open(name) as lab:
        assert lab.counts() == {"runs": 0, "recipes": 0, "tools": 0, "quarantined": 0}


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "~nobody-has-it/lab"])
def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="cannot be a lab") as refused:
        labkit.open(name)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_lab_says_so_and_closing_twice_is_no_error(tmp_path: Path, oxide: Recipe) -> None:
    lab = labkit.open(tmp_path / "lab")
    lab.close()
    lab.close()
    for call in (
        lab.runs,
        lab.counts,
        lambda: lab.execute(oxide),
        lambda: lab.add_tool("T", "cvd"),
        lambda: lab.run(1),
    ):
        with pytest.raises(LabkitError, match=r"is closed\. Fix: open it again"):
            call()
    assert str(tmp_path) in repr(lab)
    assert list((tmp_path / "lab" / "locks").iterdir()) == []


@contextmanager
def _nothing_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("something was read")

    with monkeypatch.context() as patch:
        catalogue = type(lab._place.catalogue)
        for name in ("read", "begin"):
            patch.setattr(catalogue, name, refuse)
        patch.setattr(type(lab._place.folders), "open", refuse)
        yield


def test_showing_an_object_is_short_and_reads_and_computes_nothing(
    filled: tuple[Lab, list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, runs = filled
    shown = [
        lab,
        *runs,
        lab.runs(),
        lab.recipes(),
        lab.tools(),
        lab.processes(),
        lab.suggestions(),
        lab.quarantine(),
        lab.limits("cvd"),
        runs[0].prediction,
        runs[0].judgement,
        runs[0].recipe,
        runs[0].transitions,
        runs[3].violations,
        lab.tool("TUBE"),
    ]
    with _nothing_read(lab, monkeypatch):
        for thing in shown:
            assert 0 < len(repr(thing)) < 5000, type(thing)
            if hasattr(thing, "_repr_html_"):
                assert 0 < len(thing._repr_html_()) < 20_000


def test_html_shows_names_as_text(lab: Lab, oxide: Recipe) -> None:
    run = lab.execute(oxide.changed({"name": "<script>alert(1)</script>"}), tool="TUBE", lot="<b>", progress=False)
    for thing in (run, lab.runs(), lab):
        assert "<script>" not in thing._repr_html_()
        assert "<b>" not in thing._repr_html_().replace("<b>lab</b>", "")


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 81, "\ud800", "\x1b[2J"])
def test_a_tool_needs_a_name_that_prints(lab: Lab, name: str) -> None:
    with pytest.raises(LabkitError, match=r"cannot be a name\. Allowed: 1 to 80 printable characters"):
        lab.add_tool(name, "cvd")
    assert len(lab.tools()) == 1


@pytest.mark.parametrize("name", ["../../out", "/tmp/out", "TUBE/1", "C:\\tube", "röhre 1"])
def test_a_tool_writes_nothing_outside_its_lab_whatever_its_name(lab: Lab, name: str) -> None:
    lab.add_tool(name, "cvd").clear_faults()
    written = [path for path in (lab.folder / "tools").iterdir() if (path / "tool.json").exists()]
    assert len(written) == 2
    assert [path.name for path in lab.folder.parent.iterdir()] == ["lab"]


def test_unknown_things_are_refused_with_what_there_is(lab: Lab, oxide: Recipe) -> None:
    for call, words in (
        (lambda: lab.tool("X"), "TUBE"),
        (lambda: lab.process("alchemy"), "cvd, lithography"),
        (lambda: lab.run(7), "no run"),
        (lambda: lab.recipe("none"), "none"),
        (lambda: lab.set_tool_state("TUBE", "broken"), "unscheduled_down"),
        (lambda: lab.runs(colour="x"), "lot"),
        (lambda: lab.runs(sort="colour"), "newest"),
        (lambda: lab.sweep(oxide, {}), "at least one recipe path"),
        (lambda: lab.sweep(oxide, {"nope": [1.0]}), "nope"),
        (lambda: lab.execute(oxide, tool="X"), "TUBE"),
    ):
        with pytest.raises(LabkitError) as refused:
            call()
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
