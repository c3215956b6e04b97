"""The folder of one finished run: telemetry (Parquet), gridded fields (Zarr v3), ``run.json``, checksums; immutable.

The fields are one Zarr hierarchy in a zip file, which zarr-python opens with ``ZipStore``: four files per run instead of
some fifty, since a million runs must fit a file system's inodes and each file costs a flush to the disk.

``staged = folders.stage(…)``; ``staged.publish()``; commit ``staged.folder`` and ``staged.checksum`` in the catalogue (the
commit point); ``staged.release()``. What a crash leaves in between is cleared by :mod:`labkit.store.recovery`.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import xarray as xr

from labkit.core.errors import Corrupted, StoreError
from labkit.store import telemetry as parquet
from labkit.store import zarr_format
from labkit.store.clock import now
from labkit.store.documents import dumps, sha256
from labkit.store.identifiers import check_id
from labkit.store.places import LocalPlace, RemotePlace, make_folders, place, sync_folder, write_files, writing

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]

DOCUMENT, CHECKSUMS, TELEMETRY, FIELDS = "run.json", "checksums.json", "telemetry.parquet", "fields.zarr.zip"
FORMAT = 1
"""Version of the folder layout, written in ``run.json``."""
CHECKED_ON_OPEN = 8_000_000
"""Files up to this size are compared with their checksum when a run is opened; bigger ones by size, and piecewise when
read (Parquet pages and zip members carry a CRC-32), bytes."""
STAGING, RUNS, QUARANTINE = "staging", "runs", "quarantine"


class RunFolders:
    """The run folders of a lab.

    Parameters
    ----------
    root : str or Path
        The lab's folder, or an fsspec URL.
    """

    def __init__(self, root: str | Path) -> None:
        self.place = place(root)

    @property
    def local(self) -> Path | None:
        """The lab's folder where it is a local one."""
        return self.place.root if isinstance(self.place, LocalPlace) else None

    def stage(self, run: str, document: Mapping[str, Any], *, telemetry: Any = None,
              attributes: Mapping[str, Mapping[str, str]] | None = None,
              fields: Mapping[str, xr.Dataset] | None = None, created: datetime | None = None) -> Staged:
        """Write a finished run aside; nothing is visible under ``runs/`` before :meth:`Staged.publish`.

        Parameters
        ----------
        run : str
            The run's id.
        document : mapping
            What ``run.json`` holds: all that is needed to rebuild the catalogue row.
        telemetry : mapping, xarray.Dataset or pyarrow.Table, optional
            Channels of one length with ``time`` in s.
        attributes : mapping, optional
            ``{channel: {"units": …}}`` where *telemetry* is a mapping of bare arrays.
        fields : mapping, optional
            Gridded data by group: ``{"prediction": dataset, "measured": dataset, "wafer": dataset}``.
        created : datetime, optional
            When the run was created; decides the folder ``runs/YYYY/MM/<run>``.

        Raises
        ------
        StoreError
            If it cannot be written, or another process is finishing the same run.
        """
        moment = created or now()
        folder = f"{RUNS}/{moment:%Y}/{moment:%m}/{check_id(run)}"
        files = _files(run, document, telemetry, attributes, fields or {})
        if isinstance(self.place, RemotePlace):
            return _RemoteStaged(self.place, run, folder, dict(files))
        return _LocalStaged(self.place, run, folder, files)

    def open(self, folder: str, checksum: str | None = None) -> xr.DataTree:
        """The run as one DataTree: ``telemetry`` and one node per group of fields. Arrays are read when used.

        ``tree.chunk()`` makes them Dask arrays.

        Raises
        ------
        Corrupted
            If a file is missing, has another size, or the checksums are not those of the catalogue.
        """
        manifest = self._manifest(folder, checksum)
        self._compare_sizes(folder, manifest)
        checked = {path: self._read(folder, path, manifest) for path, (_, size) in manifest.items() if size <= CHECKED_ON_OPEN}
        document = json.loads(checked.get(DOCUMENT) or self._read(folder, DOCUMENT, manifest))
        nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=_summary(document))}
        if TELEMETRY in manifest:
            lazy = parquet.LazyTelemetry(_Source(self.place, f"{folder}/{TELEMETRY}"), f"run folder {folder}")
            nodes["telemetry"] = lazy.dataset()
        if FIELDS in manifest:
            nodes.update(zarr_format.decode(_Members(_Source(self.place, f"{folder}/{FIELDS}"), f"run folder {folder}")))
        return xr.DataTree.from_dict(nodes, name=str(document.get("id", folder.rpartition("/")[2])))

    def document(self, folder: str, checksum: str | None = None) -> dict[str, Any]:
        """The run's ``run.json``, checked."""
        found: dict[str, Any] = json.loads(self._read(folder, DOCUMENT, self._manifest(folder, checksum)))
        return found

    def verify(self, folder: str, checksum: str | None = None) -> int:
        """Read everything and compare with the checksums; returns how many files were read.

        Raises
        ------
        Corrupted
            Naming the first file that is missing, added or changed.
        """
        manifest = self._manifest(folder, checksum)
        self._compare_sizes(folder, manifest)
        for path in manifest:
            self._read(folder, path, manifest)
        return len(manifest)

    def quarantine(self, folder: str) -> str:
        """Move a folder out of the way, to ``quarantine/``; returns where it is now."""
        name = folder.rpartition("/")[2]
        target, again = f"{QUARANTINE}/{name}", 1
        while self.place.exists(target):
            again += 1
            target = f"{QUARANTINE}/{name}.{again}"
        self.place.move(folder, target)
        return target

    def published(self) -> list[str]:
        """Every folder under ``runs/``, oldest month first."""
        return self.place.folders(RUNS, 3)

    def _manifest(self, folder: str, checksum: str | None) -> dict[str, Any]:
        try:
            content = self.place.read(f"{folder}/{CHECKSUMS}")
        except Corrupted as error:
            raise Corrupted(f"run folder {folder}: {CHECKSUMS} cannot be read ({error.what})", fix=_REMEDY) from None
        if checksum is not None and sha256(content) != checksum:
            raise Corrupted(f"run folder {folder}: {CHECKSUMS} is not the one the catalogue knows", fix=_REMEDY)
        try:
            files = json.loads(content)["files"]
            return {str(path): (str(entry["sha256"]), int(entry["size"])) for path, entry in files.items()}
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupted(f"run folder {folder}: {CHECKSUMS} cannot be parsed", fix=_REMEDY) from error

    def _compare_sizes(self, folder: str, manifest: Mapping[str, Any]) -> None:
        present = self.place.sizes(folder)
        present.pop(CHECKSUMS, None)
        for path, (_, size) in manifest.items():
            if path not in present:
                raise Corrupted(f"run folder {folder}: {path} is missing", fix=_REMEDY)
            if present[path] != size:
                raise Corrupted(f"run folder {folder}: {path} has {present[path]} bytes, not {size}", fix=_REMEDY)
        added = sorted(set(present) - set(manifest))
        if added:
            raise Corrupted(f"run folder {folder}: {added[0]} was added later", fix=_REMEDY)

    def _read(self, folder: str, path: str, manifest: Mapping[str, Any]) -> bytes:
        if path not in manifest:
            raise Corrupted(f"run folder {folder}: {path} is not in its checksums", fix=_REMEDY)
        content = self.place.read(f"{folder}/{path}")
        if sha256(content) != manifest[path][0]:
            raise Corrupted(f"run folder {folder}: {path} does not match its checksum", fix=_REMEDY)
        return content


_REMEDY = "restore the folder from a backup; the other runs are unaffected"


class _Members:
    """Reads members of the zip of fields, each against its CRC; picklable, so that Dask workers can use it."""

    def __init__(self, source: _Source, where: str) -> None:
        self.source, self.where = source, where

    def __call__(self, path: str) -> bytes:
        """The content of one member."""
        try:
            with self.source.file() as handle, zipfile.ZipFile(handle) as packed:
                return packed.read(path)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise Corrupted(f"{self.where}: {path} in {FIELDS} cannot be read ({error})", fix=_REMEDY) from error


class _Source:
    """Opens one file for Arrow; picklable."""

    def __init__(self, where: LocalPlace | RemotePlace, path: str) -> None:
        self.where, self.path = where, path

    def __call__(self) -> Any:
        """What Arrow reads from."""
        return self.where.source(self.path)

    def file(self) -> Any:
        """The file, open for reading at any place."""
        return self.where.file(self.path)


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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None or not self.is_published:
            self.discard()
        else:
            self.release()


class _LocalStaged(Staged):
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
        target = self._root / self.folder
        with writing(target):
            make_folders(target.parent)
            sync_folder(self._aside.parent)
            if target.exists():
                raise StoreError(f"run {self.run} already has a folder {self.folder}", fix="finished runs do not change")
            os.rename(self._aside, target)
            sync_folder(target.parent)
        self.is_published = True
        return self

    def release(self) -> None:
        if self._lock >= 0:
            with suppress(OSError):
                self._intent.unlink()
            os.close(self._lock)
            self._lock = -1

    def discard(self) -> None:
        shutil.rmtree(self._aside, ignore_errors=True)
        if self.is_published:
            shutil.rmtree(self._root / self.folder, ignore_errors=True)
            self.is_published = False
        self.release()


class _RemoteStaged(Staged):
    def __init__(self, where: RemotePlace, run: str, folder: str, files: dict[str, bytes]) -> None:
        self.run, self.folder, self._place, self._files = run, folder, where, files
        entries = {path: {"sha256": sha256(content), "size": len(content)} for path, content in files.items()}
        self._files[CHECKSUMS] = _checksums(entries)
        self.checksum = sha256(self._files[CHECKSUMS])

    def publish(self) -> Self:
        if self._place.exists(f"{self.folder}/{CHECKSUMS}"):
            raise StoreError(f"run {self.run} already has a folder {self.folder}", fix="finished runs do not change")
        last = (DOCUMENT, CHECKSUMS)
        for path in (*(name for name in self._files if name not in last), *last):
            self._place.write(f"{self.folder}/{path}", self._files[path])
        self.is_published = True
        return self

    def discard(self) -> None:
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
            raise StoreError(f"run {run} is being finished by another process", fix="let one process finish a run") from None
        os.close(handle)


def _files(run: str, document: Mapping[str, Any], telemetry: Any, attributes: Mapping[str, Mapping[str, str]] | None,
           fields: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, bytes]]:
    if telemetry is not None:
        yield TELEMETRY, parquet.encode(parquet.table(telemetry, attributes))
    if fields:
        yield FIELDS, _zipped(zarr_format.encode(fields))
    yield DOCUMENT, dumps({**document, "id": run, "folder_format": FORMAT}, indent=1).encode()


def _zipped(files: Iterator[tuple[str, bytes]]) -> bytes:
    """*files* in an uncompressed zip whose bytes depend on nothing but them."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as packed:
        for path, content in files:
            packed.writestr(zipfile.ZipInfo(path), content)
    return sink.getvalue()


def _noting(files: Iterator[tuple[str, bytes]], entries: dict[str, dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for path, content in files:
        entries[path] = {"sha256": sha256(content), "size": len(content)}
        yield path, content


def _checksums(entries: Mapping[str, Any]) -> bytes:
    return json.dumps({"algorithm": "sha256", "files": dict(sorted(entries.items()))}, indent=1).encode()


def _summary(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if isinstance(value, str | int | float) and not isinstance(value, bool)}
