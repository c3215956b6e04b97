"""Tables in narrow terminals: no word is broken, verdicts stay, and what is left out is named."""

from __future__ import annotations

import pytest

from labkit.cli.output import table

COLUMNS = ("run", "started", "recipe", "tool", "lot", "state", "verdict", "origin")
RUN = ("17", "2026-11-20 22:03:11", "LPCVD SiO2 - 100nm", "TUBE-OXIDE-1", "LOT-2026-117", "ENGINEER_REVIEW")
ROW = (*RUN, "anomaly", "simulated")


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 45])
def test_no_word_is_broken_and_no_line_is_too_long(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table("runs", COLUMNS, [ROW] * 3, right=("run",))
    printed, _, said = capsys.readouterr().out.partition("not shown")
    lines = printed.splitlines()
    assert max(map(len, lines)) <= width
    (head,) = [line.split() for line in lines if line.startswith(" run ")]
    words = {word for cell in ROW for word in cell.split()}
    found = [line for line in lines if "ENGINEER_REVIEW" in line]
    assert len(found) == 3, "one line for each run"
    assert all(word in words or word.endswith("…") for line in found for word in line.split())
    left_out = said.replace("\n", " ").partition(":")[2]
    assert set(head) | {word.strip(" ,") for word in left_out.split()} == set(COLUMNS)


@pytest.mark.parametrize("width", [80, 60])
def test_state_and_verdict_are_the_last_to_go(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table("runs", COLUMNS, [ROW])
    printed = capsys.readouterr().out
    assert "ENGINEER_REVIEW" in printed
    assert "anomaly" in printed
    assert "not shown" in printed


def test_sentences_wrap_between_words_and_lose_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    advice = "pip install labkit with the extra for tools and then look here again"
    table("doctor", ("what", "status", "to mend it"), [("secsgem", "missing", advice)])
    printed = capsys.readouterr().out
    assert [word for word in printed.split() if word in advice.split()] == advice.split()


def test_a_pipe_gets_everything(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table("runs", (*COLUMNS, "note"), [(*ROW, "x" * 300)])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "2026" in line]
    assert line.split() == [*" ".join(ROW).split(), "x" * 300]
