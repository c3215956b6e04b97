"""A job as a notebook holds it: what was asked for, how far it is, and what may still be asked of it."""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from labkit.core.errors import LabkitError
from labkit.lab.handle import Run
from labkit.lab.listing import Listing
from labkit.runs import hiring
from labkit.runs import jobs as requests
from labkit.runs.lifecycle import FINAL, RunState
from labkit.runs.workplace import Workplace
from labkit.store import jobs
from labkit.store import runs as rows

if TYPE_CHECKING:
    from labkit.runs.messages import Message

_FIRST_POLL_S, _POLL_S = 0.005, 0.05
_LOOK_S = 2.0
_RESTING = frozenset({state.value for state in (*FINAL, RunState.ENGINEER_REVIEW, RunState.ESCALATED)})


class Job:
    """A run on its way. Everything is read when it is asked for; nothing here blocks but :meth:`result`.

    ``await job`` waits for the result without blocking the notebook.
    """

    def __init__(self, place: Workplace, run: str) -> None:
        self._place, self.id = place, run

    def _row(self) -> dict[str, Any]:
        with self._place.catalogue.read() as tx:
            return rows.get(tx, self.id)

    @property
    def run(self) -> Run:
        """The run as it is recorded now."""
        return Run(self._place, self.id)

    @property
    def state(self) -> str:
        """State of the run's lifecycle, e.g. ``"QUEUED"``."""
        with self._place.catalogue.read() as tx:
            return rows.state(tx, self.id)

    @property
    def progress(self) -> float:
        """How far it is, 0 to 100."""
        return float(self._row()["progress"])

    @property
    def step(self) -> str:
        """What it is doing."""
        return str(self._row()["step"] or "")

    @property
    def done(self) -> bool:
        """Whether the run has come to rest."""
        return self.state in _RESTING

    def result(self, timeout_s: float | None = None) -> Run:
        """Wait until the run has come to rest, and return it.

        Raises
        ------
        LabkitError
            If it has not after *timeout_s*.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        looked, pause = time.monotonic(), _FIRST_POLL_S
        while not self.done:
            self._in_time(deadline, timeout_s)
            time.sleep(pause)
            pause = min(1.2 * pause, _POLL_S)
            if time.monotonic() - looked > _LOOK_S:
                hiring.look_after(self._place, self.id)
                looked = time.monotonic()
        return self.run

    def __await__(self) -> Generator[Any, None, Run]:
        return self._awaited().__await__()

    async def _awaited(self) -> Run:
        looked = time.monotonic()
        while not self.done:
            await asyncio.sleep(_POLL_S)
            if time.monotonic() - looked > _LOOK_S:
                await asyncio.to_thread(hiring.look_after, self._place, self.id)
                looked = time.monotonic()
        return self.run

    def _in_time(self, deadline: float | None, timeout_s: float | None) -> None:
        if deadline is not None and time.monotonic() > deadline:
            row = self._row()
            raise LabkitError(
                f"run {row['seq']} is {row['state']} ({row['progress']:.0f} %) after {timeout_s:g} s",
                fix="wait longer, or cancel it: job.cancel()",
            )

    def cancel(self, reason: str = "") -> None:
        """Cancel it: at once if it has not started, else its tool is stopped."""
        requests.cancel(self._place, self.id, reason)

    def pause(self) -> None:
        """Hold it, in the queue or at its tool."""
        requests.pause(self._place, self.id)

    def resume(self) -> None:
        """Let it go on."""
        requests.resume(self._place, self.id)

    def prioritise(self, priority: int) -> None:
        """Change how urgent it is: larger goes first."""
        requests.prioritise(self._place, self.id, priority)

    @property
    def log(self) -> Listing:
        """What has been noted about it, oldest first."""
        with self._place.catalogue.read() as tx:
            return Listing("log", ("at", "level", "text"), jobs.log(tx, self.id))

    @property
    def waits_for(self) -> Listing:
        """The runs that must complete before it starts."""
        with self._place.catalogue.read() as tx:
            return Listing("waits for", ("seq", "state"), jobs.predecessors(tx, self.id))

    def messages(self, *, after: int = 0) -> Iterator[Message]:
        """Progress, telemetry and alerts as they come, to the end of the run, from message *after* on."""
        from labkit.runs.broadcast import messages

        return messages(self._place, self.id, after=after)

    def __repr__(self) -> str:
        row = self._row()
        step = f", {row['step']}" if row["step"] else ""
        what = f"{row['recipe_name']} on {row['tool'] or '–'}"
        return f"<job: run {row['seq']}, {what}: {row['state']}, {row['progress']:.0f} %{step}>"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"


class Batch(tuple[Job, ...]):
    """Jobs that were handed in together."""

    def results(self, timeout_s: float | None = None) -> list[Run]:
        """Wait until every run has come to rest, and return them in order."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        left = (lambda: None) if deadline is None else (lambda: max(deadline - time.monotonic(), 0.0))
        return [job.result(left()) for job in self]

    def cancel(self, reason: str = "") -> None:
        """Cancel every job that is not over."""
        for job in self:
            if not job.done:
                job.cancel(reason)

    def __repr__(self) -> str:
        states = [job.state for job in self]
        told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return f"<batch of {len(self)} jobs: {told or 'empty'}>"
