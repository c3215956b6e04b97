"""Prepared questions answer as the same questions asked in full would, and for one organisation only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from labkit.store import prepared, runs, tables
from labkit.store.catalogue import Catalogue

from .conftest import MALLORY

RUNS, C = tables.runs, tables.runs.c
COSTS = {"R1": 1.5, "R2": None, "R3": 0.25, "R4": 4.0, "R5": 0.25}


@pytest.fixture
def filled(either: Catalogue) -> Catalogue:
    """Five runs of anna's, and the same five with other costs in mallory's organisation."""
    for seen, factor in ((either, 1.0), (either.as_principal(MALLORY), 1000.0)):
        with seen.begin() as tx:
            for name, cost in COSTS.items():
                runs.create(
                    tx,
                    id=name,
                    process="cvd",
                    state="queued",
                    origin="real",
                    cost=None if cost is None else cost * factor,
                )
    return either


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        (C.cost == 0.25, lambda cost: cost == 0.25),
        (C.cost != 0.25, lambda cost: cost is not None and cost != 0.25),
        (C.cost < 1.5, lambda cost: cost is not None and cost < 1.5),
        (C.cost <= 1.5, lambda cost: cost is not None and cost <= 1.5),
        (C.cost > 1.5, lambda cost: cost is not None and cost > 1.5),
        (C.cost >= 1.5, lambda cost: cost is not None and cost >= 1.5),
        (C.cost.is_(None), lambda cost: cost is None),
        (C.cost.in_([1.5, 4.0]), lambda cost: cost in (1.5, 4.0)),
        (C.cost.in_([]), lambda cost: False),
    ],
)
def test_a_comparison_with_a_value_is_prepared_and_finds_what_it_says(
    filled: Catalogue, where: sa.ColumnElement[bool], holds: Callable[[float | None], bool]
) -> None:
    assert prepared.condition(RUNS, where) is not None
    expected = [name for name, cost in COSTS.items() if holds(cost)]
    with filled.read() as tx:
        assert [row["id"] for row in tx.select(RUNS, where, order=[C.seq])] == expected
        assert [row["id"] for row in tx.select(RUNS, where, columns=("id",), order=[C.seq.desc()])] == expected[::-1]
        assert [row["id"] for row in tx.select(RUNS, where, order=[C.seq], limit=1)] == expected[:1]
        assert len(tx.select(RUNS, where, C.id == "R1")) == ("R1" in expected)


@pytest.mark.parametrize(
    "where",
    [
        sa.or_(C.cost == 1.5, C.cost == 4.0),
        C.cost == C.duration_s,
        C.cost + 1 == 2.5,
        C.cost.is_not(None),
        C.id.like("R%"),
        C.id.op("||")("x"),
        RUNS.alias().c.id == "R1",
        tables.tools.c.id == "R1",
        C.id == sa.bindparam("named"),
        C.id.in_(sa.select(C.id).where(C.org_id == "north")),
        sa.text("1 = 1"),
    ],
)
def test_anything_else_is_left_to_the_full_analysis(where: Any) -> None:
    assert prepared.condition(RUNS, where) is None


def test_the_same_question_with_another_value_has_another_answer(filled: Catalogue) -> None:
    with filled.read() as tx:
        found = [tx.select(RUNS, C.cost == value, columns=("id",)) for value in (1.5, 4.0, 1500.0)]
    assert found == [[{"id": "R1"}], [{"id": "R4"}], []]
    with filled.as_principal(MALLORY).read() as tx:
        assert tx.select(RUNS, C.cost == 1500.0, columns=("id",)) == [{"id": "R1"}]


def test_a_change_says_how_many_rows_it_met(filled: Catalogue) -> None:
    with filled.begin() as tx:
        assert tx.change(RUNS, {"id": "R1", "cost": 1.5}, {"tool": "T"}) == 1
        assert tx.change(RUNS, {"id": "R1", "cost": 1500.0}, {"tool": "T"}) == 0
        assert tx.change(RUNS, {"cost": None}, {"tool": "T"}) == 1
        assert tx.change(RUNS, {"id": "R4"}, {"cost": C.cost * 2}) == 1
        assert {row["id"]: row["cost"] for row in tx.select(RUNS, C.tool == "T")} == {"R1": 1.5, "R2": None}
        assert tx.get(RUNS, id="R4")["cost"] == 8.0
    with filled.as_principal(MALLORY).read() as tx:
        assert tx.select(RUNS, C.tool == "T") == []
        assert tx.get(RUNS, id="R4")["cost"] == 4000.0
