"""Where a lab's files are: a local folder, or any fsspec URL. One interface, durable writes on the local one."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from labkit.core.errors import Corrupted, StoreError


class Place(Protocol):
    """A folder of files, addressed by relative POSIX paths."""

    def read(self, path: str) -> bytes:
        """The content of a file."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Sizes of all files below *folder*, by path relative to it, bytes."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""

    def source(self, path: str) -> Any:
        """What Arrow reads a Parquet file from: a path, or an open file."""

    def file(self, path: str) -> Any:
        """The file, open for reading at any place."""

    def remove(self, folder: str) -> None:
        """Remove *folder* with everything in it, if it is there."""

    def move(self, folder: str, target: str) -> None:
        """Give *folder* another name."""

    def folders(self, below: str, depth: int) -> list[str]:
        """Folders exactly *depth* levels below *below*."""


class LocalPlace:
    """Files of a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        """The content of a file."""
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            raise Corrupted(f"{path} is missing") from None
        except OSError as error:
            raise Corrupted(f"{path} cannot be read ({error.strerror})") from error

    def sizes(self, folder: str) -> dict[str, int]:
        """Sizes of all files below *folder*, by path relative to it, bytes."""
        found: dict[str, int] = {}
        pending = [(str(self.root / folder), "")]
        while pending:
            path, prefix = pending.pop()
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append((entry.path, f"{prefix}{entry.name}/"))
                        else:
                            found[f"{prefix}{entry.name}"] = entry.stat(follow_symlinks=False).st_size
            except OSError as error:
                raise Corrupted(f"{folder} cannot be read ({error.strerror})") from error
        return found

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.root / path).exists()

    def source(self, path: str) -> str:
        """The file's path."""
        return str(self.root / path)

    def file(self, path: str) -> IO[bytes]:
        """The file, open for reading at any place."""
        return open(self.root / path, "rb")

    def remove(self, folder: str) -> None:
        """Remove *folder* with everything in it, if it is there."""
        shutil.rmtree(self.root / folder, ignore_errors=True)

    def move(self, folder: str, target: str) -> None:
        """Give *folder* another name, durably."""
        new = self.root / target
        with writing(new):
            make_folders(new.parent)
            os.rename(self.root / folder, new)
            sync_folder(new.parent)
            sync_folder((self.root / folder).parent)

    def folders(self, below: str, depth: int) -> list[str]:
        """Folders exactly *depth* levels below *below*."""
        return sorted(
            path.relative_to(self.root).as_posix()
            for path in (self.root / below).glob("/".join("*" * depth))
            if path.is_dir()
        )


class RemotePlace:
    """Objects below an fsspec URL. There is no rename: a folder counts once its last object is there."""

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self.filesystem, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"storage URL {url!r} cannot be used: {error}", fix="install the fsspec package it needs"
            ) from error

    def _path(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"

    def read(self, path: str) -> bytes:
        """The content of an object."""
        try:
            return bytes(self.filesystem.cat_file(self._path(path)))
        except FileNotFoundError:
            raise Corrupted(f"{path} is missing") from None

    def write(self, path: str, content: bytes) -> None:
        """Make or replace one object."""
        try:
            self.filesystem.makedirs(self._path(path).rpartition("/")[0], exist_ok=True)
            self.filesystem.pipe_file(self._path(path), content)
        except OSError as error:
            raise StoreError(f"{path} cannot be written to the storage URL: {error}") from error

    def sizes(self, folder: str) -> dict[str, int]:
        """Sizes of all objects below *folder*, by path relative to it, bytes."""
        start = self._path(folder).rstrip("/") + "/"
        found = self.filesystem.find(start, detail=True)
        root = self.filesystem._strip_protocol(start).rstrip("/") + "/"
        return {name[len(root) :]: int(info["size"]) for name, info in found.items() if name.startswith(root)}

    def exists(self, path: str) -> bool:
        """Whether there is such an object or a folder of them."""
        return bool(self.filesystem.exists(self._path(path)))

    def source(self, path: str) -> Any:
        """The object, open for reading."""
        return io.BytesIO(self.read(path))

    def file(self, path: str) -> Any:
        """The object, open for reading at any place."""
        return self.filesystem.open(self._path(path), "rb")

    def remove(self, folder: str) -> None:
        """Remove all objects below *folder*, if there are any."""
        if self.exists(folder):
            self.filesystem.rm(self._path(folder), recursive=True)

    def move(self, folder: str, target: str) -> None:
        """Copy the objects below *folder* to *target*, then remove them."""
        for name in self.sizes(folder):
            self.write(f"{target}/{name}", self.read(f"{folder}/{name}"))
        self.remove(folder)

    def folders(self, below: str, depth: int) -> list[str]:
        """Folders exactly *depth* levels below *below*."""
        if not self.exists(below):
            return []
        found = {"/".join(name.split("/")[:depth]) for name in self.sizes(below) if name.count("/") >= depth}
        return sorted(f"{below}/{name}" for name in found)


def place(root: str | Path) -> LocalPlace | RemotePlace:
    """The place at *root*: a local path, or an fsspec URL such as ``s3://bucket/lab``."""
    text = str(root)
    if "://" in text and not text.startswith("file://"):
        return RemotePlace(text)
    return LocalPlace(Path(text.removeprefix("file://")).absolute())


class writing:  # noqa: N801
    """Turn an operating-system error in the block into a :class:`StoreError` that names the place and the remedy."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            remedy = {
                28: "free space and repeat; nothing partial was kept",
                30: "make the folder writable",
                13: "make the folder writable, or open the lab elsewhere",
            }.get(error.errno or 0, "check the folder and the disk")
            raise StoreError(f"{self.path} cannot be written ({error.strerror or error})", fix=remedy) from error


def make_folders(path: Path) -> None:
    """Create *path* and its parents so that they survive a power cut."""
    if path.is_dir():
        return
    make_folders(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path | str) -> None:
    """Make the names in a folder durable (a no-op where the system cannot)."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_files(root: Path, files: Iterable[tuple[str, bytes]]) -> Mapping[str, int]:
    """Write *files* below *root*, and return once they and their names are on the disk; sizes by path, bytes."""
    made: dict[str, None] = {str(root): None}
    handles: list[int] = []
    sizes: dict[str, int] = {}
    try:
        for path, content in files:
            folder = root
            for part in path.split("/")[:-1]:
                folder = folder / part
                if str(folder) not in made:
                    folder.mkdir(exist_ok=True)
                    made[str(folder)] = None
            handle = os.open(root / path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            handles.append(handle)
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
            sizes[path] = len(content)
            if len(handles) >= 200:
                _finish(handles)
        _finish(handles)
    finally:
        for handle in handles:
            os.close(handle)
    for made_folder in reversed(made):
        sync_folder(made_folder)
    return sizes


def _finish(handles: list[int]) -> None:
    while handles:
        os.fsync(handles[-1])
        os.close(handles.pop())
