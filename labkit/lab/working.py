"""Being a worker: an open lab's process takes jobs off its queue."""

from __future__ import annotations

import os
from collections.abc import Callable

from labkit.lab.workbench import Lab
from labkit.runs.worker import Terms, Worker, sole_worker


def work_in(
    lab: Lab,
    *,
    queues: tuple[str, ...] | None = None,
    slots: int = 4,
    gpus: float = 0.0,
    idle_s: float | None = 60.0,
    say: Callable[[str], None] = lambda line: None,
    on_stop: Callable[[Callable[[], None]], None] = lambda stop: None,
) -> None:
    """Work on *lab*'s queue until there has been nothing to do for *idle_s* (None: for ever) or *on_stop*'s argument
    is called.

    Raises
    ------
    StoreError
        If the lab is embedded and has a worker already.
    """
    with sole_worker(lab.workplace):
        worker = Worker(lab.workplace, Terms(queues, slots, gpus, idle_s), say)
        on_stop(worker.stop)
        say(f"worker {os.getpid()} for {lab.folder}")
        worker.run()
        say("nothing left to do" if idle_s is not None else "stopped")
