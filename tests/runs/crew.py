"""A worker in a thread of the test's own process, for a lab in which no other worker may start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from labkit.core.errors import LabkitError
from labkit.lab import Lab
from labkit.runs.worker import Terms, Worker, sole_worker

PATIENCE_S = 60.0
"""How long a test waits for what must come, s."""


def until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until *condition* holds; a test that waits in vain says for *what*."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s in vain for {what}"
        time.sleep(0.02)


class Crew:
    """The lab's only worker, who comes to work when told to."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.said: list[str] = []
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None

    def start(self, *, slots: int = 4, gpus: float = 0.0, idle_s: float | None = None) -> None:
        """Begin to work."""
        self._worker = Worker(self.lab.workplace, Terms(None, slots, gpus, idle_s), self.said.append)
        self._thread = threading.Thread(target=self._worker.run, name="crew")
        self._thread.start()

    @property
    def working(self) -> bool:
        """Whether the worker is there."""
        return self._thread is not None and self._thread.is_alive()

    def ask_to_stop(self) -> None:
        """Let the worker take nothing new."""
        assert self._worker is not None
        self._worker.stop()

    def dismiss(self) -> None:
        """Cancel what is open, and send the worker home."""
        for row in self.lab.jobs() if self.working else ():
            with suppress(LabkitError):
                self.lab.job(row["run"]).resume()
                self.lab.job(row["run"]).cancel("the test is over")
        if self._worker is not None and self._thread is not None:
            self._worker.stop()
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()


@contextmanager
def crew_of(lab: Lab) -> Iterator[Crew]:
    """The right to work in *lab*, held to the end of the block."""
    with sole_worker(lab.workplace):
        crew = Crew(lab)
        try:
            yield crew
        finally:
            crew.dismiss()
