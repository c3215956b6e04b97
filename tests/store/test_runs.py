"""Runs move by compare-and-swap, leave a trace, and get their folder once."""

from __future__ import annotations

import threading

import pytest

from labkit.core.errors import IllegalTransition, NotFound, StoreError
from labkit.store import runs
from labkit.store.catalogue import Catalogue


def _run(catalogue: Catalogue, **columns: object) -> str:
    with catalogue.begin() as tx:
        return str(runs.create(tx, **{"process": "cvd", "state": "queued", "origin": "simulated", **columns})["id"])


def test_a_run_is_found_by_id_and_by_number(either: Catalogue) -> None:
    first, second = _run(either), _run(either)
    with either.read() as tx:
        assert runs.get(tx, first)["operator"] == "anna"
        assert runs.get(tx, runs.get(tx, second)["seq"])["id"] == second
        with pytest.raises(NotFound, match="no run 'R0'"):
            runs.get(tx, "R0")
    assert first < second


def test_identifiers_sort_by_the_time_they_were_made(catalogue: Catalogue) -> None:
    from labkit.store.identifiers import new_id

    made = [new_id() for _ in range(2_000)]
    assert made == sorted(made)
    assert len(set(made)) == 2_000


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 65, ".hidden", "a\x00b", "ü"])
def test_an_identifier_that_could_leave_the_folder_is_refused(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(StoreError, match="cannot identify a run"):
        _run(catalogue, id=name)


def test_a_move_leaves_who_when_and_why(either: Catalogue) -> None:
    run = _run(either)
    with either.begin() as tx:
        runs.move(tx, run, "running", expected=("queued", "waiting"), reason="tool free", step="heating")
    with either.read() as tx:
        found = runs.history(tx, run)
        assert runs.get(tx, run)["step"] == "heating"
    assert [(row["origin"], row["target"], row["by"], row["reason"]) for row in found] == [
        (None, "queued", "anna", None),
        ("queued", "running", "anna", "tool free"),
    ]
    assert found[0]["at"] <= found[1]["at"]


def test_a_move_from_another_state_is_refused_and_leaves_no_trace(either: Catalogue) -> None:
    run = _run(either)
    with either.begin() as tx, pytest.raises(IllegalTransition, match="is queued"):
        runs.move(tx, run, "completed", expected="running")
    with either.read() as tx:
        assert len(runs.history(tx, run)) == 1
        assert runs.get(tx, run)["state"] == "queued"


def test_of_two_who_move_the_same_run_one_wins(either: Catalogue) -> None:
    run, outcomes, start = _run(either), [], threading.Barrier(2)

    def take() -> None:
        start.wait()
        try:
            with either.begin() as tx:
                runs.move(tx, run, "running", expected="queued")
            outcomes.append("won")
        except IllegalTransition:
            outcomes.append("lost")

    workers = [threading.Thread(target=take) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(outcomes) == ["lost", "won"]


def test_a_state_cannot_be_changed_behind_the_transitions_back(catalogue: Catalogue) -> None:
    run = _run(catalogue)
    with catalogue.begin() as tx, pytest.raises(StoreError, match=r"runs\.move"):
        runs.update(tx, run, state="completed")


def test_attempts_count_from_one_and_keep_their_times(either: Catalogue) -> None:
    run = _run(either)
    with either.begin() as tx:
        assert runs.start_attempt(tx, run, state="queued", worker="w1") == 1
        runs.move_attempt(tx, run, 1, "running")
        runs.move_attempt(tx, run, 1, "failed", error_code="tool", error_message="door open")
        assert runs.start_attempt(tx, run) == 2
    with either.read() as tx:
        first, second = runs.attempts(tx, run)
    assert first["queued"] <= first["started"] <= first["ended"]
    assert (first["state"], first["error_message"]) == ("failed", "door open")
    assert second["ended"] is None
    with either.begin() as tx, pytest.raises(StoreError):
        runs.move_attempt(tx, run, 2, "exploded")


def test_results_are_replaced_as_a_whole(either: Catalogue) -> None:
    run = _run(either)
    with either.begin() as tx:
        runs.record_results(
            tx,
            run,
            [
                {"name": "t", "value": 100.5, "expected": 100.0, "residual": 0.005, "units": "nm"},
                {"name": "u", "value": float("nan")},
            ],
        )
    with either.begin() as tx:
        assert runs.results(tx, run)["t"] == {"value": 100.5, "expected": 100.0, "residual": 0.005, "units": "nm"}
        assert runs.results(tx, run)["u"]["value"] is None
        runs.record_results(tx, run, [{"name": "t", "value": 99.0}])
        assert {name: row["value"] for name, row in runs.results(tx, run).items()} == {"t": 99.0}
        assert runs.results_of(tx, [runs.get(tx, run)]) == {run: {"t": 99.0}}


def test_broken_limits_are_kept_with_open_ends(either: Catalogue) -> None:
    run = _run(either)
    with either.begin() as tx:
        runs.record_violations(
            tx,
            run,
            [
                {
                    "quantity": "pressure",
                    "severity": "hard",
                    "value": 3.0,
                    "low": float("-inf"),
                    "high": 2.0,
                    "units": "torr",
                    "stage": "preflight",
                }
            ],
        )
        (found,) = runs.violations(tx, run)
    assert (found["low"], found["high"], found["value"]) == (None, 2.0, 3.0)


def test_a_finished_run_keeps_its_first_folder(either: Catalogue) -> None:
    run = _run(either)
    with either.begin() as tx:
        runs.commit_folder(tx, run, "runs/a", "c1", verdict="pass")
        runs.commit_folder(tx, run, "runs/a", "c1")
    with either.begin() as tx, pytest.raises(StoreError, match="already has its folder"):
        runs.commit_folder(tx, run, "runs/a", "c2")
    with either.read() as tx:
        assert runs.get(tx, run)["verdict"] == "pass"


def test_progress_stays_between_nothing_and_everything(catalogue: Catalogue) -> None:
    run = _run(catalogue)
    for given, kept in ((-5.0, 0.0), (42.5, 42.5), (130.0, 100.0)):
        with catalogue.begin(durable=False) as tx:
            runs.progress(tx, run, given, "depositing")
        with catalogue.read() as tx:
            assert runs.get(tx, run)["progress"] == kept


def test_the_last_run_of_a_tool_is_the_newest_of_that_process(catalogue: Catalogue) -> None:
    _run(catalogue, tool="T1")
    newest = _run(catalogue, tool="T1")
    _run(catalogue, tool="T2")
    _run(catalogue, tool="T1", process="lithography")
    with catalogue.read() as tx:
        found = runs.last(tx, tool="T1", process="cvd")
        assert found is not None
        assert found["id"] == newest
        assert runs.last(tx, tool="T9", process="cvd") is None
