"""What a run is asked to do, as an object while it is worked on and as rows while it waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.core import registry
from labkit.core.errors import LabkitError, NotFound, ToolError
from labkit.core.process import Process
from labkit.core.recipe import Recipe, RecipeStatus
from labkit.core.wire import unpack_dataset
from labkit.operations.tool_states import UPTIME, EquipmentState
from labkit.runs.workplace import Workplace
from labkit.store import jobs, passport, recipes, tools
from labkit.store import runs as rows
from labkit.store.artifacts import Artifacts
from labkit.store.catalogue import Transaction

if TYPE_CHECKING:
    import xarray as xr

BLANKS: Mapping[str, str] = {"kind": "blank"}
"""Incoming wafers that nobody named: a full load of blanks."""


@dataclass(frozen=True)
class Order:
    """A recipe on a tool for wafers, and the passport data that goes with it.

    ``incoming`` says where the wafers come from: ``{"kind": "blank"}``, ``{"kind": "run", "run": id}`` or
    ``{"kind": "artifact", "sha256": address}``.
    """

    process: Process
    recipe: Recipe
    tool: str
    tool_kind: str
    wafers: tuple[tuple[str, int], ...] = ()
    lot: str | None = None
    product: str | None = None
    chamber: str | None = None
    recipe_status: RecipeStatus = RecipeStatus.DRAFT
    incoming: Mapping[str, Any] = field(default_factory=lambda: BLANKS)

    @property
    def origin(self) -> str:
        """Trust label of the run's data."""
        return "simulated" if self.tool_kind == "simulated" else "real"

    @property
    def family(self) -> str:
        """Recipe family, whose runs share a baseline and a residual model."""
        return self.process.family(self.recipe)


@dataclass(frozen=True)
class Terms:
    """How a job is queued. Times are aware datetimes; ``after`` names the runs that must complete first."""

    priority: int = 0
    after: tuple[str, ...] = ()
    not_before: datetime | None = None
    expires: datetime | None = None
    soft_limit_s: float | None = None
    hard_limit_s: float | None = None
    retries: int = 0
    backoff_s: float = 1.0
    gpu_share: float = 0.0
    batch: str | None = None
    template: str | None = None
    schedule: str | None = None


def restore_order(place: Workplace, run_id: str) -> Order:
    """The order of a run that was submitted, perhaps by another process, from its rows."""
    with place.catalogue.read() as tx:
        row = rows.get(tx, run_id)
        job = jobs.get(tx, run_id)
        process = registry.process(row["process"])
        recipe = process.parse({**row["recipe"], "status": "draft"})
        wafers = tuple((w, slot) for w, slot in passport.wafers_of(tx, run_id).items() if slot is not None)
        return Order(
            process,
            recipe,
            row["tool"],
            tools.get(tx, row["tool"])["kind"],
            wafers,
            row["lot"],
            row["product"],
            row["chamber"],
            status_of(tx, recipe),
            job["document"]["incoming"],
        )


def incoming_wafers(place: Workplace, order: Order) -> xr.Dataset:
    """The wafers of *order* as they go into the tool.

    Raises
    ------
    NotFound
        If they come from a run that has left no wafers.
    """
    source = order.incoming
    if source["kind"] == "blank":
        return order.process.incoming_wafers(order.recipe)
    with place.catalogue.read() as tx:
        if source["kind"] == "artifact":
            return unpack_dataset(Artifacts(place.folder).get(tx, source["sha256"]))
        row = rows.get(tx, source["run"])
    if row["folder"] is None:
        raise NotFound(
            f"run {row['seq']}, whose wafers go on, has no data: it is {row['state']}", fix="wait until it is complete"
        )
    return place.folders.open(row["folder"], row["folder_checksum"])["wafer"].to_dataset().load()


def status_of(tx: Transaction, recipe: Recipe) -> RecipeStatus:
    """Status of exactly this content in this lab; a draft if it is not stored."""
    states = {
        row["status"]
        for row in recipes.by_hash(tx, recipe.content_hash)
        if (row["name"], row["version"]) == (recipe.name, recipe.version)
    }
    return RecipeStatus(states.pop()) if states else RecipeStatus.DRAFT


def refusal(order: Order) -> LabkitError | None:
    """Why the order cannot be accepted at all, before any physics."""
    if order.tool_kind != "simulated" and order.recipe_status is not RecipeStatus.APPROVED:
        return ToolError(
            f"recipe {order.recipe.name!r} is a {order.recipe_status}; a real tool runs approved recipes only",
            fix="have it approved by somebody other than its author",
        )
    if order.tool_kind != "simulated":
        return ToolError(
            f"{order.tool} is a {order.tool_kind} tool and no driver for it is installed",
            allowed="simulated tools",
            fix="run on a simulated tool; its data would not be this tool's",
        )
    unknown = [name for name in order.recipe.required_interlocks if name not in order.process.interlocks]
    if unknown:
        return ToolError(
            f"{order.tool} has no interlock {', '.join(unknown)}",
            allowed=", ".join(order.process.interlocks) or "none",
            fix="correct required_interlocks",
        )
    return None


def unfit(tx: Transaction, order: Order, *, now_up: bool = True) -> ToolError | None:
    """Why the tool cannot take this order: it is for another process, or, with *now_up*, somebody or a crash has taken
    it down."""
    row = tools.get(tx, order.tool)
    if row["process"] != order.recipe.process:
        return ToolError(f"{order.tool} is a {row['process']} tool", allowed=f"{row['process']} recipes")
    state = EquipmentState(row["state"])
    if state in UPTIME or not now_up:
        return None
    return ToolError(
        f"{order.tool} is {state.label}",
        allowed="a tool that is up",
        fix=f'clear the run that waits for an engineer, or lab.set_tool_state("{order.tool}", "standby")',
    )
