"""Content-addressed files: models, reports, exports. The name is the SHA-256 of the content; equal content is kept
once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from labkit.core.errors import Corrupted, NotFound, StoreError
from labkit.store import tables
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now
from labkit.store.documents import sha256
from labkit.store.places import RemotePlace, make_folders, place, sync_folder, writing


class Artifacts:
    """The artifacts of a lab.

    Parameters
    ----------
    root : str or Path
        The lab's folder, or an fsspec URL.
    """

    def __init__(self, root: str | Path) -> None:
        self.place = place(root)

    def put(
        self,
        tx: Transaction,
        content: bytes | Path,
        *,
        media_type: str,
        name: str | None = None,
        subject: str | None = None,
        origin: str | None = None,
    ) -> str:
        """Store *content* (bytes or a file) and return its address.

        With *name* and *subject* (a run id, a model name …) it can be found again through :meth:`linked`; the newest
        content under a name wins. The file is on the disk before the catalogue's row can be.
        """
        data = content.read_bytes() if isinstance(content, Path) else bytes(content)
        address = sha256(data)
        self._write(address, data)
        if tx.find(tables.artifacts, sha256=address) is None:
            tx.insert(
                tables.artifacts,
                {
                    "sha256": address,
                    "size": len(data),
                    "media_type": media_type,
                    "created": now(),
                    "user": tx.principal.user,
                    "origin": origin,
                },
            )
        if (name is None) != (subject is None):
            raise StoreError("an artifact is linked with both name and subject", fix="give both, or neither")
        if name is not None:
            tx.put(tables.artifact_links, {"subject": subject, "name": name}, {"sha256": address, "created": now()})
        return address

    def get(self, tx: Transaction, address: str) -> bytes:
        """The content at *address*, verified.

        Raises
        ------
        NotFound
            If this organisation has no such artifact.
        Corrupted
            If the file is missing or has changed.
        """
        tx.get(tables.artifacts, sha256=address)
        try:
            content = self.place.read(_path(address))
        except Corrupted as error:
            raise Corrupted(f"artifact {address[:12]}: {error.what}", fix="restore it from a backup") from None
        if sha256(content) != address:
            raise Corrupted(f"artifact {address[:12]} does not match its address", fix="restore it from a backup")
        return content

    def info(self, tx: Transaction, address: str) -> Row:
        """Size, media type, time and user of an artifact."""
        return tx.get(tables.artifacts, sha256=address)

    def linked(self, tx: Transaction, subject: str) -> dict[str, str]:
        """Addresses of a subject's artifacts, by name."""
        table = tables.artifact_links
        return {
            row["name"]: row["sha256"] for row in tx.select(table, table.c.subject == subject, order=[table.c.name])
        }

    def find(self, tx: Transaction, subject: str, name: str) -> str:
        """The address of a subject's artifact called *name*.

        Raises
        ------
        NotFound
            Naming the artifacts that the subject has.
        """
        found = self.linked(tx, subject)
        if name not in found:
            raise NotFound(f"{subject} has no artifact {name!r}", allowed=", ".join(found) or "none stored")
        return found[name]

    def _write(self, address: str, content: bytes) -> None:
        path = _path(address)
        if self.place.exists(path):
            return
        if isinstance(self.place, RemotePlace):
            self.place.write(path, content)
            return
        target = self.place.root / path
        aside = target.with_name(f"{target.name}.{os.getpid()}.part")
        with writing(target):
            make_folders(target.parent)
            try:
                with aside.open("wb") as handle:
                    handle.write(content)
                    handle.flush()
                    os.fsync(handle.fileno())
                os.replace(aside, target)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
            sync_folder(target.parent)


def _path(address: Any) -> str:
    if not isinstance(address, str) or len(address) != 64 or set(address) - set("0123456789abcdef"):
        raise NotFound(f"{str(address)[:80]!r} is no artifact address", allowed="64 hexadecimal digits")
    return f"artifacts/{address[:2]}/{address}"
