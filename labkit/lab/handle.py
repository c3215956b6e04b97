"""A run as a notebook holds it: small text, everything else on request, nothing computed by looking at it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from labkit.core import registry
from labkit.core.errors import NotFound
from labkit.core.identity import Principal
from labkit.core.recipe import Recipe
from labkit.lab.listing import Listing
from labkit.lab.recorded import RecordedJudgement
from labkit.runs.predict import Prediction
from labkit.runs.workplace import Workplace
from labkit.store import arguments
from labkit.store import runs as rows

if TYPE_CHECKING:
    import xarray as xr


class Run:
    """One run of the lab. Its record is read when the handle is made; :meth:`refresh` reads it again."""

    def __init__(self, place: Workplace, run: str | int) -> None:
        self._place = place
        key = arguments.run_key(run)
        with arguments.looked_up("lab.runs() lists what there is"), place.catalogue.read() as tx:
            self._row = rows.get(tx, key)
            self._results = rows.results(tx, self._row["id"])

    def refresh(self) -> Run:
        """The same run with its record as it is now."""
        return Run(self._place, self.id)

    @property
    def id(self) -> str:
        """Identifier, unique everywhere and sortable by time."""
        return str(self._row["id"])

    @property
    def seq(self) -> int:
        """Running number within the lab."""
        return int(self._row["seq"])

    @property
    def state(self) -> str:
        """State of the lifecycle, e.g. ``"COMPLETED"``."""
        return str(self._row["state"])

    @property
    def status(self) -> str:
        """State and verdict in one line."""
        return self.state + (f", {self.verdict}" if self.verdict else "")

    @property
    def verdict(self) -> str | None:
        """``"pass"``, ``"fail"`` or ``"anomaly"`` once judged."""
        return _text(self._row["verdict"])

    @property
    def reason(self) -> str | None:
        """Why a run was refused or failed."""
        return _text(self._row["error_message"])

    @property
    def tool(self) -> str | None:
        """Tool the run was meant for."""
        return _text(self._row["tool"])

    @property
    def record(self) -> Mapping[str, Any]:
        """The whole catalogue row: passport, trust labels, times, cost."""
        return dict(self._row)

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that ran, as it was then."""
        return registry.process(self._row["process"]).parse(self._row["recipe"])

    @property
    def measured(self) -> dict[str, float]:
        """Measured indicators by name."""
        return {name: row["value"] for name, row in self._results.items() if row["value"] is not None}

    @property
    def prediction(self) -> Prediction:
        """What was predicted before the run.

        Raises
        ------
        NotFound
            If the run was refused before it was predicted.
        """
        if self._row["prediction"] is None:
            raise NotFound(f"run {self.seq} has no prediction: it is {self.state}")
        return Prediction.from_document(self._row["prediction"])

    @property
    def preflight(self) -> dict[str, Any] | None:
        """Outcome of the gate: allowed, reasons, warnings, and the changes that were offered."""
        return None if self._row["preflight"] is None else dict(self._row["preflight"])

    @property
    def judgement(self) -> RecordedJudgement | None:
        """Verdict and grounds, once judged."""
        return None if self._row["judgement"] is None else RecordedJudgement(self._row["judgement"])

    @cached_property
    def data(self) -> xr.DataTree:
        """Telemetry, prediction, measured maps and wafer state as one lazy DataTree.

        Raises
        ------
        NotFound
            If the run has no finished folder.
        """
        if self._row["folder"] is None:
            raise NotFound(f"run {self.seq} has no data: it is {self.state}")
        return self._place.folders.open(self._row["folder"], self._row["folder_checksum"])

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, device, seed, sources and caveats of the run's numbers."""
        return {
            **(self._row["provenance"] or {}),
            "origin": self._row["origin"],
            "qualified": self._row["qualified"],
            "recipe_hash": self._row["recipe_hash"],
            "folder_checksum": self._row["folder_checksum"],
            "operator": self.signature,
        }

    @property
    def signature(self) -> str:
        """Who started the run, with the mark that nobody has checked the name where that is so."""
        return Principal(
            self._row["operator"], authenticated=bool((self._row["extra"] or {}).get("authenticated"))
        ).signature

    @property
    def transitions(self) -> Listing:
        """Every state the run has been in, with time, person and reason."""
        with self._place.catalogue.read() as tx:
            return Listing(f"run {self.seq}", ("at", "origin", "target", "by", "reason"), rows.history(tx, self.id))

    @property
    def violations(self) -> Listing:
        """Limits that the run broke, at pre-flight or by its result."""
        with self._place.catalogue.read() as tx:
            return Listing(
                f"limits broken by run {self.seq}", ("stage", "severity", "message"), rows.violations(tx, self.id)
            )

    def facts(self) -> dict[str, str]:
        """What its representation shows: state, recipe, tool, lot, start, and why or what was judged."""
        row = self._row
        facts = {
            "state": self.status,
            "recipe": _recipe_words(row),
            "tool": f"{row['tool'] or '–'} ({row['origin']}{', qualified' if row['qualified'] else ''})",
            "lot": str(row["lot"] or "–"),
            "started": f"{row['started']:%Y-%m-%d %H:%M:%S}" if row["started"] else "–",
            "operator": self.signature,
        }
        if row["preflight"] is not None and self.state == "BLOCKED":
            facts["refused"] = "; ".join(row["preflight"]["reasons"])
            facts["offered"] = (
                "; ".join(f"{c['path']} {c['before']} → {c['after']}" for c in row["preflight"]["offer"]) or "nothing"
            )
        elif self.reason:
            facts["reason"] = self.reason
        if self.judgement is not None:
            facts["judgement"] = self.judgement.headline
            if self.judgement.evidence:
                facts["evidence"] = self.judgement.evidence
            if self.judgement.advice:
                facts["advice"] = self.judgement.advice
        return facts

    def __repr__(self) -> str:
        return "\n".join(
            [f"run {self.seq} · {self.id}", *(f"  {name:10} {value}" for name, value in self.facts().items())]
        )

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr style='text-align:left'><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self.facts().items()
        )
        return f"<table><caption>run {self.seq} · {html.escape(self.id)}</caption><tbody>{body}</tbody></table>"


def _recipe_words(row: Mapping[str, Any]) -> str:
    if row["recipe_hash"] is None:
        return str(row["recipe_name"] or "–")
    return f"{row['recipe_name']} v{row['recipe_version']} ({row['recipe_hash'][:10]})"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
