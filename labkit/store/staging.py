"""Finishing a run's folder in steps that survive a crash: written aside, published, committed, released."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
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


class Staged:
    """A finished run, written aside. Use as a context manager: leaving it without publishing discards it."""

    run: str
    folder: str
    checksum: str
    is_published = False

    def publish(self) -> Self:
        """Move the folder to its final place; the run still does not count until the catalogue row says so."""
        raise NotImplementedError

    def release(self) -> None:
        """Say that the catalogue row is committed; afterwards recovery has nothing to look at."""

    def discard(self) -> None:
        """Remove what was staged or published, when the commit did not happen."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or not self.is_published:
            self.discard()
        else:
            self.release()


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

    def publish(self) -> Self:
        """Rename the folder into place."""
        target = self._root / self.folder
        with writing(target):
            make_folders(target.parent)
            sync_folder(self._aside.parent)
            if target.exists():
                raise StoreError(
                    f"run {self.run} already has a folder {self.folder}", fix="finished runs do not change"
                )
            os.rename(self._aside, target)
            sync_folder(target.parent)
        self.is_published = True
        return self

    def release(self) -> None:
        """Remove the note and give up its lock."""
        if self._lock >= 0:
            with suppress(OSError):
                self._intent.unlink()
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

    def publish(self) -> Self:
        """Write every object, the checksums last."""
        if self._place.exists(f"{self.folder}/{CHECKSUMS}"):
            raise StoreError(f"run {self.run} already has a folder {self.folder}", fix="finished runs do not change")
        last = (DOCUMENT, CHECKSUMS)
        for path in (*(name for name in self._files if name not in last), *last):
            self._place.write(f"{self.folder}/{path}", self._files[path])
        self.is_published = True
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
