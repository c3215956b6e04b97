"""The wafer passport: lots, wafers, which runs they went through, and where their present state is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from labkit.core.errors import StoreError
from labkit.store import runs, tables
from labkit.store.catalogue import Row, Transaction
from labkit.store.clock import now


def add_lot(tx: Transaction, lot: str, *, product: str | None = None, note: str | None = None) -> None:
    """Make a lot known; one that exists keeps what it has."""
    if tx.find(tables.lots, id=lot) is None:
        tx.insert(tables.lots, {"id": lot, "product": product, "note": note, "created": now()})


def add_wafer(
    tx: Transaction, wafer: str, *, lot: str | None = None, sample: str | None = None, product: str | None = None
) -> None:
    """Make a wafer known; one that exists keeps its lot.

    Raises
    ------
    StoreError
        If it already belongs to another lot.
    """
    found = tx.find(tables.wafers, id=wafer)
    if found is None:
        if lot is not None:
            add_lot(tx, lot, product=product)
        tx.insert(tables.wafers, {"id": wafer, "lot": lot, "sample": sample, "product": product, "created": now()})
    elif lot is not None and found["lot"] not in (None, lot):
        raise StoreError(
            f"wafer {wafer!r} belongs to lot {found['lot']!r}, not {lot!r}", fix="give the wafer another id"
        )


def place(tx: Transaction, run: str, wafers: Mapping[str, int | None]) -> None:
    """Say which wafers took part in *run*, and in which slot; unknown wafers are added with the run's lot and product.

    Raises
    ------
    StoreError
        If two wafers have the same slot.
    """
    tx.exclusive("passport")
    slots = [slot for slot in wafers.values() if slot is not None]
    if len(set(slots)) != len(slots):
        raise StoreError(f"two wafers of run {run} have the same slot", allowed="one wafer per slot")
    row = runs.get(tx, run)
    if row["lot"] is not None:
        add_lot(tx, row["lot"], product=row["product"])
    known = {found["id"]: found["lot"] for found in tx.select(tables.wafers, tables.wafers.c.id.in_(list(wafers)))}
    strangers = [wafer for wafer, lot in known.items() if row["lot"] is not None and lot not in (None, row["lot"])]
    if strangers:
        raise StoreError(
            f"wafer {strangers[0]!r} belongs to lot {known[strangers[0]]!r}, not {row['lot']!r}",
            fix="give the wafer another id",
        )
    tx.insert_many(
        tables.wafers,
        [
            {"id": wafer, "lot": row["lot"], "product": row["product"], "created": now()}
            for wafer in wafers
            if wafer not in known
        ],
    )
    tx.delete(tables.run_wafers, tables.run_wafers.c.run_seq == row["seq"], tables.run_wafers.c.wafer.in_(list(wafers)))
    tx.insert_many(
        tables.run_wafers, [{"run_seq": row["seq"], "wafer": wafer, "slot": slot} for wafer, slot in wafers.items()]
    )


def wafers_of(tx: Transaction, run: str) -> dict[str, int | None]:
    """Wafers of a run and their slots, by slot."""
    table, seq = tables.run_wafers, runs.get(tx, run)["seq"]
    found = tx.select(table, table.c.run_seq == seq, columns=("wafer", "slot"), order=[table.c.slot, table.c.wafer])
    return {row["wafer"]: row["slot"] for row in found}


def set_state(tx: Transaction, wafer: str, run: str, *, artifact: str | None = None) -> None:
    """Point a wafer to where its present films, profiles and maps are: the run that left them, or an artifact."""
    runs.get(tx, run)
    tx.update(tables.wafers, {"id": wafer}, {"state_run": run, "state_artifact": artifact})


def wafer(tx: Transaction, wafer: str) -> Row:
    """A wafer's passport, with its history as ``runs``."""
    return {**tx.get(tables.wafers, id=wafer), "runs": history(tx, wafer)}


def history(tx: Transaction, wafer: str) -> list[Row]:
    """The runs a wafer went through, first one first: id, process, tool, recipe, slot, state, verdict, times."""
    link, run = tables.run_wafers, tables.runs
    columns: list[Any] = [
        run.c[name]
        for name in (
            "id",
            "process",
            "tool",
            "chamber",
            "recipe_name",
            "recipe_hash",
            "state",
            "verdict",
            "origin",
            "qualified",
            "started",
            "ended",
        )
    ]
    statement = sa.select(*columns, link.c.slot).select_from(
        link.join(run, sa.and_(run.c.seq == link.c.run_seq, run.c.org_id == link.c.org_id))
    )
    return [dict(row) for row in tx.execute(statement.where(link.c.wafer == wafer).order_by(link.c.run_seq)).mappings()]
