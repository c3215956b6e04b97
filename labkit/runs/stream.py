"""The stream of a run: written by whoever carries it out, followed by anybody, from any process, from any point on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from labkit.runs.mailbox import Mailbox
from labkit.runs.messages import Connected, ConnectedData, Message
from labkit.runs.stream_writer import StreamWriter
from labkit.runs.tail import FINAL_KINDS, PAGE, Final, Tail, join, messages_of
from labkit.store.catalogue import Catalogue
from labkit.store.clock import now
from labkit.store.journal import Journals

Status = Callable[[], tuple[str, float]]
"""The run's state and progress, %, as the catalogue has them now."""
_LOOK_UP_S = 0.2


class _Following:
    """One consumer's place in a run: what was said before it came, then what its mailbox receives."""

    def __init__(
        self, journals: Journals, run_id: str, after: int, buffer: int, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self.journals, self.run_id, self.cursor = journals, run_id, max(0, after)
        self.mailbox = Mailbox(self.cursor, buffer, loop)
        self.tail: Tail | None = None
        self._until = 0
        self._left = False

    def begin(self, status: Status | None, final: Final | None, poll_s: float) -> list[Message]:
        """Join the run; the first messages: connected and, where this reader has heard everything, the last."""
        self.tail, self._until = join(self.journals, self.run_id, self.mailbox, final, poll_s)
        if self._left:
            # Cancelled while this went on in a thread: nobody else would leave.
            self.tail.leave(self.mailbox, wait=False)
        newest = self.journals.last(self.run_id)
        state, percent = status() if status is not None else self._status_by_the_journal()
        hello = Connected(
            timestamp=now(),
            sequence=self.cursor,
            data=ConnectedData(run_id=self.run_id, status=str(state), progress=percent),
        )
        over = newest is not None and newest.kind in FINAL_KINDS and newest.sequence <= self.cursor
        return [hello, *(messages_of([newest]) if newest is not None and over else [])]

    def _status_by_the_journal(self) -> tuple[str, float]:
        found = self.journals.last(self.run_id, "progress")
        if found is None:
            return "unknown", 0.0
        return str(found.header["data"]["status"]), float(found.header["data"]["progress"])

    def history(self) -> list[Message] | None:
        """The next of the messages from before this reader joined; None when there are no more."""
        while self.cursor < self._until:
            found = self.journals.read(self.run_id, self.cursor, min(PAGE, self._until - self.cursor))
            if not found:
                return None
            self.cursor = found[-1].sequence
            if messages := messages_of(found):
                return messages
        return None

    def end(self) -> None:
        """Leave the run; an event loop does not wait for the journal to be let go."""
        self._left = True
        if self.tail is not None:
            self.tail.leave(self.mailbox, wait=self.mailbox.loop is None)


def follow(
    place: Journals | Catalogue,
    run_id: str,
    *,
    after: int = 0,
    buffer: int = 1000,
    poll_s: float = 0.02,
    status: Status | None = None,
    final: Final | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Message]:
    """The messages of *run_id*: ``connected``, then everything beyond *after* in order, to the end of the run.

    What was written before the reader came is read at the reader's pace, without gaps. Of what comes then at most
    *buffer* messages wait for a slow reader; the oldest are dropped, and the next message states it in ``missed``.

    Parameters
    ----------
    place : Journals or Catalogue
        Where the run's journal is.
    run_id : str
        The run; its journal need not exist yet.
    after : int
        The sequence of the last message the reader has seen.
    buffer : int
        How many messages may wait.
    poll_s : float
        How often the journal is looked at, s; the shortest wish of a process's readers of the run holds for all.
    status : callable, optional
        State and progress for the ``connected`` message; by default as the journal has them.
    final : callable, optional
        The run's last message by the catalogue, or None while it is not over. Asked, for all readers of the run in
        this process, when the journal is silent or gone. Without it a reader of a run whose journal is removed ends
        without a last message, and one of a run that never has a journal waits until *stop*.
    stop : callable, optional
        Ends the stream, within about 0.2 s, when it returns true.

    Raises
    ------
    Corrupted
        If the journal cannot be read; the run itself does not notice.
    """
    following = _Following(_journals(place), run_id, after, buffer, None)
    try:
        for message in following.begin(status, final, poll_s):
            yield message
            if message.final:
                return
        while messages := following.history():
            for message in messages:
                yield message
                if message.final or (stop is not None and stop()):
                    return
        yield from _live(following.mailbox, stop)
    finally:
        following.end()


def _live(mailbox: Mailbox, stop: Callable[[], bool] | None) -> Iterator[Message]:
    while True:
        mailbox.ready.clear()
        ended = mailbox.ended
        while (message := mailbox.take()) is not None:
            yield message
            if message.final or (stop is not None and stop()):
                return
        if ended:
            if mailbox.failure is not None:
                raise mailbox.failure
            return
        if stop is not None and stop():
            return
        assert not isinstance(mailbox.ready, asyncio.Event)
        mailbox.ready.wait(_LOOK_UP_S)


async def follow_async(
    place: Journals | Catalogue,
    run_id: str,
    *,
    after: int = 0,
    buffer: int = 1000,
    poll_s: float = 0.02,
    status: Status | None = None,
    final: Final | None = None,
) -> AsyncIterator[Message]:
    """As :func:`follow`, for an event loop: no call blocks it. Cancel the task, or close the iterator, to stop."""
    following = _Following(_journals(place), run_id, after, buffer, asyncio.get_running_loop())
    try:
        for message in await asyncio.to_thread(following.begin, status, final, poll_s):
            yield message
            if message.final:
                return
        while messages := await asyncio.to_thread(following.history):
            for message in messages:
                yield message
                if message.final:
                    return
        async for message in _live_async(following.mailbox):
            yield message
    finally:
        following.end()


async def _live_async(mailbox: Mailbox) -> AsyncIterator[Message]:
    assert isinstance(mailbox.ready, asyncio.Event)
    while True:
        mailbox.ready.clear()
        ended = mailbox.ended
        while (message := mailbox.take()) is not None:
            yield message
            if message.final:
                return
        if ended:
            if mailbox.failure is not None:
                raise mailbox.failure
            return
        await mailbox.ready.wait()


def _journals(place: Journals | Catalogue) -> Journals:
    return place if isinstance(place, Journals) else Journals(place)


__all__ = ["Final", "Status", "StreamWriter", "follow", "follow_async"]
