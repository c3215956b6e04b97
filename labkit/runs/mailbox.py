"""What waits for one reader of a run: at most so many messages; the oldest are dropped, and the gap is stated."""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from asyncio import Event as LoopEvent
from collections import deque

from labkit.runs.messages import Message, Missed, Progress, TelemetryMessage

BUFFER_BYTES = 32 << 20
"""A reader's waiting telemetry is bounded by size as well as by number, bytes."""


class Mailbox:
    """A bounded queue from the process's one reader of a journal to one consumer.

    When it is full, progress messages that a later one has superseded go first, if they are many, then the oldest
    message. A run's last message is never dropped. The next message that is taken states what is missing before it.

    Parameters
    ----------
    after : int
        Messages up to this sequence are not wanted.
    limit : int
        How many messages may wait.
    loop : asyncio.AbstractEventLoop, optional
        The loop that the consumer lives on; none: it waits in a thread.
    """

    def __init__(self, after: int, limit: int, loop: AbstractEventLoop | None = None) -> None:
        self.after, self.limit, self.loop = after, max(1, limit), loop
        self.ready = threading.Event() if loop is None else LoopEvent()
        self.ended = False
        self.failure: Exception | None = None
        self._waiting: deque[tuple[Message, Missed | None]] = deque()
        self._bytes = 0
        self._progress = 0
        self._lock = threading.Lock()

    def put(self, messages: list[Message]) -> None:
        """Add *messages*, and make room."""
        with self._lock:
            for message in messages:
                # What is told at the very end may have no place of its own in the journal; it is wanted all the same.
                if message.sequence > self.after or message.final:
                    self._waiting.append((message, message.missed))
                    self._count(message, 1)
                    self._make_room()

    def take(self) -> Message | None:
        """The next message, with the gap before it; None while there is none."""
        with self._lock:
            if not self._waiting:
                return None
            message, missed = self._waiting.popleft()
            self._count(message, -1)
        return message if missed is message.missed else message.model_copy(update={"missed": missed})

    def _count(self, message: Message, sign: int) -> None:
        self._bytes += sign * _size(message)
        self._progress += sign * isinstance(message, Progress)

    def _make_room(self) -> None:
        if len(self._waiting) <= self.limit and self._bytes <= BUFFER_BYTES:
            return
        if self._progress > 1 + self.limit // 8:
            self._coalesce()
        while len(self._waiting) > self.limit or (self._bytes > BUFFER_BYTES and len(self._waiting) > 1):
            message, missed = self._waiting.popleft()
            self._count(message, -1)
            follower, stated = self._waiting[0]
            self._waiting[0] = follower, _merged(_merged(missed, _gap(message)), stated)

    def _coalesce(self) -> None:
        """Drop every progress message but the newest; its follower states it."""
        newest = max(n for n, (message, _) in enumerate(self._waiting) if isinstance(message, Progress))
        kept: deque[tuple[Message, Missed | None]] = deque()
        pending: Missed | None = None
        for number, (message, missed) in enumerate(self._waiting):
            if isinstance(message, Progress) and number != newest:
                self._count(message, -1)
                pending = _merged(pending, _merged(missed, _gap(message)))
            else:
                kept.append((message, _merged(pending, missed)))
                pending = None
        self._waiting = kept


def _size(message: Message) -> int:
    return sum(values.nbytes for values in message.data.values()) if isinstance(message, TelemetryMessage) else 0


def _gap(message: Message) -> Missed:
    return Missed(count=1, first=message.sequence, last=message.sequence)


def _merged(earlier: Missed | None, later: Missed | None) -> Missed | None:
    if earlier is None or later is None:
        return earlier or later
    unknown = earlier.count is None or later.count is None
    count = None if unknown else (earlier.count or 0) + (later.count or 0)
    return Missed(count=count, first=earlier.first, last=later.last)
