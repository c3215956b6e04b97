"""Whatever is typed at a lab's records is answered, or refused in one line that says what to type."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.core.errors import LabkitError
from labkit.lab import Lab, Run

ODDITIES: tuple[Any, ...] = (
    None, "abc", "", b"x", 5, -1, 0, 1.5, float("nan"), float("inf"), True, 10**30, object(), int, lambda: 1,
    [], [1], [None], [["a"]], [{}], ("a", "b"), {"a"}, range(3), {}, {"a": 1}, {"a": (1, 2, 3)}, {1: (1, 2)},
    {"a": ("x", "y")}, {"a": (None, None)}, {"a": (105, 95)}, {"a": (float("nan"), 1)}, {"a": (10**400, None)},
    datetime.datetime(2025, 1, 1), datetime.date(2025, 1, 1), "2025-01-01T00:00:00+00:00",
    datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=10))),
    np.int64(3), np.float64(1.0), np.array([1, 2]), pd.Timestamp("2025-01-01"), pd.NaT, pd.NA, pd.Series(["a"]),
    "\x00", "two\nlines", "\ud800", "x" * 10_000, Path("x"), Path("."), "/", "/nowhere/at/all",
)  # fmt: skip
FILTERS = (
    "state", "verdict", "process", "tool", "lot", "product", "operator", "recipe_name", "recipe_hash", "origin",
    "qualified", "parent_id", "wafer", "created_after", "created_before", "results", "sort", "limit", "after",
)  # fmt: skip


def _ask(question: Callable[[], Any]) -> str | None:
    """What a refusal says; None if there is an answer. Anything but a refusal fails the test."""
    try:
        question()
    except LabkitError as refusal:
        said = str(refusal)
        assert "\n" not in said
        assert len(said) < 1000
        assert refusal.allowed or refusal.fix
        said.encode()
        return said
    return None


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_answers_or_refuses_in_one_line(filled: tuple[Lab, list[Run]], name: str) -> None:
    lab, _ = filled
    for value in (*ODDITIES, filled[1][0], filled[1][0].recipe):
        _ask(lambda value=value: lab.runs(**{name: value}))  # type: ignore[misc]
    if name not in ("limit", "sort"):
        assert _ask(lambda: lab.runs(**{name: None})) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"results": "abc"}, r"results = 'abc'.*results=\{\"thickness_mean_nm\": \(95, 105\)\}"),
        ({"results": {"thickness_mean_nm": (105, 95)}}, "is no range.*low ≤ high"),
        ({"limit": "x"}, "limit = 'x'.*a whole number, 1 to 1000"),
        ({"limit": True}, "limit = True"),
        ({"created_after": 5}, "created_after = 5 is not a time.*2025-01-31T12:00:00"),
        ({"created_before": datetime.date(2025, 1, 1)}, "created_before = datetime.date"),
        ({"after": 5}, "cursor"),
        ({"sort": ["newest"]}, "cannot be sorted by"),
        ({"qualified": "yes"}, "True or False"),
        ({"tool": 1.5}, "tool = 1.5 is no name.*text, or several"),
        ({"state": 5}, "no state 5.*COMPLETED"),
        ({"verdict": ["pass", "good"]}, "no verdict 'good'.*anomaly"),
        ({"colour": "red"}, "cannot be filtered by colour"),
    ],
)
def test_a_wrong_filter_is_named_with_what_is_allowed(
    filled: tuple[Lab, list[Run]], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(LabkitError, match=message):
        filled[0].runs(**arguments)


def test_a_filter_takes_any_collection_of_values(filled: tuple[Lab, list[Run]]) -> None:
    lab, _ = filled
    wanted = [run["seq"] for run in lab.runs(state=["COMPLETED"])]
    assert wanted
    values: list[Any] = ["COMPLETED", {"COMPLETED"}, np.array(["COMPLETED"]), iter(["COMPLETED"])]
    for value in values:
        assert [run["seq"] for run in lab.runs(state=value)] == wanted
    assert len(lab.runs(limit=np.int64(2))) == 2
    assert len(lab.runs(state=iter([]))) == 0


@pytest.mark.parametrize("method", ["run", "why", "wafer", "sql"])
def test_every_look_up_answers_or_refuses_in_one_line(filled: tuple[Lab, list[Run]], method: str) -> None:
    for value in ODDITIES if method != "sql" else ODDITIES[:-5]:
        _ask(lambda value=value: getattr(filled[0], method)(value))  # type: ignore[misc]


def test_a_run_that_is_not_there_says_where_to_look(filled: tuple[Lab, list[Run]]) -> None:
    for missing in (999, "abc", np.int64(999)):
        assert "Fix: lab.runs() lists what there is" in str(_ask(lambda missing=missing: filled[0].run(missing)))  # type: ignore[misc]
    assert filled[0].run(np.int64(1)).id == filled[1][0].id


def test_channels_answer_or_refuse_in_one_line(filled: tuple[Lab, list[Run]]) -> None:
    lab, _ = filled
    for value in ODDITIES:
        _ask(lambda value=value: lab.channel(value, [1]))  # type: ignore[misc]
        _ask(lambda value=value: lab.channel("chamber_pressure_torr", value))  # type: ignore[misc]
        _ask(lambda value=value: lab.channel("chamber_pressure_torr", [value]))  # type: ignore[misc]
    assert "give a list" in str(_ask(lambda: lab.channel("chamber_pressure_torr", 1)))  # type: ignore[arg-type]


def test_a_backup_goes_to_a_file_or_is_refused(filled: tuple[Lab, list[Run]], tmp_path: Path) -> None:
    for value in (v for v in ODDITIES if not isinstance(v, str | Path)):
        assert _ask(lambda value=value: filled[0].backup(value))  # type: ignore[misc]
    for name in ("", "\x00", "\ud800", "x" * 10_000, "/", str(tmp_path)):
        assert _ask(lambda name=name: filled[0].backup(name))  # type: ignore[misc]


def test_a_listing_is_a_sequence_and_says_what_it_has(filled: tuple[Lab, list[Run]]) -> None:
    runs = filled[0].runs()
    for value in (None, "state", 99, -99, 1.5, object(), [1], {}, np.array([1, 2]), 10**30):
        assert _ask(lambda value=value: runs[value])  # type: ignore[misc]
    with pytest.raises(IndexError):
        runs[99]
    assert "to_pandas()['state'] gives a column" in str(_ask(lambda: runs["state"]))
    assert [row["seq"] for row in reversed(runs)] == [1, 2, 3, 4]
    assert runs[-1]["seq"] == 1
    assert len(runs[:2]) == 2


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILTERS), value=anything)
def test_no_value_gets_through_unasked(filled: tuple[Lab, list[Run]], name: str, value: Any) -> None:
    _ask(lambda: filled[0].runs(**{name: value}))


@pytest.fixture(autouse=True)
def _nothing_written(filled: tuple[Lab, list[Run]]) -> Iterator[None]:
    """No question changes a lab."""
    before = filled[0].counts()
    yield
    assert filled[0].counts() == before
