"""The catalogue's tables. Every one carries ``org_id``; :mod:`labkit.store.scope` never lets a statement forget it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from labkit.store.clock import UtcTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Text, Real, Truth = sa.Text, sa.Double, sa.Boolean
Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
E10_STATES = ("productive", "standby", "engineering", "scheduled_down", "unscheduled_down", "non_scheduled")
ATTEMPT_STATES = ("queued", "running", "completed", "failed", "cancelled", "retrying")
ORIGINS = ("simulated", "real", "imported")


def _column(name: str, kind: Any = Text, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, **{"nullable": True, **options})


def _needed(name: str, kind: Any = Text, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, **options)


def _one_of(column: str, allowed: tuple[str, ...], name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(word) for word in allowed)})", name=name)


def _table(name: str, *items: Any, key: tuple[str, ...] = (), **options: Any) -> sa.Table:
    """A table with ``org_id``; with *key*, that is the primary key together with ``org_id``, else a running
    ``number``."""
    columns: list[Any] = [_needed("org_id")]
    if not key:
        columns.insert(0, sa.Column("number", Number, primary_key=True, autoincrement=True))
        options.setdefault("sqlite_autoincrement", True)
    else:
        items = (*items, sa.PrimaryKeyConstraint("org_id", *key))
    return sa.Table(name, metadata, *columns, *items, **options)


def _of_run(*columns: str) -> sa.ForeignKeyConstraint:
    names = columns or ("run",)
    target = "runs.seq" if names == ("run_seq",) else "runs.id"
    return sa.ForeignKeyConstraint(["org_id", *names], ["runs.org_id", target])


organisations = _table("organisations", _needed("name"), _needed("created", UtcTime), key=("name",))
users = _table("users", _needed("name"), _needed("role"), _needed("first_seen", UtcTime), key=("name",))
settings = _table("settings", _needed("key"), _column("value", Json), _needed("changed", UtcTime), key=("key",))

tools = _table(
    "tools",
    _needed("id"),
    _needed("name"),
    _needed("kind"),
    _needed("process"),
    _needed("config", Json),
    _needed("state", server_default="standby"),
    _column("capabilities", Json),
    _needed("created", UtcTime),
    _needed("fence", Number, server_default="0"),
    _column("leased_run"),
    _column("leased_until", UtcTime),
    _one_of("kind", ("simulated", "real"), "ck_tools_kind"),
    _one_of("state", E10_STATES, "ck_tools_state"),
    key=("id",),
)
tool_states = _table(
    "tool_states",
    _needed("tool"),
    _needed("state"),
    _needed("since", UtcTime),
    _column("until", UtcTime),
    _column("reason"),
    _needed("user"),
    _one_of("state", E10_STATES, "ck_tool_states_state"),
    sa.ForeignKeyConstraint(["org_id", "tool"], ["tools.org_id", "tools.id"]),
    sa.Index(None, "org_id", "tool", "since"),
)

recipes = _table(
    "recipes",
    _needed("name"),
    _needed("version", sa.Integer),
    _needed("process"),
    _needed("content_hash"),
    _needed("document", Json),
    _needed("status"),
    _needed("author"),
    _needed("created", UtcTime),
    _column("approved_by"),
    _column("approved_at", UtcTime),
    _needed("hazard_level", sa.Integer),
    _column("parent_version", sa.Integer),
    _column("notes", Json),
    _one_of("status", ("draft", "approved", "retired"), "ck_recipes_status"),
    sa.Index(None, "org_id", "content_hash"),
    key=("name", "version"),
)
approvals = _table(
    "approvals",
    _needed("recipe_hash"),
    _needed("recipe_name"),
    _needed("recipe_version", sa.Integer),
    _needed("decision"),
    _needed("approver"),
    _needed("role"),
    _needed("signature"),
    _needed("at", UtcTime),
    _column("note"),
    sa.ForeignKeyConstraint(
        ["org_id", "recipe_name", "recipe_version"], ["recipes.org_id", "recipes.name", "recipes.version"]
    ),
    sa.Index(None, "org_id", "recipe_hash"),
)

lots = _table("lots", _needed("id"), _column("product"), _column("note"), _needed("created", UtcTime), key=("id",))
wafers = _table(
    "wafers",
    _needed("id"),
    _column("lot"),
    _column("sample"),
    _column("product"),
    _column("state_run"),
    _column("state_artifact"),
    _needed("created", UtcTime),
    sa.Index(None, "org_id", "lot"),
    key=("id",),
)

FILTER_COLUMNS = (
    "state",
    "verdict",
    "process",
    "tool",
    "product",
    "lot",
    "operator",
    "recipe_name",
    "recipe_hash",
    "origin",
    "qualified",
    "parent_id",
)
ORDER_COLUMNS = ("created", "duration_s", "cost", "ended")
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("seq", Number, primary_key=True, autoincrement=True),
    _needed("org_id"),
    _needed("id"),
    _needed("process"),
    _column("recipe_name"),
    _column("recipe_version", sa.Integer),
    _column("recipe_hash"),
    _column("recipe", Json),
    _column("tool"),
    _column("chamber"),
    _column("product"),
    _column("lot"),
    _needed("operator"),
    _needed("state"),
    _column("verdict"),
    _needed("origin"),
    _needed("qualified", Truth, server_default=sa.false()),
    _column("baseline_id"),
    _column("parent_id"),
    _column("kind"),
    _column("seed", Number),
    _column("title"),
    _needed("created", UtcTime),
    _column("started", UtcTime),
    _column("ended", UtcTime),
    _column("duration_s", Real),
    _needed("progress", Real, server_default="0"),
    _column("step"),
    _column("cost", Real),
    _column("currency"),
    _column("error_code"),
    _column("error_message"),
    _column("preflight", Json),
    _column("prediction", Json),
    _column("judgement", Json),
    _column("provenance", Json),
    _column("extra", Json),
    _column("folder"),
    _column("folder_checksum"),
    _one_of("origin", ORIGINS, "ck_runs_origin"),
    sa.UniqueConstraint("org_id", "id"),
    sa.Index("ix_runs_org_id_seq", "org_id", "seq", unique=True),
    *(sa.Index(None, "org_id", column, "seq") for column in (*FILTER_COLUMNS, *ORDER_COLUMNS)),
    sqlite_autoincrement=True,
)
results = _table(
    "results",
    _needed("run_seq", Number),
    _needed("name"),
    _column("value", Real),
    _column("expected", Real),
    _column("residual", Real),
    _needed("units", server_default="1"),
    _of_run("run_seq"),
    sa.Index(None, "org_id", "name", "value", "run_seq"),
    key=("run_seq", "name"),
    sqlite_with_rowid=False,
)
run_wafers = _table(
    "run_wafers",
    _needed("run_seq", Number),
    _needed("wafer"),
    _column("slot", sa.Integer),
    _of_run("run_seq"),
    sa.Index(None, "org_id", "wafer", "run_seq"),
    key=("run_seq", "wafer"),
    sqlite_with_rowid=False,
)

attempts = _table(
    "attempts",
    _needed("run"),
    _needed("ordinal", sa.Integer),
    _needed("state"),
    _column("worker"),
    _column("queued", UtcTime),
    _column("started", UtcTime),
    _column("ended", UtcTime),
    _column("error_code"),
    _column("error_message"),
    _column("fence", Number),
    _one_of("state", ATTEMPT_STATES, "ck_attempts_state"),
    _of_run(),
    key=("run", "ordinal"),
)
transitions = _table(
    "transitions",
    _needed("run"),
    _column("origin"),
    _needed("target"),
    _needed("at", UtcTime),
    _needed("by"),
    _column("reason"),
    _of_run(),
    sa.Index(None, "org_id", "run"),
)
violations = _table(
    "violations",
    _needed("run"),
    _needed("quantity"),
    _needed("severity"),
    _column("value", Real),
    _column("low", Real),
    _column("high", Real),
    _column("units"),
    _column("stage"),
    _column("message"),
    _column("profile"),
    _of_run(),
    sa.Index(None, "org_id", "run"),
)
sweep_chunks = _table(
    "sweep_chunks",
    _needed("run"),
    _needed("ordinal", sa.Integer),
    _needed("state"),
    _column("first", Number),
    _column("count", Number),
    _column("artifact"),
    _column("worker"),
    _column("ended", UtcTime),
    _column("error_message"),
    _of_run(),
    key=("run", "ordinal"),
)

baselines = _table(
    "baselines",
    _needed("id"),
    _needed("tool"),
    _needed("process"),
    _needed("family"),
    _needed("document", Json),
    _needed("frozen_at", UtcTime),
    _column("qualified_by"),
    _column("retired_at", UtcTime),
    sa.Index(None, "org_id", "tool", "process", "family", "frozen_at"),
    key=("id",),
)
training_rows = _table(
    "training_rows",
    _needed("run"),
    _needed("tool"),
    _needed("process"),
    _needed("family"),
    _needed("origin"),
    _needed("qualified", Truth, server_default=sa.false()),
    _needed("inputs", Json),
    _needed("outputs", Json),
    _needed("excluded", Truth, server_default=sa.false()),
    _column("reason"),
    _needed("created", UtcTime),
    _of_run(),
    sa.UniqueConstraint("org_id", "run"),
    sa.Index(None, "org_id", "process", "tool", "family", "origin", "number"),
)
suggestions = _table(
    "suggestions",
    _needed("id"),
    _needed("kind"),
    _needed("tool"),
    _needed("process"),
    _column("family"),
    _column("run"),
    _column("recipe_name"),
    _column("recipe_version", sa.Integer),
    _needed("changes", Json),
    _column("reason"),
    _needed("status"),
    _needed("created", UtcTime),
    _column("decided_by"),
    _column("decided_at", UtcTime),
    _one_of("status", ("proposed", "approved", "refused"), "ck_suggestions_status"),
    sa.Index(None, "org_id", "status", "tool"),
    key=("id",),
)
charts_state = _table(
    "charts_state", _needed("key"), _needed("document", Json), _needed("changed", UtcTime), _column("run"), key=("key",)
)
constraint_profiles = _table(
    "constraint_profiles",
    _needed("name"),
    _needed("version", sa.Integer),
    _needed("process"),
    _column("tool"),
    _column("product"),
    _needed("document", Json),
    _needed("author"),
    _needed("created", UtcTime),
    key=("name", "version"),
)

artifacts = _table(
    "artifacts",
    _needed("sha256"),
    _needed("size", Number),
    _needed("media_type"),
    _needed("created", UtcTime),
    _needed("user"),
    _column("origin"),
    key=("sha256",),
)
artifact_links = _table(
    "artifact_links",
    _needed("subject"),
    _needed("name"),
    _needed("sha256"),
    _needed("created", UtcTime),
    sa.ForeignKeyConstraint(["org_id", "sha256"], ["artifacts.org_id", "artifacts.sha256"]),
    key=("subject", "name"),
)
audit = _table(
    "audit",
    _needed("ordinal", Number),
    _needed("at", UtcTime),
    _needed("user"),
    _needed("authenticated", Truth),
    _needed("action"),
    _needed("subject"),
    _needed("detail"),
    _needed("previous"),
    _needed("hash"),
    key=("ordinal",),
)
quarantine = _table(
    "quarantine",
    _needed("kind"),
    _needed("subject"),
    _needed("reason"),
    _column("moved_to"),
    _column("detail", Json),
    _needed("at", UtcTime),
    _column("resolved_at", UtcTime),
    sa.Index(None, "org_id", "kind", "subject"),
)
