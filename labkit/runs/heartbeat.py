"""Signs of life of a process that carries runs out, for those who cannot see its lock file: on another machine."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from labkit.core.errors import LabkitError
from labkit.runs.workplace import Workplace
from labkit.store import jobs
from labkit.store.clock import now


@contextmanager
def beating(place: Workplace) -> Iterator[None]:
    """Note in the catalogue, again and again while the block runs, that this process lives.

    On SQLite everybody sees the lock file, so nothing is noted.
    """
    if place.catalogue.url.get_backend_name() == "sqlite":
        yield
        return
    over = threading.Event()
    _introduce(place)
    thread = threading.Thread(target=_beat_until, args=(place, over), name="labkit-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(LabkitError), place.catalogue.begin(durable=False) as tx:
            jobs.beat(tx, place.owner, stopped=now())


def _introduce(place: Workplace) -> None:
    present = {"host": socket.gethostname(), "pid": os.getpid(), "started": now(), "stopped": None}
    with place.catalogue.begin(durable=False) as tx:
        jobs.beat(tx, place.owner, queues=jobs.NO_QUEUE, gpus=0.0, **present)


def _beat_until(place: Workplace, over: threading.Event) -> None:
    while not over.wait(place.settings.lost_s / 5.0):
        with suppress(LabkitError), place.catalogue.begin(durable=False) as tx:
            jobs.beat(tx, place.owner)
