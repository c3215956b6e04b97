"""The audit log: append-only, each record bound to the one before by hash, its head signed at intervals.

The chain alone shows a changed or missing record inside it, but not one cut off at the end; therefore heads are
signed (HMAC-SHA256, key file of the lab, mode 0600) into a separate append-only file. The database refuses updates
and deletes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.core.errors import Corrupted, StoreError
from labkit.store import tables
from labkit.store.catalogue import Catalogue, Row, Transaction
from labkit.store.clock import now
from labkit.store.documents import canonical, sha256
from labkit.store.places import make_folders, sync_folder, writing

TABLE = tables.audit
ORIGIN = "0" * 64
"""What the first record names as its predecessor."""
EVERY = 50
"""A head is signed after this many records."""
_PAGE = 2_000


@dataclass(frozen=True)
class Verification:
    """What was checked: records in the chain, the last one whose head is signed, and anchors of a key that is not
    here."""

    records: int
    signed: int
    foreign_anchors: int


def append(tx: Transaction, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> int:
    """Add a record in the caller's transaction; returns its ordinal, from 1.

    Parameters
    ----------
    action : str
        What was done, as ``noun.verb`` (``"recipe.approve"``).
    subject : str
        To what.
    detail : mapping, optional
        Whatever explains it.
    """
    tx.exclusive("audit")
    last = tx.select(TABLE, columns=("ordinal", "hash"), order=[TABLE.c.ordinal.desc()], limit=1)
    row: Row = {
        "ordinal": last[0]["ordinal"] + 1 if last else 1,
        "at": now(),
        "user": tx.principal.user,
        "authenticated": tx.principal.authenticated,
        "action": action,
        "subject": subject,
        "detail": canonical(detail or {}),
        "previous": last[0]["hash"] if last else ORIGIN,
    }
    row["hash"] = _digest(tx.organisation, row)
    tx.insert(TABLE, row)
    if row["ordinal"] % EVERY == 0 and tx.folder is not None:
        folder, organisation = tx.folder, tx.organisation
        tx.after_commit(lambda: _sign(folder, organisation, row["ordinal"], row["hash"]))
    return int(row["ordinal"])


def records(tx: Transaction, *, subject: str | None = None, after: int = 0, limit: int | None = None) -> list[Row]:
    """Records in order, with their detail decoded."""
    where = [TABLE.c.ordinal > after] + ([TABLE.c.subject == subject] if subject is not None else [])
    found = tx.select(TABLE, *where, order=[TABLE.c.ordinal], limit=limit)
    return [{**row, "detail": json.loads(row["detail"])} for row in found]


def anchor(catalogue: Catalogue) -> int:
    """Sign the present head; returns its ordinal, 0 where there is nothing to sign or no folder to sign in."""
    with catalogue.read() as tx:
        last = tx.select(TABLE, columns=("ordinal", "hash"), order=[TABLE.c.ordinal.desc()], limit=1)
    if not last or catalogue.folder is None:
        return 0
    organisation = catalogue.principal.organisation
    known = [entry for entry in _anchors(catalogue.folder) if entry["organisation"] == organisation]
    if not known or known[-1]["ordinal"] < last[0]["ordinal"]:
        _sign(catalogue.folder, organisation, last[0]["ordinal"], last[0]["hash"])
    return int(last[0]["ordinal"])


def verify(catalogue: Catalogue) -> Verification:
    """Recompute the organisation's chain and compare it with its signed heads.

    Raises
    ------
    Corrupted
        Naming the first record that was changed or is missing, or the signature that does not hold.
    """
    organisation = catalogue.principal.organisation
    heads: dict[int, str] = {}
    foreign = 0
    key = (
        _key(catalogue.folder)
        if catalogue.folder is not None and (catalogue.folder / "audit" / "key").exists()
        else None
    )
    for entry in _anchors(catalogue.folder) if catalogue.folder is not None else ():
        if entry["organisation"] != organisation:
            continue
        if key is None or entry["key"] != _key_name(key):
            foreign += 1
        elif not hmac.compare_digest(_signature(key, entry), str(entry["signature"])):
            raise Corrupted(f"audit anchor of record {entry['ordinal']} is not signed by this lab's key")
        heads[int(entry["ordinal"])] = str(entry["hash"])
    with catalogue.read() as tx:
        count, _ = follow(tx, heads)
    if heads and max(heads) > count:
        raise Corrupted(f"audit record {count + 1} is missing: {max(heads)} records were signed, {count} are there")
    return Verification(count, max(heads, default=0), foreign)


def follow(tx: Transaction, heads: Mapping[int, str] | None = None) -> tuple[int, str]:
    """Recompute the organisation's chain from its first record; returns its length and its last hash.

    Parameters
    ----------
    heads : mapping, optional
        Signed hashes that the records must have, by ordinal.

    Raises
    ------
    Corrupted
        Naming the first record that was changed, is missing, or is not the signed one.
    """
    known = heads or {}
    previous, count = ORIGIN, 0
    for row in _in_order(tx):
        count += 1
        if row["ordinal"] != count:
            raise Corrupted(f"audit record {count} is missing")
        if row["previous"] != previous or row["hash"] != _digest(tx.organisation, row):
            raise Corrupted(f"audit record {count} ({row['action']} {row['subject']}) was changed")
        if known.get(count, row["hash"]) != row["hash"]:
            raise Corrupted(f"audit record {count} is not the one that was signed")
        previous = str(row["hash"])
    return count, previous


def _in_order(tx: Transaction) -> Iterator[Row]:
    after = 0
    while page := tx.select(TABLE, TABLE.c.ordinal > after, order=[TABLE.c.ordinal], limit=_PAGE):
        yield from page
        after = page[-1]["ordinal"]


def _digest(organisation: str, row: Mapping[str, Any]) -> str:
    content = {
        name: row[name] for name in ("ordinal", "user", "authenticated", "action", "subject", "detail", "previous")
    }
    return sha256(
        canonical({**content, "at": row["at"].isoformat(timespec="microseconds"), "organisation": organisation})
    )


def _sign(folder: Path, organisation: str, ordinal: int, head: str) -> None:
    key = _key(folder)
    entry = {
        "organisation": organisation,
        "ordinal": ordinal,
        "hash": head,
        "at": now().isoformat(),
        "key": _key_name(key),
    }
    entry["signature"] = _signature(key, entry)
    path = folder / "audit" / "anchors.jsonl"
    with writing(path):
        handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        try:
            os.write(handle, (canonical(entry) + "\n").encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_folder(path.parent)


def _signature(key: bytes, entry: Mapping[str, Any]) -> str:
    signed = {name: value for name, value in entry.items() if name != "signature"}
    return hmac.new(key, canonical(signed).encode(), hashlib.sha256).hexdigest()


def _anchors(folder: Path) -> list[dict[str, Any]]:
    try:
        lines = (folder / "audit" / "anchors.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    try:
        found = [json.loads(line) for line in lines]
        return [
            entry
            for entry in found
            if entry["organisation"] and entry["hash"] and int(entry["ordinal"]) and entry["key"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupted(
            f"audit anchors in {folder / 'audit'} cannot be parsed", fix="restore the file from a backup"
        ) from error


def _key(folder: Path) -> bytes:
    path = folder / "audit" / "key"
    if not path.exists():
        with writing(path):
            make_folders(path.parent)
            aside = path.with_name(f"key.{os.getpid()}.{secrets.token_hex(4)}")
            handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                os.write(handle, secrets.token_hex(32).encode())
                os.fsync(handle)
            finally:
                os.close(handle)
            try:
                os.link(aside, path)
            except FileExistsError:
                pass
            finally:
                aside.unlink()
            sync_folder(path.parent)
    if path.stat().st_mode & 0o077:
        raise StoreError(f"audit key {path} can be read by others", allowed="mode 0600", fix=f"chmod 600 {path}")
    return path.read_bytes()


def _key_name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:16]
