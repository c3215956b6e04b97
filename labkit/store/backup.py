"""Backup of a lab into one archive (tar, zstd) with a manifest of checksums, and its restoration.

The archive holds the catalogue as of one moment (a SQLite file, also from PostgreSQL), the run folders and artifacts
that it refers to, the journals of runs, settings and the audit anchors. The audit signing key stays out unless asked
for: who holds it can sign, and archives travel. A lab restored without it verifies its chain, but can no longer check
the signatures made before.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from labkit.core.errors import Corrupted, StoreError
from labkit.store.catalogue import Catalogue
from labkit.store.clock import now
from labkit.store.journal import FOLDER as JOURNALS
from labkit.store.places import make_folders, sync_folder, writing
from labkit.store.run_folder import QUARANTINE, STAGING
from labkit.store.schema import HEAD, copy_sqlite, labkit_version
from labkit.store.settings_file import SETTINGS, redirected, settings_text
from labkit.store.table_copy import embedded_copy
from labkit.store.transfer import RETIRED

MANIFEST = "manifest.json"
LEFT_OUT = frozenset({STAGING, QUARANTINE, "locks"})
"""Folders of a lab that are not part of a backup: unfinished work, damaged runs, locks of processes."""
KEYS = frozenset({"audit/key"})
"""Secrets, part of a backup only when asked for."""
ENDPOINT = "endpoint.json"
"""Address and token of a running tool; never part of a backup."""
LIVE = frozenset({"tools", JOURNALS})
"""Folders whose SQLite files are written by other processes: ledgers of tools, journals of runs."""
EMBEDDED = "catalogue.db"
"""The catalogue's file in the archive of a lab on PostgreSQL: restored, it is an embedded lab."""
_BLOCK = 1 << 20


def backup(
    catalogue: Catalogue,
    folder: Path,
    archive: Path,
    *,
    include_keys: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Write the lab in *folder* to *archive*; others may go on working. Returns the manifest.

    Parameters
    ----------
    include_keys : bool
        Whether the audit signing key goes along.
    progress : callable, optional
        Called with files written and files in all.

    Raises
    ------
    StoreError
        If *archive* exists or cannot be written.
    """
    folder = folder.absolute()
    if archive.exists():
        raise StoreError(f"{archive} exists", fix="name another file, or remove that one")
    aside = archive.with_name(f".{archive.name}.part")
    with writing(archive), tempfile.TemporaryDirectory(prefix="labkit-") as scratch:
        members = _snapshot(catalogue, folder, Path(scratch))
        database = members[0][0]
        taken = {name for name, _ in members}
        for name in _members(folder, database, include_keys):
            if name not in taken:
                live = name.endswith(".db") and name.partition("/")[0] in LIVE
                members.append((name, _still(folder / name, Path(scratch)) if live else folder / name))
        try:
            manifest = _write(aside, members, database, catalogue.lab_id, include_keys, progress)
            with aside.open("rb") as handle:
                os.fsync(handle.fileno())
            os.replace(aside, archive)
            sync_folder(archive.absolute().parent)
        finally:
            aside.unlink(missing_ok=True)
    return manifest


def restore(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack *archive* into *folder*, which must be absent or empty; returns the manifest.

    Nothing appears in *folder* unless every file arrived with the checksum it had when it was written.

    Raises
    ------
    StoreError
        If *folder* holds anything, or cannot be written.
    Corrupted
        If the archive is damaged, incomplete, or holds a path that leads outside.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is not empty", allowed="a new or empty folder", fix="restore into another folder")
    with writing(folder):
        make_folders(folder.parent)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            try:
                with (
                    pa.input_stream(str(archive), compression="zstd") as packed,
                    tarfile.open(fileobj=packed, mode="r|") as tar,
                ):
                    manifest = _unpack(tar, aside)
            except FileNotFoundError:
                raise StoreError(f"no archive {archive}") from None
            except (tarfile.TarError, pa.ArrowException, EOFError, ValueError, KeyError, TypeError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise Corrupted(
                    f"{archive} cannot be read as a backup ({reason})", fix="use another archive"
                ) from error
            os.chmod(aside, 0o755)
            if folder.exists():
                folder.rmdir()
            os.rename(aside, folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return manifest


def _snapshot(catalogue: Catalogue, folder: Path, scratch: Path) -> list[tuple[str, Path]]:
    """The catalogue as a SQLite file in *scratch*; from PostgreSQL, also the settings that belong to such a file."""
    if catalogue.url.get_backend_name() == "sqlite":
        database = Path(str(catalogue.url.database))
        copy_sqlite(database, scratch / database.name)
        return [(database.name, scratch / database.name)]
    journals = embedded_copy(catalogue, scratch / EMBEDDED, scratch / JOURNALS)
    files = [(EMBEDDED, scratch / EMBEDDED), *((f"{JOURNALS}/{path.name}", path) for path in journals)]
    if (folder / SETTINGS).exists():
        text = redirected(settings_text(folder / SETTINGS), None)
        (scratch / SETTINGS).write_bytes(text.encode())
        files.append((SETTINGS, scratch / SETTINGS))
    return files


def _still(file: Path, scratch: Path) -> Path:
    """A copy, as of one moment, of a SQLite file that its owner may be writing; the file itself where it is gone or
    not whole, which reading it will show."""
    target = scratch / f"{len(list(scratch.iterdir()))}.live"
    try:
        copy_sqlite(file, target)
    except StoreError:
        return file
    return target


def _members(folder: Path, database: str, include_keys: bool) -> Iterator[str]:
    own = {f"{database}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")}
    for root, below, files in os.walk(folder):
        at = Path(root)
        below[:] = sorted(
            name for name in below if not (at == folder and name in LEFT_OUT) and not name.startswith(".")
        )
        for name in sorted(files):
            path = (at / name).relative_to(folder).as_posix()
            secret = (path in KEYS and not include_keys) or name == ENDPOINT
            if (
                path in own
                or secret
                or name.endswith((".part", ".lock", ".db-wal", ".db-shm"))
                or (at / name).is_symlink()
            ):
                continue
            if not (at == folder and (name.endswith((".backup", ".tar.zst")) or RETIRED in name)):
                yield path


def _write(
    target: Path,
    members: list[tuple[str, Path]],
    database: str,
    lab: str,
    keys: bool,
    progress: Callable[[int, int], object] | None,
) -> dict[str, Any]:
    files: dict[str, dict[str, Any]] = {}
    with pa.output_stream(str(target), compression="zstd") as sink, tarfile.open(fileobj=sink, mode="w|") as tar:
        for done, (name, path) in enumerate(members, 1):
            try:
                handle = path.open("rb")
            except FileNotFoundError:
                continue
            with handle:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = os.fstat(handle.fileno()).st_size, 0o600 if name in KEYS else 0o644
                hashing = _Hashing(handle)
                tar.addfile(entry, hashing)
                files[name] = {"sha256": hashing.digest, "size": entry.size}
            if progress is not None:
                progress(done, len(members))
        manifest = {
            "format": 1,
            "labkit": labkit_version(),
            "revision": HEAD,
            "lab": lab,
            "made": now().isoformat(),
            "catalogue": database,
            "keys_included": keys,
            "files": files,
        }
        content = json.dumps(manifest, indent=1).encode()
        last = tarfile.TarInfo(MANIFEST)
        last.size = len(content)
        tar.addfile(last, io.BytesIO(content))
    return manifest


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle, self._hash = handle, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        content = self._handle.read(size)
        self._hash.update(content)
        return content

    @property
    def digest(self) -> str:
        """SHA-256 of what was read."""
        return self._hash.hexdigest()


def _unpack(tar: tarfile.TarFile, target: Path) -> dict[str, Any]:
    arrived: dict[str, str] = {}
    manifest: dict[str, Any] | None = None
    for entry in tar:
        path = PurePosixPath(entry.name)
        if not entry.isreg() or path.is_absolute() or ".." in path.parts or "\\" in entry.name or entry.name in arrived:
            raise Corrupted(
                f"the archive holds {entry.name!r}, which does not belong in a backup", fix="use another archive"
            )
        packed = tar.extractfile(entry)
        if packed is None:
            raise Corrupted(f"the archive's {entry.name} cannot be read")
        if entry.name == MANIFEST:
            manifest = json.loads(packed.read())
            continue
        arrived[entry.name] = _copy(packed, target / path, 0o600 if entry.name in KEYS else 0o644)
    if manifest is None:
        raise Corrupted(
            "the archive has no manifest: it is incomplete or not a labkit backup", fix="use another archive"
        )
    expected = {name: found["sha256"] for name, found in manifest["files"].items()}
    wrong = sorted(name for name in {*expected, *arrived} if expected.get(name) != arrived.get(name))
    if wrong:
        raise Corrupted(f"the archive's {wrong[0]} does not match its checksum", fix="use another archive")
    return manifest


def _copy(source: IO[bytes], target: Path, mode: int) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    handle = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(handle, "wb") as sink:
        while block := source.read(_BLOCK):
            digest.update(block)
            sink.write(block)
        sink.flush()
        os.fsync(handle)
    return digest.hexdigest()
