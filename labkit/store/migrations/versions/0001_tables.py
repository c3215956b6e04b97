"""The catalogue's tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

TEXT, INTEGER, TRUTH = sa.Text(), sa.Integer(), sa.Boolean()
REAL: sa.Double[float] = sa.Double()
TIME = sa.DateTime(timezone=True)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TOOL_STATES = ("state IN ('productive', 'standby', 'engineering', 'scheduled_down', 'unscheduled_down', "
               "'non_scheduled')")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Create every table, its indexes and its links."""
    for part in (_lab, _equipment, _recipes, _wafers, _runs, _run_history, _learning):
        part()


def column(name: str, kind: Any) -> sa.Column[Any]:
    """A column that may be empty."""
    return sa.Column(name, kind, nullable=True)


def needed(name: str, kind: Any, **options: Any) -> sa.Column[Any]:
    """A column that every row fills."""
    return sa.Column(name, kind, nullable=False, **options)


def _lab() -> None:
    op.create_table(
        "organisations",
        needed("org_id", TEXT), needed("name", TEXT), needed("created", TIME),
        sa.PrimaryKeyConstraint("org_id", "name", name="pk_organisations"))
    op.create_table(
        "users",
        needed("org_id", TEXT), needed("name", TEXT), needed("role", TEXT), needed("first_seen", TIME),
        sa.PrimaryKeyConstraint("org_id", "name", name="pk_users"))
    op.create_table(
        "settings",
        needed("org_id", TEXT), needed("key", TEXT), column("value", JSON), needed("changed", TIME),
        sa.PrimaryKeyConstraint("org_id", "key", name="pk_settings"))
    op.create_table(
        "artifacts",
        needed("org_id", TEXT), needed("sha256", TEXT), needed("size", NUMBER), needed("media_type", TEXT),
        needed("created", TIME), needed("user", TEXT), column("origin", TEXT),
        sa.PrimaryKeyConstraint("org_id", "sha256", name="pk_artifacts"))
    op.create_table(
        "artifact_links",
        needed("org_id", TEXT), needed("subject", TEXT), needed("name", TEXT), needed("sha256", TEXT),
        needed("created", TIME),
        sa.ForeignKeyConstraint(["org_id", "sha256"], ["artifacts.org_id", "artifacts.sha256"],
                                name="fk_artifact_links_artifacts"),
        sa.PrimaryKeyConstraint("org_id", "subject", "name", name="pk_artifact_links"))
    op.create_table(
        "audit",
        needed("org_id", TEXT), needed("ordinal", NUMBER), needed("at", TIME), needed("user", TEXT),
        needed("authenticated", TRUTH), needed("action", TEXT), needed("subject", TEXT), needed("detail", TEXT),
        needed("previous", TEXT), needed("hash", TEXT),
        sa.PrimaryKeyConstraint("org_id", "ordinal", name="pk_audit"))
    op.create_table(
        "quarantine",
        needed("number", NUMBER, autoincrement=True), needed("org_id", TEXT), needed("kind", TEXT),
        needed("subject", TEXT), needed("reason", TEXT), column("moved_to", TEXT), column("detail", JSON),
        needed("at", TIME), column("resolved_at", TIME), sa.PrimaryKeyConstraint("number", name="pk_quarantine"),
        sqlite_autoincrement=True)
    op.create_index("ix_quarantine_org_id_kind_subject", "quarantine", ["org_id", "kind", "subject"])


def _equipment() -> None:
    op.create_table(
        "tools",
        needed("org_id", TEXT), needed("id", TEXT), needed("name", TEXT), needed("kind", TEXT),
        needed("process", TEXT), needed("config", JSON), needed("state", TEXT, server_default="standby"),
        column("capabilities", JSON), needed("created", TIME), needed("fence", NUMBER, server_default="0"),
        column("leased_run", TEXT), column("leased_until", TIME),
        sa.CheckConstraint("kind IN ('simulated', 'real')", name="ck_tools_kind"),
        sa.CheckConstraint(TOOL_STATES, name="ck_tools_state"),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_tools"))
    op.create_table(
        "tool_states",
        needed("number", NUMBER, autoincrement=True), needed("org_id", TEXT), needed("tool", TEXT),
        needed("state", TEXT), needed("since", TIME), column("until", TIME), column("reason", TEXT),
        needed("user", TEXT),
        sa.CheckConstraint(TOOL_STATES, name="ck_tool_states_state"),
        sa.ForeignKeyConstraint(["org_id", "tool"], ["tools.org_id", "tools.id"], name="fk_tool_states_tools"),
        sa.PrimaryKeyConstraint("number", name="pk_tool_states"), sqlite_autoincrement=True)
    op.create_index("ix_tool_states_org_id_tool_since", "tool_states", ["org_id", "tool", "since"])


def _recipes() -> None:
    op.create_table(
        "recipes",
        needed("org_id", TEXT), needed("name", TEXT), needed("version", INTEGER), needed("process", TEXT),
        needed("content_hash", TEXT), needed("document", JSON), needed("status", TEXT), needed("author", TEXT),
        needed("created", TIME), column("approved_by", TEXT), column("approved_at", TIME),
        needed("hazard_level", INTEGER), column("parent_version", INTEGER), column("notes", JSON),
        sa.CheckConstraint("status IN ('draft', 'approved', 'retired')", name="ck_recipes_status"),
        sa.PrimaryKeyConstraint("org_id", "name", "version", name="pk_recipes"))
    op.create_index("ix_recipes_org_id_content_hash", "recipes", ["org_id", "content_hash"])
    op.create_table(
        "approvals",
        needed("number", NUMBER, autoincrement=True), needed("org_id", TEXT), needed("recipe_hash", TEXT),
        needed("recipe_name", TEXT), needed("recipe_version", INTEGER), needed("decision", TEXT),
        needed("approver", TEXT), needed("role", TEXT), needed("signature", TEXT), needed("at", TIME),
        column("note", TEXT),
        sa.ForeignKeyConstraint(["org_id", "recipe_name", "recipe_version"],
                                ["recipes.org_id", "recipes.name", "recipes.version"], name="fk_approvals_recipes"),
        sa.PrimaryKeyConstraint("number", name="pk_approvals"), sqlite_autoincrement=True)
    op.create_index("ix_approvals_org_id_recipe_hash", "approvals", ["org_id", "recipe_hash"])
    op.create_table(
        "constraint_profiles",
        needed("org_id", TEXT), needed("name", TEXT), needed("version", INTEGER), needed("process", TEXT),
        column("tool", TEXT), column("product", TEXT), needed("document", JSON), needed("author", TEXT),
        needed("created", TIME), sa.PrimaryKeyConstraint("org_id", "name", "version", name="pk_constraint_profiles"))


def _wafers() -> None:
    op.create_table(
        "lots",
        needed("org_id", TEXT), needed("id", TEXT), column("product", TEXT), column("note", TEXT),
        needed("created", TIME), sa.PrimaryKeyConstraint("org_id", "id", name="pk_lots"))
    op.create_table(
        "wafers",
        needed("org_id", TEXT), needed("id", TEXT), column("lot", TEXT), column("sample", TEXT),
        column("product", TEXT), column("state_run", TEXT), column("state_artifact", TEXT), needed("created", TIME),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_wafers"))
    op.create_index("ix_wafers_org_id_lot", "wafers", ["org_id", "lot"])


def _runs() -> None:
    op.create_table(
        "runs",
        needed("seq", NUMBER, autoincrement=True), needed("org_id", TEXT), needed("id", TEXT),
        needed("process", TEXT), column("recipe_name", TEXT), column("recipe_version", INTEGER),
        column("recipe_hash", TEXT), column("recipe", JSON), column("tool", TEXT), column("chamber", TEXT),
        column("product", TEXT), column("lot", TEXT), needed("operator", TEXT), needed("state", TEXT),
        column("verdict", TEXT), needed("origin", TEXT), needed("qualified", TRUTH, server_default=sa.false()),
        column("baseline_id", TEXT), column("parent_id", TEXT), column("kind", TEXT), column("seed", NUMBER),
        column("title", TEXT), needed("created", TIME), column("started", TIME), column("ended", TIME),
        column("duration_s", REAL), needed("progress", REAL, server_default="0"), column("step", TEXT),
        column("cost", REAL), column("currency", TEXT), column("error_code", TEXT), column("error_message", TEXT),
        column("preflight", JSON), column("prediction", JSON), column("judgement", JSON), column("provenance", JSON),
        column("extra", JSON), column("folder", TEXT), column("folder_checksum", TEXT),
        sa.CheckConstraint("origin IN ('simulated', 'real', 'imported')", name="ck_runs_origin"),
        sa.PrimaryKeyConstraint("seq", name="pk_runs"),
        sa.UniqueConstraint("org_id", "id", name="uq_runs_org_id_id"), sqlite_autoincrement=True)
    op.create_index("ix_runs_org_id_seq", "runs", ["org_id", "seq"], unique=True)
    op.create_table(
        "results",
        needed("org_id", TEXT), needed("run_seq", NUMBER), needed("name", TEXT), column("value", REAL),
        column("expected", REAL), column("residual", REAL), needed("units", TEXT, server_default="1"),
        sa.ForeignKeyConstraint(["org_id", "run_seq"], ["runs.org_id", "runs.seq"], name="fk_results_runs"),
        sa.PrimaryKeyConstraint("org_id", "run_seq", "name", name="pk_results"), sqlite_with_rowid=False)
    op.create_index("ix_results_org_id_name_value_run_seq", "results", ["org_id", "name", "value", "run_seq"])
    op.create_table(
        "run_wafers",
        needed("org_id", TEXT), needed("run_seq", NUMBER), needed("wafer", TEXT), column("slot", INTEGER),
        sa.ForeignKeyConstraint(["org_id", "run_seq"], ["runs.org_id", "runs.seq"], name="fk_run_wafers_runs"),
        sa.PrimaryKeyConstraint("org_id", "run_seq", "wafer", name="pk_run_wafers"), sqlite_with_rowid=False)
    op.create_index("ix_run_wafers_org_id_wafer_run_seq", "run_wafers", ["org_id", "wafer", "run_seq"])
    for name in ("cost", "created", "duration_s", "ended", "lot", "operator", "origin", "parent_id",
                 "process", "product", "qualified", "recipe_hash", "recipe_name", "state", "tool", "verdict"):
        op.create_index(f"ix_runs_org_id_{name}_seq", "runs", ["org_id", name, "seq"])


def _run_history() -> None:
    op.create_table(
        "attempts",
        needed("org_id", TEXT), needed("run", TEXT), needed("ordinal", INTEGER), needed("state", TEXT),
        column("worker", TEXT), column("queued", TIME), column("started", TIME), column("ended", TIME),
        column("error_code", TEXT), column("error_message", TEXT), column("fence", NUMBER),
        sa.CheckConstraint("state IN ('queued', 'running', 'completed', 'failed', 'cancelled', 'retrying')",
                           name="ck_attempts_state"),
        sa.ForeignKeyConstraint(["org_id", "run"], ["runs.org_id", "runs.id"], name="fk_attempts_runs"),
        sa.PrimaryKeyConstraint("org_id", "run", "ordinal", name="pk_attempts"))
    op.create_table(
        "transitions",
        needed("number", NUMBER, autoincrement=True), needed("org_id", TEXT), needed("run", TEXT),
        column("origin", TEXT), needed("target", TEXT), needed("at", TIME), needed("by", TEXT),
        column("reason", TEXT),
        sa.ForeignKeyConstraint(["org_id", "run"], ["runs.org_id", "runs.id"], name="fk_transitions_runs"),
        sa.PrimaryKeyConstraint("number", name="pk_transitions"), sqlite_autoincrement=True)
    op.create_index("ix_transitions_org_id_run", "transitions", ["org_id", "run"])
    op.create_table(
        "violations",
        needed("number", NUMBER, autoincrement=True), needed("org_id", TEXT), needed("run", TEXT),
        needed("quantity", TEXT), needed("severity", TEXT), column("value", REAL), column("low", REAL),
        column("high", REAL), column("units", TEXT), column("stage", TEXT), column("message", TEXT),
        column("profile", TEXT),
        sa.ForeignKeyConstraint(["org_id", "run"], ["runs.org_id", "runs.id"], name="fk_violations_runs"),
        sa.PrimaryKeyConstraint("number", name="pk_violations"), sqlite_autoincrement=True)
    op.create_index("ix_violations_org_id_run", "violations", ["org_id", "run"])
    op.create_table(
        "sweep_chunks",
        needed("org_id", TEXT), needed("run", TEXT), needed("ordinal", INTEGER), needed("state", TEXT),
        column("first", NUMBER), column("count", NUMBER), column("artifact", TEXT), column("worker", TEXT),
        column("ended", TIME), column("error_message", TEXT),
        sa.ForeignKeyConstraint(["org_id", "run"], ["runs.org_id", "runs.id"], name="fk_sweep_chunks_runs"),
        sa.PrimaryKeyConstraint("org_id", "run", "ordinal", name="pk_sweep_chunks"))


def _learning() -> None:
    op.create_table(
        "baselines",
        needed("org_id", TEXT), needed("id", TEXT), needed("tool", TEXT), needed("process", TEXT),
        needed("family", TEXT), needed("document", JSON), needed("frozen_at", TIME), column("qualified_by", TEXT),
        column("retired_at", TIME), sa.PrimaryKeyConstraint("org_id", "id", name="pk_baselines"))
    op.create_index("ix_baselines_org_id_tool_process_family_frozen_at", "baselines",
                    ["org_id", "tool", "process", "family", "frozen_at"])
    op.create_table(
        "training_rows",
        needed("number", NUMBER, autoincrement=True), needed("org_id", TEXT), needed("run", TEXT),
        needed("tool", TEXT), needed("process", TEXT), needed("family", TEXT), needed("origin", TEXT),
        needed("qualified", TRUTH, server_default=sa.false()), needed("inputs", JSON), needed("outputs", JSON),
        needed("excluded", TRUTH, server_default=sa.false()), column("reason", TEXT), needed("created", TIME),
        sa.ForeignKeyConstraint(["org_id", "run"], ["runs.org_id", "runs.id"], name="fk_training_rows_runs"),
        sa.PrimaryKeyConstraint("number", name="pk_training_rows"),
        sa.UniqueConstraint("org_id", "run", name="uq_training_rows_org_id_run"), sqlite_autoincrement=True)
    op.create_index("ix_training_rows_org_id_process_tool_family_origin_number", "training_rows",
                    ["org_id", "process", "tool", "family", "origin", "number"])
    op.create_table(
        "suggestions",
        needed("org_id", TEXT), needed("id", TEXT), needed("kind", TEXT), needed("tool", TEXT),
        needed("process", TEXT), column("family", TEXT), column("run", TEXT), column("recipe_name", TEXT),
        column("recipe_version", INTEGER), needed("changes", JSON), column("reason", TEXT), needed("status", TEXT),
        needed("created", TIME), column("decided_by", TEXT), column("decided_at", TIME),
        sa.CheckConstraint("status IN ('proposed', 'approved', 'refused')", name="ck_suggestions_status"),
        sa.PrimaryKeyConstraint("org_id", "id", name="pk_suggestions"))
    op.create_index("ix_suggestions_org_id_status_tool", "suggestions", ["org_id", "status", "tool"])
    op.create_table(
        "charts_state",
        needed("org_id", TEXT), needed("key", TEXT), needed("document", JSON), needed("changed", TIME),
        column("run", TEXT), sa.PrimaryKeyConstraint("org_id", "key", name="pk_charts_state"))
