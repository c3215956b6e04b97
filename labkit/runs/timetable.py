"""Cron expressions in a time zone: when is the next time, and what was the latest.

Expressions have five fields (minute, hour, day of month, month, day of week), or six with seconds first, and mean what
Debian's cron means by them. Where the clocks change, an expression with a fixed minute and hour comes once that day:
at the first moment after a gap that swallows it, and the first time round where an hour comes twice. One that begins
with a star in its minute or hour follows the clock on the wall: it leaves a gap out, and comes twice in an hour that
comes twice.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from labkit.core.errors import LabkitError
from labkit.store import arguments

_LONGEST = 200
_EXAMPLE = 'cron="0 2 * * *" is every night at two, "*/15 8-17 * * MON-FRI" every quarter of a working hour'


def zone(name: str) -> ZoneInfo:
    """The time zone called *name*.

    Raises
    ------
    LabkitError
        If there is none, with an example.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, TypeError, OSError):
        raise LabkitError(
            f"timezone = {arguments.shown(name)}",
            allowed="names of the IANA time zone database",
            fix='timezone="Europe/Berlin", or "UTC"',
        ) from None


def following(cron: str, timezone: str, after: datetime) -> datetime:
    """The first time, UTC, that *cron* names in *timezone* later than *after*.

    Raises
    ------
    LabkitError
        If one of them cannot be read, or no such time comes within 50 years; with an example.
    """
    here = zone(timezone)
    for moment in _times(cron, after.astimezone(here)):
        found = moment.astimezone(UTC)
        if found > after:
            return found
    raise _refused(cron, "no such time ever comes")


def latest(cron: str, timezone: str, until: datetime) -> datetime | None:
    """The last time, UTC, that *cron* names in *timezone* not later than *until*; None if there was none in 50 years.

    In the hour that comes twice, a fixed time is found only from the end of that hour on.
    """
    start = (until.replace(microsecond=0) + timedelta(seconds=1)).astimezone(zone(timezone))
    found = next(_times(cron, start, reverse=True), None)
    return None if found is None else found.astimezone(UTC)


def _times(cron: str, start: datetime, *, reverse: bool = False) -> CronSim:
    if not isinstance(cron, str) or not 0 < len(cron) <= _LONGEST:
        raise _refused(cron, f"text of at most {_LONGEST} characters is expected")
    try:
        return CronSim(cron, start, reverse)
    except (CronSimError, ValueError) as error:
        raise _refused(cron, str(error)) from None


def _refused(cron: object, why: str) -> LabkitError:
    return LabkitError(
        f"cron = {arguments.shown(cron)}: {why[:1].lower()}{why[1:]}",
        allowed="minute hour day-of-month month day-of-week, with seconds first if there are six",
        fix=_EXAMPLE,
    )
