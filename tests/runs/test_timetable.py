"""When a cron expression comes in Berlin: counted minute by minute through a year, and where the clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from labkit.runs.timetable import following, latest

BERLIN = "Europe/Berlin"


def local(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN), fold=fold)


def times(cron: str, start: datetime, end: datetime) -> list[datetime]:
    found, moment = [], start
    while (moment := following(cron, BERLIN, moment)) <= end:
        found.append(moment)
    return found


def minutes_of_a_year() -> Iterator[datetime]:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    while moment < datetime(2027, 1, 1, tzinfo=UTC):
        yield moment
        moment += timedelta(minutes=1)


def test_an_hourly_schedule_comes_at_every_full_hour_of_a_year_however_the_clocks_change() -> None:
    wanted = [m for m in minutes_of_a_year() if m.astimezone(ZoneInfo(BERLIN)).minute == 0]
    assert times("0 * * * *", datetime(2025, 12, 31, 23, 59, tzinfo=UTC), wanted[-1]) == wanted
    assert len(wanted) == 365 * 24


def test_a_nightly_schedule_comes_once_each_day_of_a_year() -> None:
    found = times("30 2 * * *", local("2026-01-01T00:00"), local("2026-12-31T23:59"))
    assert [m.astimezone(ZoneInfo(BERLIN)).date().toordinal() for m in found] == list(
        range(datetime(2026, 1, 1).toordinal(), datetime(2027, 1, 1).toordinal())
    )
    usual = [m for m in found if f"{m.astimezone(ZoneInfo(BERLIN)):%H:%M}" == "02:30"]
    assert len(usual) == 364


def test_a_time_that_the_change_to_summer_time_leaves_out_comes_right_after_the_gap() -> None:
    assert following("30 2 * * *", BERLIN, local("2026-03-28T12:00")) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert following("30 2 * * *", BERLIN, datetime(2026, 3, 29, 1, 0, tzinfo=UTC)) == local("2026-03-30T02:30")


def test_a_time_that_comes_twice_is_taken_the_first_time() -> None:
    first, second = local("2026-10-25T02:30"), local("2026-10-25T02:30", fold=1)
    assert second.astimezone(UTC) - first.astimezone(UTC) == timedelta(hours=1)
    assert following("30 2 * * *", BERLIN, local("2026-10-24T12:00")) == first.astimezone(UTC)
    for since in (first, local("2026-10-25T02:10", fold=1), second):
        assert following("30 2 * * *", BERLIN, since) == local("2026-10-26T02:30").astimezone(UTC)


def test_a_schedule_by_the_clock_on_the_wall_leaves_the_gap_out_and_comes_twice_in_the_hour_that_does() -> None:
    gap = times("*/30 2 * * *", local("2026-03-28T12:00"), local("2026-03-29T12:00"))
    assert gap == []
    twice = times("*/30 2 * * *", local("2026-10-24T12:00"), local("2026-10-25T12:00"))
    assert twice == [datetime(2026, 10, 25, hour, minute, tzinfo=UTC) for hour in (0, 1) for minute in (0, 30)]


def test_the_latest_time_is_the_last_one_that_is_not_in_the_future() -> None:
    assert latest("0 2 * * *", "UTC", datetime(2026, 5, 4, 2, 0, tzinfo=UTC)) == datetime(2026, 5, 4, 2, tzinfo=UTC)
    assert latest("0 2 * * *", "UTC", datetime(2026, 5, 4, 1, 59, 59, tzinfo=UTC)) == datetime(
        2026, 5, 3, 2, tzinfo=UTC
    )
    assert latest("* * * * * *", "UTC", datetime(2026, 5, 4, 1, 59, 59, 5, tzinfo=UTC)) == datetime(
        2026, 5, 4, 1, 59, 59, tzinfo=UTC
    )
