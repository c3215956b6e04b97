"""What the world sees of a run while it goes on: progress in the catalogue, and the journal that anyone can follow.

A run that is over before anyone could have looked leaves no journal: its folder is there instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from labkit.core.errors import LabkitError
from labkit.core.tool import Block
from labkit.core.wire import unpack_telemetry
from labkit.runs.stream import StreamWriter
from labkit.store import jobs
from labkit.store import runs as rows

if TYPE_CHECKING:
    from labkit.runs.workplace import Workplace

_GRACE_S = 0.3
_ROW_EVERY_S = 0.5
_SAVE_EVERY_S = 2.0
Severity = Literal["info", "warning", "critical"]


class Live:
    """The public face of one run at work; never the reason why a run fails.

    Parameters
    ----------
    report
        Also told of progress, in percent, and what is being done.
    """

    def __init__(
        self, place: Workplace, run_id: str, report: Callable[[float, str], None] = lambda percent, step: None
    ) -> None:
        self._place, self._run, self._report = place, run_id, report
        self._held: list[Callable[[StreamWriter], object]] = []
        self._writer: StreamWriter | None = None
        self._began = time.monotonic()
        self._row_written = self._began
        self._saved = self._began
        self._newest = self._samples = 0
        self._status = "RUNNING"

    @property
    def is_open(self) -> bool:
        """Whether the run has lasted long enough to have a journal."""
        return self._writer is not None

    def progress(self, percent: float, step: str, status: str | None = None) -> None:
        """How far the run is, 0 to 100, what it does, and the state it is in."""
        self._status = status or self._status
        self._report(percent, step)
        shown = self._status
        self._send(lambda writer: writer.progress(percent, step, shown))
        if time.monotonic() - self._row_written >= _ROW_EVERY_S:
            self._row_written = time.monotonic()
            with suppress(LabkitError), self._place.catalogue.begin(durable=False) as tx:
                rows.progress(tx, self._run, percent, step)

    def block(self, block: Block) -> None:
        """Telemetry as it comes."""
        first, self._samples = self._samples, self._samples + len(block.telemetry["time"])
        self._newest = block.sequence
        self._send(lambda writer: writer.telemetry(block.telemetry, first))

    def go_on_after(self, blocks: Sequence[Block]) -> None:
        """Count on from *blocks*, which were told before."""
        self._samples = sum(len(block.telemetry["time"]) for block in blocks)
        self._newest = len(blocks)

    def safe(self) -> int:
        """The last telemetry block that would survive a loss of power; asking makes it so, every few seconds.

        Blocks are in the journal in their order, from the first on, so that it also says where to go on after a crash.
        """
        if self._writer is None or time.monotonic() - self._saved < _SAVE_EVERY_S:
            return 0
        self._saved = time.monotonic()
        newest = self._newest
        try:
            self._writer.flush(durable=True)
        except LabkitError:
            return 0
        return newest

    def alert(self, parameter: str, message: str, severity: Severity) -> None:
        """Something a person should look at."""
        self._send(lambda writer: writer.alert(parameter, message, severity))
        self.note(f"{parameter}: {message}", severity)

    def note(self, text: str, level: str = "info") -> None:
        """A line in the run's log."""
        with suppress(LabkitError), self._place.catalogue.begin(durable=False) as tx:
            jobs.note(tx, self._run, text, level)

    def completed(self, status: str, **told: Any) -> None:
        """The run has been committed in state *status*; verdict, results, headline and folder as far as there are."""
        self._end(lambda writer: writer.completed(status, **told))

    def error(self, message: str, code: str = "") -> None:
        """The run has failed."""
        self._end(lambda writer: writer.error(message, code=code or None))

    def cancelled(self, message: str) -> None:
        """The run has been cancelled."""
        self._end(lambda writer: writer.cancelled(message))

    def close(self) -> None:
        """Let go of the journal; it is removed later, when nobody can be following it any more."""
        if self._writer is not None:
            with suppress(LabkitError):
                self._writer.close()
        self._writer = None
        self._held.clear()

    def _send(self, message: Callable[[StreamWriter], object]) -> None:
        if self._writer is None and time.monotonic() - self._began < _GRACE_S:
            self._held.append(message)
            return
        with suppress(LabkitError):
            if self._writer is None:
                self._writer = StreamWriter(self._place.journals, self._run)
                for earlier in self._held:
                    earlier(self._writer)
                self._held.clear()
            message(self._writer)

    def _end(self, message: Callable[[StreamWriter], object]) -> None:
        if self._writer is not None:
            with suppress(LabkitError):
                message(self._writer)
                self._writer.flush()
        self.close()


def kept_blocks(place: Workplace, run_id: str) -> list[Block]:
    """The telemetry blocks of a run that are in its journal, from the first on."""
    found: list[Block] = []
    after = 0
    with suppress(LabkitError):
        while entries := place.journals.read(run_id, after):
            after = entries[-1].sequence
            for entry in entries:
                if entry.kind == "telemetry":
                    found.append(Block(len(found) + 1, unpack_telemetry(entry.payload)))
    return found
