"""The audit chain shows every changed, missing or cut-off record, and the database refuses to make any."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from labkit.core.errors import Corrupted, StoreError
from labkit.store import audit, tables
from labkit.store.catalogue import Catalogue

from .conftest import MALLORY


def _write(catalogue: Catalogue, count: int) -> None:
    with catalogue.begin() as tx:
        for at in range(count):
            audit.append(tx, "run.finish", f"R{at}", {"value": at / 3, "note": 'é"\n', "large": 1e22, "none": None})


def _tamper(catalogue: Catalogue, *statements: str) -> None:
    with closing(sqlite3.connect(str(catalogue.url.database))) as raw:
        for trigger in ("final_audit_update", "final_audit_delete"):
            raw.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            raw.execute(statement)
        raw.commit()


def test_an_untouched_chain_holds(either: Catalogue) -> None:
    _write(either, 7)
    assert audit.verify(either) == audit.Verification(records=7, signed=0, foreign_anchors=0)
    assert audit.anchor(either) == 7
    assert audit.verify(either).signed == 7
    with either.read() as tx:
        record = audit.records(tx, after=3, limit=1)[0]
    assert (record["ordinal"], record["user"], record["detail"]["large"]) == (4, "anna", 1e22)


@pytest.mark.parametrize("column", ["user", "action", "subject", "detail", "at", "hash", "previous", "authenticated"])
def test_a_changed_record_is_named(catalogue: Catalogue, column: str) -> None:
    _write(catalogue, 5)
    value = {"authenticated": "1", "at": "'2020-01-01 00:00:00.000000'", "detail": "'{}'"}.get(column, "'x'")
    _tamper(catalogue, f'UPDATE audit SET "{column}" = {value} WHERE ordinal = 3')
    with pytest.raises(Corrupted, match="record 3"):
        audit.verify(catalogue)


def test_a_missing_record_is_named(catalogue: Catalogue) -> None:
    _write(catalogue, 5)
    _tamper(catalogue, "DELETE FROM audit WHERE ordinal = 2")
    with pytest.raises(Corrupted, match="record 2 is missing"):
        audit.verify(catalogue)


def test_a_cut_off_end_is_noticed_through_the_signed_head(catalogue: Catalogue) -> None:
    _write(catalogue, audit.EVERY + 3)
    assert audit.verify(catalogue).signed == audit.EVERY
    _tamper(catalogue, f"DELETE FROM audit WHERE ordinal > {audit.EVERY - 4}")
    with pytest.raises(Corrupted, match=f"record {audit.EVERY - 3} is missing"):
        audit.verify(catalogue)


def test_a_chain_that_was_rewritten_whole_is_not_the_one_that_was_signed(catalogue: Catalogue, tmp_path: Path) -> None:
    _write(catalogue, 4)
    audit.anchor(catalogue)
    _tamper(catalogue, "DELETE FROM audit")
    with catalogue.begin() as tx:
        for at in range(4):
            audit.append(tx, "run.finish", f"forged {at}")
    with pytest.raises(Corrupted, match="record 4 is not the one that was signed"):
        audit.verify(catalogue)


def test_a_forged_anchor_is_noticed(catalogue: Catalogue) -> None:
    _write(catalogue, 4)
    audit.anchor(catalogue)
    assert catalogue.folder is not None
    path = catalogue.folder / "audit" / "anchors.jsonl"
    entry = json.loads(path.read_text())
    path.write_text(json.dumps({**entry, "ordinal": 2}) + "\n")
    with pytest.raises(Corrupted, match="not signed by this lab's key"):
        audit.verify(catalogue)
    path.write_text("nonsense\n")
    with pytest.raises(Corrupted, match="cannot be parsed"):
        audit.verify(catalogue)


def test_the_key_is_its_owners_alone(catalogue: Catalogue) -> None:
    _write(catalogue, 1)
    audit.anchor(catalogue)
    assert catalogue.folder is not None
    key = catalogue.folder / "audit" / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    os.chmod(key, 0o644)
    with pytest.raises(StoreError, match="can be read by others"):
        audit.verify(catalogue)


def test_the_database_refuses_to_change_or_remove_records(either: Catalogue) -> None:
    _write(either, 2)
    for statement in (sa.update(tables.audit).values(subject="x"), sa.delete(tables.audit)):
        with pytest.raises(StoreError, match="final"), either.begin() as tx:
            tx.execute(statement)
    if either.engine.dialect.name == "postgresql":
        with pytest.raises(sa.exc.DBAPIError, match="final"), either.engine.begin() as connection:
            connection.execute(sa.text("TRUNCATE audit"))
    assert audit.verify(either).records == 2


def test_a_record_stands_or_falls_with_its_transaction(either: Catalogue) -> None:
    def fail() -> None:
        with either.begin() as tx:
            audit.append(tx, "run.finish", "R1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert audit.verify(either).records == 0


def test_each_organisation_has_its_own_chain(either: Catalogue) -> None:
    _write(either, 3)
    foreign = either.as_principal(MALLORY)
    _write(foreign, 2)
    assert (audit.verify(either).records, audit.verify(foreign).records) == (3, 2)


def test_writers_at_the_same_time_make_one_chain(either: Catalogue) -> None:
    def work() -> None:
        for _ in range(10):
            with either.begin(durable=False) as tx:
                audit.append(tx, "run.finish", "R")

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert audit.verify(either).records == 30
