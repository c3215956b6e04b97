"""One run as the equipment carries it out: a thread that advances the twin, whatever anybody else does, and writes
what comes out into the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from labkit.core.errors import LabkitError
from labkit.core.process import Telemetry, Twin
from labkit.core.tool import LedgerState
from labkit.core.wire import pack_dataset, pack_telemetry
from labkit.devices.clock import Pace
from labkit.devices.equipment import Mishap
from labkit.devices.ledger import Ledger

if TYPE_CHECKING:
    import xarray as xr

_LONGEST_S = 0.02
"""Computing time between two looks at whether somebody wants the run to stop, s."""
_FIRST = 32
"""Samples of the first step, before it is known how long one takes."""
_PASS_ON_S = 0.25
"""Age at which samples of a live run are passed on although their block is not full, s."""
_SHORTEST_WAIT_S = 0.005
"""Sleep of a paced run at least, so that fast clocks make samples in small groups, s."""
_AGAIN_S = 0.2
"""Time between two attempts to write into a ledger that refuses, s."""


class Crash(Exception):
    """An injected crash of the tool has struck."""


class Execution:
    """The thread of one run. It ends by itself, by :meth:`halt`, or in an injected crash.

    Parameters
    ----------
    run_id : str
        The run; its start is in the ledger.
    twin : Twin
        Equipment and wafers.
    measure : callable
        Metrology of this run: exact wafers to what instruments report.
    ledger, pace : Ledger, Pace
        Where results go, and how fast.
    block : int
        Samples per telemetry block.
    mishaps : sequence of Mishap
        Faults of the tool itself in this run.
    guard : lock
        Held while the end of the run is decided, so that a stop comes before or after it.
    changed : callable
        Called after anything that somebody may be waiting for.
    crashed : callable
        Called instead of an end when the tool crashes, with what to say.
    """

    def __init__(
        self,
        run_id: str,
        twin: Twin,
        measure: Callable[[xr.Dataset], xr.Dataset],
        ledger: Ledger,
        pace: Pace,
        *,
        block: int,
        mishaps: Sequence[Mishap] = (),
        guard: threading.RLock | None = None,
        changed: Callable[[], None] = lambda: None,
        crashed: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.run_id = run_id
        self.samples = twin.samples
        self.made = 0
        self._twin = twin
        self._measure = measure
        self._ledger = ledger
        self._pace = pace
        self._block = block
        self._lost = [m for m in mishaps if m.kind == "lost_telemetry"]
        self._hang = min((m.first for m in mishaps if m.kind == "hang"), default=None)
        self._crash = min((m.first for m in mishaps if m.kind == "crash"), default=None)
        self._guard = guard or threading.RLock()
        self._changed = changed
        self._crashed = crashed
        self._wake = threading.Event()
        self._halted = False
        self._halted_by = ""
        self._abandoned = False
        self._pausing = False
        self._pieces: list[Telemetry] = []
        self._kept = 0
        self._flushed_at = time.monotonic()
        self.trouble = ""
        self.ended = False
        self.closed = threading.Event()
        self.rested = 0
        self._thread = threading.Thread(target=self._live, name=f"twin of {run_id}", daemon=True)

    def begin(self) -> None:
        """Let the equipment move."""
        self._thread.start()

    def halt(self, reason: str) -> None:
        """Sources off, now: nothing more is made. Returns at once; the thread then only puts its papers in order."""
        self._halted_by = self._halted_by or reason
        self._halted = True
        self._wake.set()

    def hold(self) -> None:
        """Stand still."""
        self._pausing = True
        self._pace.hold()
        self._wake.set()

    def go_on(self) -> None:
        """Go on from where it stands."""
        self._pausing = False
        self._pace.go_on()
        self._wake.set()

    def abandon(self) -> None:
        """Halt, and give up on a ledger that cannot be written."""
        self._abandoned = True
        self.halt("its host was closed")

    def grant(self, samples: int) -> int:
        """Let a stepped run make *samples* more; returns at how many it will then rest (:attr:`rested`), or end."""
        self._pace.grant(samples)
        self._wake.set()
        target = min(self._pace.allowed(), self.samples)
        return target if self._hang is None else min(target, self._hang)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the thread has ended."""
        self._thread.join(timeout_s)

    def _live(self) -> None:
        try:
            self._persistently(lambda: self._ledger.begin_execution(self.run_id), lambda: self._halted)
            self._advance()
            self._close()
        except Crash:
            self.ended = True
            self._crashed(f"the tool crashed after {self.made} of {self.samples} samples")
        except Exception as error:  # a twin is a plug-in's: whatever it raises ends its run, visibly
            self._fail(f"the twin failed: {type(error).__name__}: {error}")
        finally:
            self.ended = True
            self.closed.set()
            self._changed()

    def _advance(self) -> None:
        step = _FIRST
        while self.made < self.samples:
            self._wake.clear()  # before the look at what has been asked, so that nothing asked meanwhile is missed
            if self._halted:
                return
            size = min(step, self._block - self._kept, self._room())
            if size <= 0:
                self._rest()
                continue
            began = time.perf_counter()
            self._take(self._twin.advance(size), size)
            spent = time.perf_counter() - began
            if spent > _LONGEST_S:
                step = max(1, step // 2)
            elif spent < _LONGEST_S / 4:
                step = min(2 * step, self._block)
            if self._kept >= self._block or (
                self._pace.live and time.monotonic() - self._flushed_at >= _PASS_ON_S and self._kept
            ):
                self._flush()

    def _room(self) -> int:
        """Samples that may be made now."""
        allowed = min(self._pace.allowed(), self.samples)
        if self._crash is not None:
            if self.made >= self._crash:
                raise Crash
            allowed = min(allowed, self._crash)
        if self._hang is not None:
            allowed = min(allowed, self._hang)
        return allowed - self.made

    def _rest(self) -> None:
        """Nothing may be made now: pass on what there is and wait for time, a step, a stop or a resume."""
        if self._kept and (self._pausing or self._pace.wait_s(self.made) is None or self._stuck()):
            self._flush()
        if self._wake.is_set():
            return
        if self.rested != self.made:
            self.rested = self.made
            self._changed()
        wait = None if self._stuck() else self._pace.wait_s(self.made)
        self._wake.wait(None if wait is None else max(wait, _SHORTEST_WAIT_S))

    def _stuck(self) -> bool:
        return self._hang is not None and self.made >= self._hang

    def _take(self, piece: Telemetry, size: int) -> None:
        first, self.made = self.made, self.made + size
        numbers = np.arange(first, self.made)
        keep = np.ones(size, dtype=bool)
        for mishap in self._lost:
            keep &= (numbers < mishap.first) | (numbers >= mishap.beyond)
        if not keep.all():
            piece = {name: values[keep] for name, values in piece.items()}
        if keep.any():
            self._pieces.append(piece)
            self._kept += int(keep.sum())

    def _gathered(self) -> tuple[int, bytes] | None:
        """Samples not yet passed on, as one packed block."""
        if not self._kept:
            return None
        joined = {name: np.concatenate([piece[name] for piece in self._pieces]) for name in self._pieces[0]}
        return self._kept, pack_telemetry(joined)

    def _flush(self) -> None:
        gathered = self._gathered()
        if gathered is None:
            return
        if self._persistently(lambda: self._ledger.append(self.run_id, *gathered), lambda: self._halted):
            self._pieces, self._kept = [], 0
            self._flushed_at = time.monotonic()
            self._changed()

    def _persistently(self, write: Callable[[], None], give_up: Callable[[], bool]) -> bool:
        """Write, again and again while the ledger refuses (a full disk), until it is done or *give_up* says so."""
        while True:
            try:
                write()
            except LabkitError as error:
                self.trouble = str(error)
                self._changed()
                if give_up():
                    return False
                time.sleep(_AGAIN_S)
            else:
                self.trouble = ""
                return True

    def _close(self) -> None:
        """Put the end into the ledger: last block, wafers, metrology."""
        last = self._gathered()
        truth = self._twin.finish()
        outcome = (pack_dataset(truth), pack_dataset(self._measure(truth)))
        self._finally(LedgerState.DONE, "", last, outcome)

    def _fail(self, reason: str) -> None:
        self._finally(LedgerState.INTERRUPTED, reason, self._gathered(), None)

    def _finally(
        self, state: LedgerState, reason: str, last: tuple[int, bytes] | None, outcome: tuple[bytes, bytes] | None
    ) -> None:
        def write() -> None:
            with self._guard:
                decided = (LedgerState.STOPPED, self._halted_by) if self._halted else (state, reason)
                self._ledger.finish(self.run_id, *decided, block=last, outcome=outcome)
                self.ended = True
                self._changed()

        self._persistently(write, lambda: self._abandoned)
        self._pieces, self._kept = [], 0
