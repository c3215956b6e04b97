"""The worker: one process that takes jobs off the queue, most urgent first, and carries them out, several at a time.

On SQLite a lab has one worker, held to that by a file lock that dies with the process; on PostgreSQL as many as are
started. A worker that dies loses nothing: the next one asks the tools' ledgers.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from filelock import FileLock, Timeout

from labkit.core.errors import LabkitError, StoreError
from labkit.operations.tool_states import UPTIME, EquipmentState
from labkit.runs import jobs as requests
from labkit.runs.housekeeping import tidy_journals
from labkit.runs.plans import fire_due
from labkit.runs.recovery import adopt, forgotten, recover, settle
from labkit.runs.work import admit, claim, work
from labkit.runs.workplace import Workplace
from labkit.store import jobs, plans, tools
from labkit.store.clock import now

TICK_S, QUIET_TICK_S = 0.02, 0.05
"""How often the queue is looked at, s, while there is work and when there has been none for a while."""
_QUIET_S = 2.0
_HOUSEKEEPING_S = 1.0
_TIDYING_S = 10.0


@dataclass(frozen=True)
class Terms:
    """What a worker takes on. ``queues`` None: every process; ``idle_s`` None: it stays when there is nothing to do."""

    queues: tuple[str, ...] | None = None
    slots: int = 4
    gpus: float = 0.0
    idle_s: float | None = 60.0


@contextmanager
def sole_worker(place: Workplace, wait_s: float = 2.0) -> Iterator[None]:
    """Hold the right to be the lab's worker; on PostgreSQL everybody has it.

    Raises
    ------
    StoreError
        If the lab has a worker already.
    """
    if place.catalogue.url.get_backend_name() != "sqlite":
        yield
        return
    lock = FileLock(place.folder / "locks" / "worker.lock")
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise StoreError(
            f"lab {place.folder} has a worker already",
            allowed="one worker per SQLite lab",
            fix="leave the work to it, or move the lab to PostgreSQL: labkit lab migrate URL",
        ) from None
    with lock:
        yield


class Worker:
    """A worker in this process. :meth:`run` returns when it is idle for long enough, or was asked to :meth:`stop`."""

    def __init__(self, place: Workplace, terms: Terms, say: Callable[[str], None] = lambda line: None) -> None:
        self._place, self._terms, self._say = place, terms, say
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._carriers = ThreadPoolExecutor(terms.slots, thread_name_prefix="labkit-run")
        self._gate = ThreadPoolExecutor(1, thread_name_prefix="labkit-gate")
        self._running: dict[str, Future[None]] = {}
        self._shares: dict[str, float] = {}
        self._mender = ThreadPoolExecutor(1, thread_name_prefix="labkit-mend")
        self._admitting: Future[None] | None = None
        self._mending: Future[None] | None = None
        self._to_adopt: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._busy_until = time.monotonic()
        self._kept_house, self._tidied = -_HOUSEKEEPING_S, time.monotonic()

    def stop(self) -> None:
        """Take nothing new; :meth:`run` returns as soon as the runs in hand are at rest."""
        self._stop.set()

    def run(self) -> None:
        """Work until idle or stopped."""
        with self._place.catalogue.begin() as tx:
            jobs.beat(
                tx,
                self._place.owner,
                host=socket.gethostname(),
                pid=os.getpid(),
                queues=list(self._terms.queues or ()),
                gpus=self._terms.gpus,
                started=now(),
            )
        try:
            while not (self._stop.is_set() and not self._running):
                self._guarded(self._tick)
                if self._idle():
                    return
                quiet = time.monotonic() - self._busy_until > _QUIET_S
                self._wake.wait(QUIET_TICK_S if quiet else TICK_S)
                self._wake.clear()
        finally:
            for pool in (self._mender, self._gate, self._carriers):
                pool.shutdown(wait=True)
            self._guarded(self._sign_off)

    def _sign_off(self) -> None:
        tidy_journals(self._place)
        with self._place.catalogue.begin() as tx:
            jobs.beat(tx, self._place.owner, stopped=now())

    def _guarded(self, step: Callable[[], None]) -> None:
        """A busy or full store is no reason to end: the step is tried again with the next tick."""
        try:
            step()
        except LabkitError as error:
            self._say(f"{error}")
            time.sleep(10 * TICK_S)

    def _tick(self) -> None:
        for run_id, future in list(self._running.items()):
            if future.done():
                self._ended(run_id, future)
        if time.monotonic() - self._kept_house >= _HOUSEKEEPING_S:
            self._kept_house = time.monotonic()
            self._keep_house()
        if self._stop.is_set():
            return
        self._adopt()
        self._admit_next()
        while len(self._running) < self._terms.slots:
            chosen = self._next()
            if chosen is None:
                return
            self._begin(*chosen)

    def _ended(self, run_id: str, future: Future[None]) -> None:
        del self._running[run_id]
        self._shares.pop(run_id, None)
        self._place.active.discard(run_id)
        self._busy_until = time.monotonic()
        error = future.exception()
        self._say(f"run {run_id}: {'ended' if error is None else f'{type(error).__name__}: {error}'}")

    def _keep_house(self) -> None:
        with self._place.catalogue.begin(durable=False) as tx:
            jobs.beat(tx, self._place.owner)
        if self._mending is None or self._mending.done():
            self._mending = self._mender.submit(self._guarded, self._mend)
        for run_id in requests.expire(self._place):
            self._say(f"run {run_id}: expired")
        for run_id in fire_due(self._place):
            self._say(f"run {run_id}: handed in by its schedule")
        if time.monotonic() - self._tidied >= _TIDYING_S:
            self._tidied = time.monotonic()
            tidy_journals(self._place)

    def _mend(self) -> None:
        """Put right what dead processes and lost answers left behind; it may have to wait for a tool that is dead."""
        for step in (settle, partial(recover, folders=False), forgotten):
            for found in step(self._place):
                self._say(str(found))
                if found.running and found.run not in self._place.active:
                    self._place.active.add(found.run)
                    self._to_adopt.put(found.run)

    def _adopt(self) -> None:
        while not self._to_adopt.empty():
            run_id = self._to_adopt.get()
            self._start(run_id, partial(adopt, self._place, run_id))

    def _admit_next(self) -> None:
        if self._admitting is not None and not self._admitting.done():
            return
        with self._place.catalogue.read() as tx:
            submitted = jobs.next_submitted(tx, self._terms.queues)
        if submitted:
            self._busy_until = time.monotonic()
            self._admitting = self._gate.submit(self._admit, submitted)
            self._admitting.add_done_callback(lambda done: self._wake.set())

    def _admit(self, submitted: Collection[str]) -> None:
        for run_id in submitted:
            if self._stop.is_set():
                return
            self._guarded(partial(admit, self._place, run_id))

    def _next(self) -> tuple[str, int, float] | None:
        """The most urgent job that can start now, claimed, with its fence and its share of a GPU."""
        place = self._place
        with place.catalogue.read() as tx:
            free = [
                row["id"]
                for row in tools.listing(tx)
                if row["leased_run"] is None and EquipmentState(row["state"]) in UPTIME and place.tools.is_here(row)
            ]
            limits = place.settings.queue_limits
            candidates = jobs.next_queued(
                tx,
                self._terms.queues,
                full=[name for name, most in limits.items() if jobs.at_work(tx, name) >= most],
                free_tools=free,
                gpus=self._terms.gpus - sum(self._shares.values()),
            )
        for run_id in candidates:
            if run_id in self._running:
                continue
            place.active.add(run_id)
            claimed = claim(place, run_id)
            if claimed is not None:
                return run_id, *claimed
            place.active.discard(run_id)
        return None

    def _begin(self, run_id: str, fence: int, share: float) -> None:
        self._shares[run_id] = share
        self._say(f"run {run_id}: taken")
        self._start(run_id, partial(work, self._place, run_id, fence))

    def _start(self, run_id: str, job: Callable[[], None]) -> None:
        self._place.active.add(run_id)
        future = self._running[run_id] = self._carriers.submit(job)
        future.add_done_callback(lambda done: self._wake.set())

    def _idle(self) -> bool:
        """Whether nothing has been done for long enough and nothing is coming up."""
        hands = self._running or not self._to_adopt.empty()
        busy = hands or (self._admitting is not None and not self._admitting.done())
        if busy or self._terms.idle_s is None:
            self._busy_until = time.monotonic()
        if self._terms.idle_s is None or time.monotonic() - self._busy_until < self._terms.idle_s:
            return False
        return not self._due_later()

    def _due_later(self) -> bool:
        try:
            with self._place.catalogue.read() as tx:
                coming = jobs.open_jobs(tx)
                if plans.next_due(tx) is not None:
                    return True
                soon = now()
                return any(
                    job["expires"] or (job["not_before"] and job["not_before"] > soon and not job["paused"])
                    for job in coming
                )
        except StoreError:
            return True
