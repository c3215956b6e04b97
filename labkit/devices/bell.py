"""A bell that one thread rings and tasks on any event loop hear."""

from __future__ import annotations

import asyncio
import threading


class Bell:
    """Something changed: :meth:`ring` it from any thread; a task that has seen :attr:`count` waits for the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[asyncio.Future[None]] = []
        self.count = 0

    def ring(self) -> None:
        """Wake everybody who waits."""
        with self._lock:
            self.count += 1
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            try:
                future.get_loop().call_soon_threadsafe(_wake, future)
            except RuntimeError:
                continue  # its loop was closed: nobody waits there any more

    async def heard(self, count: int, timeout_s: float | None = None) -> None:
        """Wait until the bell has rung more than *count* times, at most *timeout_s*."""
        with self._lock:
            if self.count > count:
                return
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
        try:
            await asyncio.wait({future}, timeout=timeout_s)
        finally:
            with self._lock:
                if future in self._waiting:
                    self._waiting.remove(future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
