"""Pages of runs hold what the filters say, in the order asked for, each run once, through an index."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from labkit.core.errors import StoreError
from labkit.store import browse, runs, tables
from labkit.store.catalogue import Catalogue, Row

from .conftest import ANNA, MALLORY

START = datetime(2025, 1, 1, tzinfo=UTC)
RUNS = 240
COLUMNS: dict[str, list[Any]] = {
    "state": ["completed", "failed", "running"],
    "verdict": ["pass", "fail", None],
    "process": ["cvd", "lithography"],
    "tool": ["T1", "T2", "T3"],
    "product": ["P1", "P2"],
    "lot": ["L1", "L2", "L3"],
    "operator": ["anna", "bernd"],
    "recipe_name": ["r1", "r2"],
    "recipe_hash": ["h1", "h2", "h3"],
    "origin": ["simulated", "real", "imported"],
    "qualified": [True, False],
    "parent_id": [None, "S1"],
}


def _fill(catalogue: Catalogue) -> list[Row]:
    draw = random.Random(5)
    rows = []
    with catalogue.begin() as tx:
        for at in range(RUNS):
            columns = {name: draw.choice(values) for name, values in COLUMNS.items()}
            columns |= {
                "created": START + timedelta(hours=at),
                "duration_s": draw.choice([None, 60.0, draw.uniform(1, 99)]),
                "cost": draw.uniform(1.0, 9.0),
                "ended": START + timedelta(hours=draw.randrange(RUNS)),
            }
            row = runs.create(tx, **columns)
            value = draw.gauss(100.0, 2.0)
            runs.record_results(
                tx, row["id"], [{"name": "thickness_mean_nm", "value": value}, {"name": "u", "value": draw.random()}]
            )
            tx.insert(tables.run_wafers, {"run_seq": row["seq"], "wafer": f"W{at % 7}", "slot": 1})
            rows.append({**row, "thickness": value, "wafer": f"W{at % 7}"})
    with catalogue.as_principal(MALLORY).begin() as tx:
        runs.create(tx, process="cvd", state="completed", origin="real", tool="T1", created=START, duration_s=1.0)
    return rows


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalogue, list[Row]]]:
    with Catalogue(tmp_path_factory.mktemp("browse") / "catalogue.db", ANNA) as catalogue:
        yield catalogue, _fill(catalogue)


FILTERS: dict[str, dict[str, Any]] = {
    name: {name: values[0]} for name, values in COLUMNS.items() if values[0] is not None
} | {
    "parent_id": {"parent_id": "S1"},
    "state in": {"state": ["failed", "running"]},
    "created": {"created_after": START + timedelta(hours=30), "created_before": START + timedelta(hours=200)},
    "wafer": {"wafer": "W3"},
    "results": {"results": {"thickness_mean_nm": (99.0, 101.0)}},
    "open results": {"results": {"thickness_mean_nm": (None, 100.0), "u": (0.5, None)}},
    "several": {"tool": "T1", "process": "cvd", "results": {"u": (0.1, 0.9)}},
    "nothing": {"tool": "T9"},
    "all": {},
}


def _passes(row: Row, filters: dict[str, Any], results: dict[str, float]) -> bool:
    for name, wanted in filters.items():
        if name == "results":
            if not all(
                (low is None or results[key] >= low) and (high is None or results[key] <= high)
                for key, (low, high) in wanted.items()
            ):
                return False
        elif name == "created_after":
            if row["created"] < wanted:
                return False
        elif name == "created_before":
            if row["created"] >= wanted:
                return False
        elif row[name] not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def _expected(catalogue: Catalogue, rows: list[Row], filters: dict[str, Any], sort: str) -> list[int]:
    with catalogue.read() as tx:
        results = runs.results_of(tx, rows)
    kept = [row for row in rows if _passes(row, filters, results[row["id"]])]
    key = {"newest": "seq", "oldest": "seq"}.get(sort, sort.removeprefix("-"))
    kept = [row for row in kept if row[key] is not None]
    kept.sort(key=lambda row: (row[key], row["seq"]), reverse=sort == "newest" or sort.startswith("-"))
    return [row["seq"] for row in kept]


def _walk(catalogue: Catalogue, filters: dict[str, Any], sort: str, limit: int) -> list[int]:
    found, after = [], None
    with catalogue.read() as tx:
        for _ in range(RUNS + 1):
            page = browse.page(tx, sort=sort, after=after, limit=limit, **filters)
            assert len(page.rows) <= limit
            found += [row["seq"] for row in page.rows]
            after = page.after
            if after is None:
                return found
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("name", FILTERS)
def test_pages_hold_each_matching_run_once_and_in_order(filled: tuple[Catalogue, list[Row]], name: str) -> None:
    catalogue, rows = filled
    for sort in browse.SORTS:
        assert _walk(catalogue, FILTERS[name], sort, 37) == _expected(catalogue, rows, FILTERS[name], sort), sort


@pytest.mark.parametrize("few", [0, 40, 10**9])
def test_pages_are_the_same_whichever_index_leads(
    filled: tuple[Catalogue, list[Row]], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue, rows = filled
    monkeypatch.setattr(browse, "FEW", few)
    for (name, filters), sort in itertools.product(FILTERS.items(), ("newest", "-cost")):
        assert _walk(catalogue, filters, sort, 60) == _expected(catalogue, rows, filters, sort), name


@pytest.mark.parametrize("few", [0, 10**9])
@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_and_sort_goes_through_an_index(
    filled: tuple[Catalogue, list[Row]], name: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "FEW", few)
    for sort in browse.SORTS:
        with filled[0].read() as tx:
            plan = tx.explain(browse.select(tx, sort=sort, **FILTERS[name]).limit(51))
        steps = [line for line in plan if "runs" in line or "results" in line or "run_wafers" in line]
        assert steps
        for step in steps:
            assert step.startswith("SEARCH "), (sort, plan)
            assert "USING " in step, (sort, plan)


def test_postgresql_gives_the_same_pages(postgresql_url: str) -> None:
    with Catalogue(postgresql_url, ANNA) as catalogue:
        rows = _fill(catalogue)
        for (name, filters), sort in itertools.product(FILTERS.items(), browse.SORTS):
            assert _walk(catalogue, filters, sort, 100) == _expected(catalogue, rows, filters, sort), (name, sort)


def test_counting_stops_at_its_cap_and_says_so(filled: tuple[Catalogue, list[Row]]) -> None:
    catalogue, rows = filled
    with catalogue.read() as tx:
        assert browse.count(tx) == (RUNS, True)
        assert browse.count(tx, cap=100) == (100, False)
        assert browse.count(tx, tool="T1") == (sum(row["tool"] == "T1" for row in rows), True)


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ({"colour": "red"}, "recipe_hash"),
        ({"sort": "colour"}, "newest"),
        ({"limit": 0}, "1 to 1000"),
        ({"limit": 1001}, "1 to 1000"),
        ({"after": "nonsense"}, "start again"),
        ({"qualified": "yes"}, "True or False"),
        ({"results": {"t": 5}}, "low, high"),
        ({"created_after": "yesterday"}, "ISO 8601"),
        ({"created_after": datetime(2025, 1, 1)}, "aware"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(
    filled: tuple[Catalogue, list[Row]], arguments: dict[str, Any], allowed: str
) -> None:
    with filled[0].read() as tx, pytest.raises(StoreError, match=allowed):
        browse.page(tx, **arguments)


def test_a_cursor_of_another_sort_is_refused(filled: tuple[Catalogue, list[Row]]) -> None:
    with filled[0].read() as tx:
        after = browse.page(tx, limit=5).after
        with pytest.raises(StoreError, match="not one of this sort"):
            browse.page(tx, sort="cost", after=after)


def test_a_page_stays_where_it_was_while_runs_are_added(tmp_path: Path) -> None:
    with Catalogue(tmp_path / "c.db", ANNA) as catalogue:
        for _ in range(6):
            with catalogue.begin() as tx:
                runs.create(tx, process="cvd", state="queued", origin="real")
        with catalogue.read() as tx:
            first = browse.page(tx, limit=3)
        with catalogue.begin() as tx:
            runs.create(tx, process="cvd", state="queued", origin="real")
        with catalogue.read() as tx:
            second = browse.page(tx, limit=3, after=first.after)
    assert [row["seq"] for row in (*first.rows, *second.rows)] == [6, 5, 4, 3, 2, 1]
