"""Finishing a run's folder in steps that survive a crash: written aside, published, committed, released."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from labkit.core.errors import StoreError
from labkit.store.documents import sha256
from labkit.store.places import LocalPlace, RemotePlace, make_folders, sync_folder, write_files, writing

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]

STAGING = "staging"
"""Folder of a lab where finished runs are written before they are published."""
DOCUMENT, CHECKSUMS = "run.json", "checksums.json"


Known = Callable[[str, str], bool]
"""Whether the catalogue has a committed row for a run (its id) with a folder: :meth:`Catalogue.holds`."""


class Staged:
    """A finished run, written aside. Use as a context manager: leaving it without publishing discards it.

    When an error leaves the block after publishing, nobody here can know whether the commit came first: an interrupt
    may arrive after it, and a database may fail while it answers. Then the catalogue is asked; without its word the
    folder stays with its note, and recovery decides. A committed folder is never removed.
    """

    run: str
    folder: str
    checksum: str
    is_published = False
    _known: Known | None = None

    def publish(self, known: Known | None = None) -> Self:
        """Move the folder to its final place; the run still does not count until the catalogue row says so.

        *known* is asked what became of the commit if an error leaves the block; without it, that is left to recovery.
        """
        raise NotImplementedError

    def _require_uncommitted(self, known: Known | None) -> None:
        """Refuse to replace a folder, unless the catalogue says that its commit never happened."""
        if known is None or known(self.run, self.folder):
            raise StoreError(f"run {self.run} already has a folder {self.folder}", fix="finished runs do not change")

    def release(self) -> None:
        """Say that the catalogue row is committed; afterwards recovery has nothing to look at."""

    def leave(self) -> None:
        """Let go of everything as it is, for recovery."""

    def discard(self) -> None:
        """Remove what was staged or published, when the commit did not happen."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.is_published:
            self.discard()
        elif error is None:
            self.release()
        else:
            self._settle()

    def _settle(self) -> None:
        committed: bool | None = None
        try:
            if self._known is not None:
                with suppress(StoreError):
                    committed = self._known(self.run, self.folder)
        finally:
            if committed is None:
                self.leave()
            elif committed:
                self.release()
            else:
                self.discard()


class LocalStaged(Staged):
    """Files written to ``staging/<run>`` of a local lab, then renamed; a locked note marks the run until its commit."""

    def __init__(self, where: LocalPlace, run: str, folder: str, files: Iterator[tuple[str, bytes]]) -> None:
        self.run, self.folder, self._root = run, folder, where.root
        staging = where.root / STAGING
        self._aside, self._intent = staging / run, staging / f"{run}.intent"
        with writing(staging):
            make_folders(staging)
            self._lock = claim(self._intent, run)
            try:
                os.write(self._lock, json.dumps({"run": run, "folder": folder}).encode())
                os.fsync(self._lock)
                shutil.rmtree(self._aside, ignore_errors=True)
                self._aside.mkdir()
                entries: dict[str, dict[str, Any]] = {}
                write_files(self._aside, _noting(files, entries))
                content = _checksums(entries)
                write_files(self._aside, [(CHECKSUMS, content)])
            except BaseException:
                self.discard()
                raise
        self.checksum = sha256(content)

    def publish(self, known: Known | None = None) -> Self:
        """Rename the folder into place."""
        target = self._root / self.folder
        with writing(target):
            make_folders(target.parent)
            sync_folder(self._aside.parent)
            if target.exists():
                self._require_uncommitted(known)
                shutil.rmtree(target)
            self._known, self.is_published = known, True
            try:
                os.rename(self._aside, target)
            except OSError:
                self.is_published = False
                raise
            sync_folder(target.parent)
        return self

    def release(self) -> None:
        """Remove the note and give up its lock."""
        if self._lock >= 0:
            with suppress(OSError):
                self._intent.unlink()
            self.leave()

    def leave(self) -> None:
        """Give up the lock; the note stays."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def discard(self) -> None:
        """Remove the folder wherever it is by now."""
        shutil.rmtree(self._aside, ignore_errors=True)
        if self.is_published:
            shutil.rmtree(self._root / self.folder, ignore_errors=True)
            self.is_published = False
        self.release()


class RemoteStaged(Staged):
    """Files held in memory, then written as objects; the checksums come last and make the folder count."""

    def __init__(self, where: RemotePlace, run: str, folder: str, files: dict[str, bytes]) -> None:
        self.run, self.folder, self._place, self._files = run, folder, where, files
        entries = {path: {"sha256": sha256(content), "size": len(content)} for path, content in files.items()}
        self._files[CHECKSUMS] = _checksums(entries)
        self.checksum = sha256(self._files[CHECKSUMS])

    def publish(self, known: Known | None = None) -> Self:
        """Write every object, the checksums last."""
        if self._place.exists(f"{self.folder}/{CHECKSUMS}"):
            self._require_uncommitted(known)
            self._place.remove(self.folder)
        self._known, self.is_published = known, True
        last = (DOCUMENT, CHECKSUMS)
        for path in (*(name for name in self._files if name not in last), *last):
            self._place.write(f"{self.folder}/{path}", self._files[path])
        return self

    def discard(self) -> None:
        """Remove the objects, if they were written."""
        if self.is_published:
            self._place.remove(self.folder)
            self.is_published = False


def claim(intent: Path, run: str, *, keep: bool = False) -> int:
    """Create and lock the note that says a process is finishing *run*; the lock ends with the process, however it ends.

    Raises
    ------
    StoreError
        If a living process holds it.
    """
    while True:
        handle = os.open(intent, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:
                if not keep:
                    os.ftruncate(handle, 0)
                return handle
        except BlockingIOError:
            os.close(handle)
            raise StoreError(
                f"run {run} is being finished by another process", fix="let one process finish a run"
            ) from None
        os.close(handle)


def _noting(files: Iterator[tuple[str, bytes]], entries: dict[str, dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for path, content in files:
        entries[path] = {"sha256": sha256(content), "size": len(content)}
        yield path, content


def _checksums(entries: Mapping[str, Any]) -> bytes:
    return json.dumps({"algorithm": "sha256", "files": dict(sorted(entries.items()))}, indent=1).encode()
