"""Runs of a lab as they are looked at, explained, checked and kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.core.errors import LabkitError, StoreError
from labkit.lab import administration, bookkeeping
from labkit.lab.handle import Run
from labkit.lab.listing import Listing
from labkit.lab.opened import OpenLab
from labkit.runs.lifecycle import RunState
from labkit.runs.why import Explanation, explain
from labkit.store import arguments, browse, passport, sql

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_COLUMNS = ("seq", "started", "recipe_name", "tool", "lot", "state", "verdict", "origin", "duration_s")


class RunRecords(OpenLab):
    """What has been run: tables of runs, single runs, channels across runs, wafers, SQL; verification and backup."""

    def why(self, run: str | int | Run) -> Explanation:
        """Why a run came out as it did: causes, contributions, what flagged runs share, which knob moves what."""
        return explain(self._place, (run if isinstance(run, Run) else self.run(run)).id)

    def run(self, run: str | int) -> Run:
        """A run by number or id."""
        return Run(self._place, run)

    def runs(self, *, sort: str = "newest", limit: int = 50, after: str | None = None, **filters: Any) -> Listing:
        """Runs, newest first; filter by ``state``, ``verdict``, ``process``, ``tool``, ``lot``, ``product``,
        ``operator``, ``recipe_name``, ``origin``, ``qualified``, ``wafer``, ``created_after`` or
        ``results={"thickness_mean_nm": (95, 105)}``.
        """
        for name, allowed in (("state", list(RunState)), ("verdict", ["pass", "fail", "anomaly"])):
            if filters.get(name) is not None:
                asked = arguments.several(name, filters[name])
                filters[name] = [filters[name]] if asked is None else asked
                unknown = [v for v in filters[name] if not (isinstance(v, str) and v in allowed)]
                if unknown:
                    raise LabkitError(f"no {name} {arguments.shown(unknown[0])}", allowed=", ".join(allowed))
        with self._place.catalogue.read() as tx:
            page = browse.page(tx, sort=sort, limit=limit, after=after, **filters)
            values = bookkeeping.with_results(tx, page.rows)
        return Listing("runs", _COLUMNS, values, more=page.after is not None, after=page.after)

    def wafer(self, wafer: str) -> Listing:
        """A wafer's passport: every run it went through, first one first."""
        with (
            arguments.looked_up("lab.sql('select id from wafers') lists them"),
            self._place.catalogue.read() as tx,
        ):
            found = passport.wafer(tx, arguments.text("wafer", wafer))
        title = f"wafer {wafer}, lot {found['lot'] or '–'}, product {found['product'] or '–'}"
        return Listing(
            title, ("id", "process", "tool", "recipe_name", "slot", "state", "verdict", "ended"), found["runs"]
        )

    def channel(self, name: str, runs: Iterable[str | int | Run]) -> xr.DataArray:
        """One telemetry channel of many runs, with dims ``run`` and ``time`` (s since the start of each)."""
        asked = arguments.several("runs", runs)
        if not asked:
            raise LabkitError(f"runs = {arguments.shown(runs)}", allowed="several runs", fix="give a list: [1, 2]")
        keys = [run.id if isinstance(run, Run) else arguments.run_key(run) for run in asked]
        with arguments.looked_up("lab.runs() lists what there is"):
            return bookkeeping.channel(self._place, arguments.text("channel", name), keys)

    def sql(self, query: str) -> pd.DataFrame:
        """A read-only SQL query over the catalogue's tables (``runs``, ``results``, ``recipes`` …)."""
        query = arguments.text("query", query, allowed="one SELECT, as text", longest=100_000, lines=True)
        return sql.query(self._place.catalogue, query, folders=self._place.folders)

    def counts(self) -> dict[str, int]:
        """How many runs, recipes and tools there are, and how much is quarantined."""
        return administration.counts(self._place)

    def quarantine(self) -> Listing:
        """What was set aside because it is damaged, and why."""
        return Listing(
            "quarantine", ("at", "kind", "subject", "reason", "moved_to"), administration.quarantined(self._place)
        )

    def verify(self) -> Listing:
        """Check audit chain and run folders; damaged folders are quarantined and named, the rest stays usable."""
        return Listing("findings", ("kind", "subject", "reason"), administration.verify(self._place))

    def backup(self, archive: str | Path) -> Path:
        """Write the lab into one archive file."""
        path = arguments.file("archive", archive)
        try:
            return administration.write_backup(self._place, path)
        except OSError as error:
            raise StoreError(
                f"{arguments.shown(str(path))} cannot be written ({error.strerror})", fix="choose another file"
            ) from None
