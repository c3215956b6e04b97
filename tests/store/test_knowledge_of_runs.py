"""Passports, baselines, training rows, suggestions, chart states, profiles and sweep chunks."""

from __future__ import annotations

import pytest

from labkit.core.errors import NotFound, PermissionDenied, StoreError
from labkit.core.identity import Principal, Role
from labkit.store import learning, passport, runs, sweeps
from labkit.store.catalogue import Catalogue


def _run(catalogue: Catalogue, **columns: object) -> str:
    with catalogue.begin() as tx:
        return str(
            runs.create(tx, **{"process": "cvd", "state": "completed", "origin": "simulated", "tool": "T1", **columns})[
                "id"
            ]
        )


def test_a_wafer_remembers_every_run_it_went_through(either: Catalogue) -> None:
    first, second = _run(either, lot="L1", product="P"), _run(either, process="lithography", lot="L1")
    with either.begin() as tx:
        passport.place(tx, first, {"W1": 1, "W2": 2})
        passport.place(tx, second, {"W1": 7})
        passport.set_state(tx, "W1", second)
        found = passport.wafer(tx, "W1")
        assert [(row["id"], row["slot"]) for row in found["runs"]] == [(first, 1), (second, 7)]
        assert (found["lot"], found["product"], found["state_run"]) == ("L1", "P", second)
        assert passport.wafers_of(tx, first) == {"W1": 1, "W2": 2}


def test_a_wafer_belongs_to_one_lot_and_a_slot_to_one_wafer(catalogue: Catalogue) -> None:
    first, second = _run(catalogue, lot="L1"), _run(catalogue, lot="L2")
    with catalogue.begin() as tx:
        passport.place(tx, first, {"W1": 1})
        with pytest.raises(StoreError, match="belongs to lot 'L1'"):
            passport.place(tx, second, {"W1": 1})
        with pytest.raises(StoreError, match="same slot"):
            passport.place(tx, first, {"W3": 4, "W4": 4})
        with pytest.raises(NotFound):
            passport.wafer(tx, "W9")


def test_the_newest_baseline_is_in_force(either: Catalogue) -> None:
    with either.begin() as tx:
        assert learning.baseline(tx, tool="T1", process="cvd", family="oxide") is None
        learning.freeze_baseline(tx, tool="T1", process="cvd", family="oxide", document={"mean": 1.0})
        later = learning.freeze_baseline(tx, tool="T1", process="cvd", family="oxide", document={"mean": 2.0})
        learning.freeze_baseline(tx, tool="T2", process="cvd", family="oxide", document={"mean": 3.0})
    with either.read() as tx:
        found = learning.baseline(tx, tool="T1", process="cvd", family="oxide")
    assert found is not None
    assert (found["id"], found["document"]) == (later, {"mean": 2.0})


def test_simulated_rows_never_slip_into_what_a_real_tool_learns(either: Catalogue) -> None:
    for origin in ("simulated", "real", "imported"):
        run = _run(either, origin=origin)
        with either.begin() as tx:
            learning.add_training_row(tx, run, family="oxide", inputs={"t": 1.0}, outputs={"d": origin})
    with either.read() as tx:
        found = learning.training_rows(tx, process="cvd", origins=["real"])
        assert [row["outputs"]["d"] for row in found] == ["real"]
        with pytest.raises(StoreError, match="not given"):
            learning.training_rows(tx, process="cvd", origins=[])
        with pytest.raises(StoreError, match="simulated, real, imported"):
            learning.training_rows(tx, process="cvd", origins=["dreamt"])


def test_an_excluded_row_says_why_and_stays_out(either: Catalogue) -> None:
    kept, left = _run(either), _run(either)
    with either.begin() as tx:
        for run in (kept, left):
            learning.add_training_row(tx, run, family="oxide", inputs={}, outputs={})
        with pytest.raises(StoreError, match="without a reason"):
            learning.add_training_row(tx, left, family="oxide", inputs={}, outputs={}, excluded=True)
        learning.exclude_training_row(tx, left, "fault found")
        rows = learning.training_rows(tx, process="cvd", origins=["simulated"])
        assert [row["run"] for row in rows] == [kept]
        assert len(learning.training_rows(tx, process="cvd", origins=["simulated"], excluded=True)) == 2


def test_the_newest_rows_come_oldest_first(catalogue: Catalogue) -> None:
    made = [_run(catalogue) for _ in range(4)]
    with catalogue.begin() as tx:
        for run in made:
            learning.add_training_row(tx, run, family="f", inputs={}, outputs={})
        found = learning.training_rows(tx, process="cvd", origins=["simulated"], limit=2)
    assert [row["run"] for row in found] == made[2:]


def test_a_suggestion_is_decided_once(either: Catalogue) -> None:
    with either.begin() as tx:
        one = learning.suggest(tx, kind="r2r", tool="T1", process="cvd", changes={"time_s": 61.0}, reason="drift")
        assert learning.decide(tx, one, approved=True)["decided_by"] == "anna"
        with pytest.raises(StoreError, match="already approved by anna"):
            learning.decide(tx, one, approved=False)
        assert learning.suggestions(tx, status="proposed") == []
        two = learning.suggest(tx, kind="r2r", tool="T1", process="cvd", changes={}, reason="")
    with either.as_principal(Principal("v", "north", Role.VIEWER)).begin() as tx, pytest.raises(PermissionDenied):
        learning.decide(tx, two, approved=True)


def test_chart_states_are_replaced_in_place(either: Catalogue) -> None:
    with either.begin() as tx:
        assert learning.chart_state(tx, "cusum/T1") is None
        learning.keep_chart_state(tx, "cusum/T1", {"high": 0.5})
        learning.keep_chart_state(tx, "cusum/T1", {"high": 0.75})
        assert learning.chart_state(tx, "cusum/T1") == {"high": 0.75}


def test_a_profile_gets_a_version_only_when_it_changes(either: Catalogue) -> None:
    with either.begin() as tx:
        assert learning.keep_profile(tx, "default", process="cvd", document={"p": [0, 1]}) == 1
        assert learning.keep_profile(tx, "default", process="cvd", document={"p": [0, 1]}) == 1
        assert learning.keep_profile(tx, "default", process="cvd", document={"p": [0, 2]}) == 2
        assert learning.profile(tx, "default")["document"] == {"p": [0, 2]}
        assert learning.profile(tx, "default", 1)["document"] == {"p": [0, 1]}
        with pytest.raises(NotFound, match="default"):
            learning.profile(tx, "strict")


def test_a_sweep_restarts_where_its_last_chunk_ended(either: Catalogue) -> None:
    run = _run(either)
    with either.begin() as tx:
        planned = sweeps.plan(tx, run, 25, 10)
        assert [(row["first"], row["count"]) for row in planned] == [(0, 10), (10, 10), (20, 5)]
        assert sweeps.finish(tx, run, 1, artifact="a")
        assert not sweeps.finish(tx, run, 1, artifact="b"), "work done twice counts once"
        sweeps.fail(tx, run, 2, "out of memory")
    with either.begin() as tx:
        sweeps.plan(tx, run, 25, 10)
        assert [row["ordinal"] for row in sweeps.pending(tx, run)] == [0, 2]
        assert sweeps.chunks(tx, run)[1]["artifact"] == "a"
        with pytest.raises(StoreError, match="other points"):
            sweeps.plan(tx, run, 26, 10)
        with pytest.raises(StoreError, match="at least 1"):
            sweeps.plan(tx, run, 0, 10)
