"""One reader per run and process: it follows the journal once and hands every message to all who listen here."""

from __future__ import annotations

import threading
import time
from asyncio import AbstractEventLoop
from asyncio import Event as LoopEvent
from collections.abc import Callable, Sequence
from importlib import import_module

from labkit.core.errors import Corrupted, StoreError
from labkit.core.wire import unpack_telemetry
from labkit.runs.mailbox import Mailbox
from labkit.runs.messages import TIME, Message, Missed, message_from
from labkit.store.journal import Entry, JournalReader, Journals

PAGE = 100
"""How many entries are read at once."""
ASK_EVERY_S = 1.0
"""How often a run whose journal is silent is asked whether it is over, s."""
LET_GO_S = 5.0
"""The longest that a reader who leaves waits for the journal to be let go, s."""
_PATIENCE = 5
Final = Callable[[], Message | None]
"""Says how the run ended, from the catalogue; None while it has not."""
_KINDS = frozenset({"progress", "telemetry", "alert", "completed", "error", "cancelled"})
FINAL_KINDS = frozenset({"completed", "error", "cancelled"})
"""The kinds of entry after which nothing follows."""

_tails: dict[tuple[str, ...], Tail] = {}
_registry = threading.Lock()


def messages_of(entries: Sequence[Entry]) -> list[Message]:
    """The messages among *entries*; entries of other kinds are for others.

    Raises
    ------
    Corrupted
        If one cannot be read.
    """
    return [_message(entry) for entry in entries if entry.kind in _KINDS]


def _message(entry: Entry) -> Message:
    document = {"type": entry.kind, "timestamp": entry.at, "sequence": entry.sequence, **entry.header}
    if entry.kind == "telemetry":
        channels = unpack_telemetry(entry.payload)
        document["data"] = {TIME if name == "time" else name: values for name, values in channels.items()}
        for values in document["data"].values():
            values.setflags(write=False)
    return message_from(document)


def join(journals: Journals, run_id: str, mailbox: Mailbox, final: Final | None, poll_s: float) -> tuple[Tail, int]:
    """Let *mailbox* have every message of *run_id* from now on; returns the tail and the sequence that "now" is."""
    key = (*journals.key, run_id)
    while True:
        with _registry:
            tail = _tails.setdefault(key, Tail(journals, run_id, key))
        position = tail.admit(mailbox, final, poll_s)
        if position is not None:
            return tail, position


class Tail:
    """Follows one run's journal in a thread of its own for as long as somebody listens; obtained by :func:`join`."""

    def __init__(self, journals: Journals, run_id: str, key: tuple[str, ...]) -> None:
        self._journals, self._run_id, self._key = journals, run_id, key
        self._mailboxes: list[Mailbox] = []
        self._final: Final | None = None
        self._poll_s = 1.0
        self._position = 0
        self._started = self._over = self._existed = False
        self._lock = threading.Lock()
        self._nudge = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"labkit-tail-{run_id}", daemon=True)

    def admit(self, mailbox: Mailbox, final: Final | None, poll_s: float) -> int | None:
        """Add a listener; the sequence it will hear from, or None if this tail has just ended."""
        with self._lock:
            if self._over:
                return None
            if not self._started:
                try:
                    newest = self._journals.last(self._run_id)
                except BaseException:
                    self._end()
                    raise
                self._position = newest.sequence if newest is not None else 0
                self._existed = newest is not None
            self._final = self._final or final
            self._poll_s = min(self._poll_s, poll_s)
            self._mailboxes.append(mailbox)
            if not self._started:
                self._started = True
                self._thread.start()
            self._nudge.set()
            return self._position

    def leave(self, mailbox: Mailbox, *, wait: bool) -> None:
        """Stop telling *mailbox*; the last to leave ends the tail, and may *wait* until the journal is let go."""
        with self._lock:
            if mailbox in self._mailboxes:
                self._mailboxes.remove(mailbox)
            deserted = not self._mailboxes
            if deserted:
                self._end()
                self._nudge.set()
        if deserted and wait:
            self._thread.join(LET_GO_S)

    def _end(self) -> None:
        self._over = True
        with _registry:
            if _tails.get(self._key) is self:
                del _tails[self._key]

    def _follow(self) -> None:
        reader = self._journals.reader(self._run_id)
        failure: Exception | None = None
        try:
            # Loaded now, while nothing is waiting, Arrow does not hold up the first telemetry by a third of a second.
            import_module("pyarrow")
            self._until_the_end(reader)
        except Exception as error:
            # Whatever it was, those who listen must hear of it rather than wait for ever.
            failure = error
        finally:
            reader.close()
            with self._lock:
                self._end()
                for mailbox in self._mailboxes:
                    mailbox.failure, mailbox.ended = failure, True
                _wake(self._mailboxes)

    def _until_the_end(self, reader: JournalReader) -> None:
        silent = failures = 0
        asked, patience = time.monotonic(), 0.0
        while not self._over:
            try:
                found = reader.read(self._position, PAGE)
                told = messages_of(found or ())
            except StoreError as error:
                failures += isinstance(error, Corrupted)
                if failures >= _PATIENCE:
                    raise
                found, told = [], []
            else:
                failures = 0
            if found:
                if self._deliver(found[-1].sequence, told):
                    return
                silent = 0
                asked, patience = time.monotonic(), 0.0
                if len(found) == PAGE:
                    continue
            gone = found is None
            if self._existed and gone and self._final is None:
                return
            if time.monotonic() - asked >= (patience if gone else ASK_EVERY_S):
                # A journal that is not there: the run is over (asked at once), or waits and may do so for hours.
                asked, patience = time.monotonic(), min(max(2 * patience, self._poll_s), ASK_EVERY_S)
                if self._concluded(reader, gone):
                    return
            silent += 1
            # A silent run is looked at less often, but still well within the time in which a row must be seen.
            self._rest(self._poll_s * (1 if silent < 50 else 2))

    def _rest(self, seconds: float) -> None:
        self._nudge.wait(seconds)
        self._nudge.clear()

    def _deliver(self, position: int, messages: list[Message]) -> bool:
        """Hand *messages* to everybody; whether the last of the run was among them."""
        with self._lock:
            self._position, self._existed = position, True
            for mailbox in self._mailboxes:
                mailbox.put(messages)
            _wake(self._mailboxes)
        return any(message.final for message in messages)

    def _concluded(self, reader: JournalReader, gone: bool) -> bool:
        """Whether the run is over by the catalogue; what its journal still held is delivered first."""
        if self._final is None:
            return False
        try:
            last = self._final()
            if last is None:
                return False
            while found := reader.read(self._position, PAGE):
                if self._deliver(found[-1].sequence, messages_of(found)):
                    return True
        except StoreError:
            return False
        missed = Missed(count=None, first=self._position + 1, last=None) if found is None or gone else None
        self._deliver(self._position, [last.model_copy(update={"sequence": self._position, "missed": missed})])
        return True


def _wake(mailboxes: Sequence[Mailbox]) -> None:
    """Tell every consumer that there is something to take; those of one event loop by one call."""
    loops: dict[AbstractEventLoop, list[LoopEvent]] = {}
    for mailbox in mailboxes:
        if isinstance(mailbox.ready, LoopEvent):
            assert mailbox.loop is not None
            loops.setdefault(mailbox.loop, []).append(mailbox.ready)
        else:
            mailbox.ready.set()
    for loop, events in loops.items():
        try:
            loop.call_soon_threadsafe(_set_all, events)
        except RuntimeError:
            # The loop was closed with its readers on it: nobody is left there to be told.
            continue


def _set_all(events: list[LoopEvent]) -> None:
    for event in events:
        event.set()
