"""One background event loop per process, so that tools keep their rhythm while a notebook cell blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def event_loop() -> asyncio.AbstractEventLoop:
    """The background loop, started on first use in a daemon thread."""
    global _loop
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="labkit-tools", daemon=True).start()
        return _loop


def wait(coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
    """Run *coroutine* on the background loop and wait for its result.

    An interrupt (Ctrl-C) reaches the caller at once and cancels the coroutine.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, event_loop())
    try:
        return future.result(timeout_s)
    except BaseException:
        future.cancel()
        raise


def iterate(stream: AsyncIterator[T]) -> Iterator[T]:
    """The items of an asynchronous *stream*, one by one, for a plain ``for`` loop."""

    async def following() -> tuple[bool, Any]:
        try:
            return True, await anext(stream)
        except StopAsyncIteration:
            return False, None

    while True:
        more, item = wait(following())
        if not more:
            return
        yield item
