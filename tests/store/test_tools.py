"""A tool is in one E10 state at a time, and works for one run at a time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from labkit.core.errors import NotFound, StoreError, ToolError
from labkit.store import tools
from labkit.store.catalogue import Catalogue
from labkit.store.clock import now


def _tool(catalogue: Catalogue) -> None:
    with catalogue.begin() as tx:
        tools.register(tx, "T1", process="cvd", config={"seed": 3})


def test_registering_again_changes_the_configuration_but_not_the_kind(either: Catalogue) -> None:
    _tool(either)
    with either.begin() as tx:
        assert tools.register(tx, "T1", process="cvd", config={"seed": 4})["config"] == {"seed": 4}
        with pytest.raises(StoreError, match="another id"):
            tools.register(tx, "T1", process="cvd", kind="real")
        assert [row["id"] for row in tools.listing(tx, process="cvd")] == ["T1"]
        assert tools.listing(tx, process="lithography") == []


def test_the_timeline_has_neither_gaps_nor_overlaps(either: Catalogue) -> None:
    _tool(either)
    start = now()
    for hours, state in enumerate(("productive", "unscheduled_down", "unscheduled_down", "standby"), 1):
        with either.begin() as tx:
            tools.set_state(tx, "T1", state, at=start + timedelta(hours=hours), reason=state)
    with either.read() as tx:
        line = tools.timeline(tx, "T1")
        assert tools.get(tx, "T1")["state"] == "standby"
    assert [row["state"] for row in line] == ["standby", "productive", "unscheduled_down", "standby"]
    assert [row["until"] for row in line[:-1]] == [row["since"] for row in line[1:]]
    assert line[-1]["until"] is None


def test_a_state_that_e10_does_not_have_or_an_earlier_moment_is_refused(catalogue: Catalogue) -> None:
    _tool(catalogue)
    with catalogue.begin() as tx:
        with pytest.raises(StoreError, match="scheduled_down"):
            tools.set_state(tx, "T1", "broken")
        with pytest.raises(StoreError, match="a later moment"):
            tools.set_state(tx, "T1", "productive", at=now() - timedelta(days=1))
        with pytest.raises(NotFound, match="T1"):
            tools.set_state(tx, "T2", "standby")


def test_a_tool_is_leased_to_one_run_and_each_lease_has_a_larger_fence(either: Catalogue) -> None:
    _tool(either)
    with either.begin() as tx:
        first = tools.lease(tx, "T1", "R1")
        again = tools.lease(tx, "T1", "R1")
        with pytest.raises(ToolError, match="reserved for run R1"):
            tools.lease(tx, "T1", "R2")
        tools.release(tx, "T1", "R2")
        with pytest.raises(ToolError):
            tools.lease(tx, "T1", "R2")
        tools.release(tx, "T1", "R1")
        assert first < again < tools.lease(tx, "T1", "R2", seconds=-1.0)
        assert tools.lease(tx, "T1", "R3") > again, "an expired lease holds nobody off"


def test_a_lease_without_an_end_holds(catalogue: Catalogue) -> None:
    from labkit.store import tables

    _tool(catalogue)
    with catalogue.begin() as tx:
        tx.update(tables.tools, {"id": "T1"}, {"leased_run": "R1"})
        with pytest.raises(ToolError):
            tools.lease(tx, "T1", "R2")
