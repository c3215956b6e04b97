"""Equipment states and their accounting (SEMI E10: six basic states; E79 for the ratios built on them)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum


class EquipmentState(StrEnum):
    """The six basic states of SEMI E10, which partition all time."""

    PRODUCTIVE = "productive"
    STANDBY = "standby"
    ENGINEERING = "engineering"
    SCHEDULED_DOWN = "scheduled_down"
    UNSCHEDULED_DOWN = "unscheduled_down"
    NON_SCHEDULED = "non_scheduled"

    @property
    def label(self) -> str:
        """The state as SEMI E10 writes it, e.g. ``"Unscheduled Down"``."""
        return "Non-scheduled" if self is EquipmentState.NON_SCHEDULED else self.value.replace("_", " ").title()


UPTIME = frozenset({EquipmentState.PRODUCTIVE, EquipmentState.STANDBY, EquipmentState.ENGINEERING})
"""States in which the tool could run (E10 equipment uptime)."""


def seconds_in(timeline: Iterable[tuple[datetime, EquipmentState]], until: datetime) -> dict[EquipmentState, float]:
    """Seconds spent in each state from a *timeline* of (since, state) changes up to *until*."""
    totals = dict.fromkeys(EquipmentState, 0.0)
    ordered = sorted(timeline)
    for (since, state), following in zip(ordered, [*(at for at, _ in ordered[1:]), until], strict=True):
        totals[state] += max((min(following, until) - since).total_seconds(), 0.0)
    return totals


def availability(seconds: dict[EquipmentState, float]) -> float:
    """Uptime over operations time (all time but non-scheduled); NaN when there was none."""
    operations = sum(s for state, s in seconds.items() if state is not EquipmentState.NON_SCHEDULED)
    return sum(seconds[state] for state in UPTIME) / operations if operations > 0.0 else float("nan")


def utilisation(seconds: dict[EquipmentState, float]) -> float:
    """Productive time over total time; NaN when there was none."""
    total = sum(seconds.values())
    return seconds[EquipmentState.PRODUCTIVE] / total if total > 0.0 else float("nan")
