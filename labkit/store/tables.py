"""The catalogue's tables. Every one carries ``org_id``; :mod:`labkit.store.scope` never lets a statement forget it."""

from __future__ import annotations

import sqlalchemy as sa

from labkit.store.clock import UtcTime
from labkit.store.columns import Json, Number, Real, Truth, column, metadata, needed, of_run, one_of, table
from labkit.store.job_tables import job_links, job_logs, job_templates, jobs, schedules, workers

E10_STATES = ("productive", "standby", "engineering", "scheduled_down", "unscheduled_down", "non_scheduled")
ATTEMPT_STATES = ("queued", "running", "completed", "failed", "cancelled", "retrying")
ORIGINS = ("simulated", "real", "imported")

organisations = table("organisations", needed("name"), needed("created", UtcTime), key=("name",))
users = table("users", needed("name"), needed("role"), needed("first_seen", UtcTime), key=("name",))
settings = table("settings", needed("key"), column("value", Json), needed("changed", UtcTime), key=("key",))

tools = table(
    "tools",
    needed("id"),
    needed("name"),
    needed("kind"),
    needed("process"),
    needed("config", Json),
    needed("state", server_default="standby"),
    column("capabilities", Json),
    needed("created", UtcTime),
    needed("fence", Number, server_default="0"),
    column("leased_run"),
    column("leased_until", UtcTime),
    one_of("kind", ("simulated", "real"), "ck_tools_kind"),
    one_of("state", E10_STATES, "ck_tools_state"),
    key=("id",),
)
tool_states = table(
    "tool_states",
    needed("tool"),
    needed("state"),
    needed("since", UtcTime),
    column("until", UtcTime),
    column("reason"),
    needed("user"),
    one_of("state", E10_STATES, "ck_tool_states_state"),
    sa.ForeignKeyConstraint(["org_id", "tool"], ["tools.org_id", "tools.id"]),
    sa.Index(None, "org_id", "tool", "since"),
)

recipes = table(
    "recipes",
    needed("name"),
    needed("version", sa.Integer),
    needed("process"),
    needed("content_hash"),
    needed("document", Json),
    needed("status"),
    needed("author"),
    needed("created", UtcTime),
    column("approved_by"),
    column("approved_at", UtcTime),
    needed("hazard_level", sa.Integer),
    column("parent_version", sa.Integer),
    column("notes", Json),
    one_of("status", ("draft", "approved", "retired"), "ck_recipes_status"),
    sa.Index(None, "org_id", "content_hash"),
    key=("name", "version"),
)
approvals = table(
    "approvals",
    needed("recipe_hash"),
    needed("recipe_name"),
    needed("recipe_version", sa.Integer),
    needed("decision"),
    needed("approver"),
    needed("role"),
    needed("signature"),
    needed("at", UtcTime),
    column("note"),
    sa.ForeignKeyConstraint(
        ["org_id", "recipe_name", "recipe_version"], ["recipes.org_id", "recipes.name", "recipes.version"]
    ),
    sa.Index(None, "org_id", "recipe_hash"),
)

lots = table("lots", needed("id"), column("product"), column("note"), needed("created", UtcTime), key=("id",))
wafers = table(
    "wafers",
    needed("id"),
    column("lot"),
    column("sample"),
    column("product"),
    column("state_run"),
    column("state_artifact"),
    needed("created", UtcTime),
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
    needed("org_id"),
    needed("id"),
    needed("process"),
    column("recipe_name"),
    column("recipe_version", sa.Integer),
    column("recipe_hash"),
    column("recipe", Json),
    column("tool"),
    column("chamber"),
    column("product"),
    column("lot"),
    needed("operator"),
    needed("state"),
    column("verdict"),
    needed("origin"),
    needed("qualified", Truth, server_default=sa.false()),
    column("baseline_id"),
    column("parent_id"),
    column("kind"),
    column("seed", Number),
    column("title"),
    needed("created", UtcTime),
    column("started", UtcTime),
    column("ended", UtcTime),
    column("duration_s", Real),
    needed("progress", Real, server_default="0"),
    column("step"),
    column("cost", Real),
    column("currency"),
    column("error_code"),
    column("error_message"),
    column("preflight", Json),
    column("prediction", Json),
    column("judgement", Json),
    column("provenance", Json),
    column("extra", Json),
    column("folder"),
    column("folder_checksum"),
    one_of("origin", ORIGINS, "ck_runs_origin"),
    sa.UniqueConstraint("org_id", "id"),
    sa.Index("ix_runs_org_id_seq", "org_id", "seq", unique=True),
    *(sa.Index(None, "org_id", name, "seq") for name in (*FILTER_COLUMNS, *ORDER_COLUMNS)),
    sqlite_autoincrement=True,
)
results = table(
    "results",
    needed("run_seq", Number),
    needed("name"),
    column("value", Real),
    column("expected", Real),
    column("residual", Real),
    needed("units", server_default="1"),
    of_run("run_seq"),
    sa.Index(None, "org_id", "name", "value", "run_seq"),
    key=("run_seq", "name"),
    sqlite_with_rowid=False,
)
run_wafers = table(
    "run_wafers",
    needed("run_seq", Number),
    needed("wafer"),
    column("slot", sa.Integer),
    of_run("run_seq"),
    sa.Index(None, "org_id", "wafer", "run_seq"),
    key=("run_seq", "wafer"),
    sqlite_with_rowid=False,
)

attempts = table(
    "attempts",
    needed("run"),
    needed("ordinal", sa.Integer),
    needed("state"),
    column("worker"),
    column("queued", UtcTime),
    column("started", UtcTime),
    column("ended", UtcTime),
    column("error_code"),
    column("error_message"),
    column("fence", Number),
    column("acknowledged", UtcTime),
    one_of("state", ATTEMPT_STATES, "ck_attempts_state"),
    of_run(),
    key=("run", "ordinal"),
)
transitions = table(
    "transitions",
    needed("run"),
    column("origin"),
    needed("target"),
    needed("at", UtcTime),
    needed("by"),
    column("reason"),
    of_run(),
    sa.Index(None, "org_id", "run"),
)
violations = table(
    "violations",
    needed("run"),
    needed("quantity"),
    needed("severity"),
    column("value", Real),
    column("low", Real),
    column("high", Real),
    column("units"),
    column("stage"),
    column("message"),
    column("profile"),
    of_run(),
    sa.Index(None, "org_id", "run"),
)
sweep_chunks = table(
    "sweep_chunks",
    needed("run"),
    needed("ordinal", sa.Integer),
    needed("state"),
    column("first", Number),
    column("count", Number),
    column("artifact"),
    column("worker"),
    column("ended", UtcTime),
    column("error_message"),
    of_run(),
    key=("run", "ordinal"),
)

baselines = table(
    "baselines",
    needed("id"),
    needed("tool"),
    needed("process"),
    needed("family"),
    needed("document", Json),
    needed("frozen_at", UtcTime),
    column("qualified_by"),
    column("retired_at", UtcTime),
    sa.Index(None, "org_id", "tool", "process", "family", "frozen_at"),
    key=("id",),
)
training_rows = table(
    "training_rows",
    needed("run"),
    needed("tool"),
    needed("process"),
    needed("family"),
    needed("origin"),
    needed("qualified", Truth, server_default=sa.false()),
    needed("inputs", Json),
    needed("outputs", Json),
    needed("excluded", Truth, server_default=sa.false()),
    column("reason"),
    needed("created", UtcTime),
    of_run(),
    sa.UniqueConstraint("org_id", "run"),
    sa.Index(None, "org_id", "process", "tool", "family", "origin", "number"),
)
suggestions = table(
    "suggestions",
    needed("id"),
    needed("kind"),
    needed("tool"),
    needed("process"),
    column("family"),
    column("run"),
    column("recipe_name"),
    column("recipe_version", sa.Integer),
    needed("changes", Json),
    column("reason"),
    needed("status"),
    needed("created", UtcTime),
    column("decided_by"),
    column("decided_at", UtcTime),
    one_of("status", ("proposed", "approved", "refused"), "ck_suggestions_status"),
    sa.Index(None, "org_id", "status", "tool"),
    key=("id",),
)
charts_state = table(
    "charts_state", needed("key"), needed("document", Json), needed("changed", UtcTime), column("run"), key=("key",)
)
constraint_profiles = table(
    "constraint_profiles",
    needed("name"),
    needed("version", sa.Integer),
    needed("process"),
    column("tool"),
    column("product"),
    needed("document", Json),
    needed("author"),
    needed("created", UtcTime),
    key=("name", "version"),
)

artifacts = table(
    "artifacts",
    needed("sha256"),
    needed("size", Number),
    needed("media_type"),
    needed("created", UtcTime),
    needed("user"),
    column("origin"),
    key=("sha256",),
)
artifact_links = table(
    "artifact_links",
    needed("subject"),
    needed("name"),
    needed("sha256"),
    needed("created", UtcTime),
    sa.ForeignKeyConstraint(["org_id", "sha256"], ["artifacts.org_id", "artifacts.sha256"]),
    key=("subject", "name"),
)
audit = table(
    "audit",
    needed("ordinal", Number),
    needed("at", UtcTime),
    needed("user"),
    needed("authenticated", Truth),
    needed("action"),
    needed("subject"),
    needed("detail"),
    needed("previous"),
    needed("hash"),
    key=("ordinal",),
)
quarantine = table(
    "quarantine",
    needed("kind"),
    needed("subject"),
    needed("reason"),
    column("moved_to"),
    column("detail", Json),
    needed("at", UtcTime),
    column("resolved_at", UtcTime),
    sa.Index(None, "org_id", "kind", "subject"),
)

__all__ = [
    "job_links",
    "job_logs",
    "job_templates",
    "jobs",
    "metadata",
    "schedules",
    "workers",
]
