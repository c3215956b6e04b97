"""The folder of one finished run: telemetry (Parquet), gridded fields (Zarr v3), ``run.json``, checksums; immutable.

The fields are one Zarr hierarchy in a zip file, which zarr-python opens with ``ZipStore``: four files per run instead
of some fifty, since a million runs must fit a file system's inodes and each file costs a flush to the disk.

``staged = folders.stage(…)``; ``staged.publish()``; commit ``staged.folder`` and ``staged.checksum`` in the catalogue
(the commit point); ``staged.release()``. What a crash leaves in between is cleared by :mod:`labkit.store.recovery`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import xarray as xr

from labkit.core.errors import Corrupted
from labkit.store import telemetry as parquet
from labkit.store import zarr_format
from labkit.store.clock import now
from labkit.store.documents import dumps, sha256
from labkit.store.identifiers import check_id
from labkit.store.places import LocalPlace, RemotePlace, place
from labkit.store.staging import CHECKSUMS, DOCUMENT, STAGING, LocalStaged, RemoteStaged, Staged

TELEMETRY, FIELDS = "telemetry.parquet", "fields.zarr.zip"
FORMAT = 1
"""Version of the folder layout, written in ``run.json``."""
CHECKED_ON_OPEN = 8_000_000
"""Files up to this size are compared with their checksum when a run is opened; bigger ones by size, and piecewise when
read (Parquet pages and zip members carry a CRC-32), bytes."""
RUNS, QUARANTINE = "runs", "quarantine"


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

    def stage(
        self,
        run: str,
        document: Mapping[str, Any],
        *,
        telemetry: Any = None,
        attributes: Mapping[str, Mapping[str, str]] | None = None,
        fields: Mapping[str, xr.Dataset] | None = None,
        created: datetime | None = None,
    ) -> Staged:
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
            return RemoteStaged(self.place, run, folder, dict(files))
        return LocalStaged(self.place, run, folder, files)

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
        checked = {
            path: self._read(folder, path, manifest) for path, (_, size) in manifest.items() if size <= CHECKED_ON_OPEN
        }
        document = json.loads(checked.get(DOCUMENT) or self._read(folder, DOCUMENT, manifest))
        nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs=_summary(document))}
        if TELEMETRY in manifest:
            lazy = parquet.LazyTelemetry(_Source(self.place, f"{folder}/{TELEMETRY}"), f"run folder {folder}")
            nodes["telemetry"] = lazy.dataset()
        if FIELDS in manifest:
            nodes.update(
                zarr_format.decode(_Members(_Source(self.place, f"{folder}/{FIELDS}"), f"run folder {folder}"))
            )
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


def _files(
    run: str,
    document: Mapping[str, Any],
    telemetry: Any,
    attributes: Mapping[str, Mapping[str, str]] | None,
    fields: Mapping[str, xr.Dataset],
) -> Iterator[tuple[str, bytes]]:
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


def _summary(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in document.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }


__all__ = [
    "CHECKSUMS",
    "DOCUMENT",
    "FIELDS",
    "FORMAT",
    "QUARANTINE",
    "RUNS",
    "STAGING",
    "TELEMETRY",
    "RunFolders",
    "Staged",
]
