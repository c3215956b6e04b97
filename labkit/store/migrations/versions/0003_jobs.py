"""The durable queue: jobs, what they wait for, their logs, templates, schedules and workers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from labkit.store.journal_tables import create_partitioned

revision = "0003"
down_revision = "0002"

TEXT, INTEGER, TRUTH = sa.Text(), sa.Integer(), sa.Boolean()
REAL: sa.Double[float] = sa.Double()
TIME = sa.DateTime(timezone=True)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Create the queue's tables, their indexes and their links."""
    op.add_column("attempts", column("acknowledged", TIME))
    _jobs()
    _plans()
    create_partitioned(op.get_bind())


def column(name: str, kind: Any) -> sa.Column[Any]:
    """A column that may be empty."""
    return sa.Column(name, kind, nullable=True)


def needed(name: str, kind: Any, **options: Any) -> sa.Column[Any]:
    """A column that every row fills."""
    return sa.Column(name, kind, nullable=False, **options)


def _jobs() -> None:
    op.create_table(
        "jobs",
        needed("org_id", TEXT), needed("run", TEXT), needed("number", NUMBER), needed("type", TEXT),
        needed("queue", TEXT), needed("state", TEXT), needed("priority", INTEGER, server_default="0"),
        column("tool", TEXT), needed("gpu_share", REAL, server_default="0"),
        needed("hazardous", TRUTH, server_default=sa.false()), needed("paused", TRUTH, server_default=sa.false()),
        column("cancelled_by", TEXT), column("worker", TEXT), needed("submitted", TIME), column("not_before", TIME),
        column("expires", TIME), column("soft_limit_s", REAL), column("hard_limit_s", REAL),
        needed("retries", INTEGER, server_default="0"), needed("retries_left", INTEGER, server_default="0"),
        needed("backoff_s", REAL, server_default="1"), column("batch", TEXT), column("template", TEXT),
        column("schedule", TEXT), column("admission", TEXT), needed("document", JSON),
        sa.CheckConstraint("type IN ('RUN', 'SIMULATION', 'CALIBRATION')", name="ck_jobs_type"),
        sa.CheckConstraint("state IN ('submitted', 'waiting', 'queued', 'running', 'done')", name="ck_jobs_state"),
        sa.ForeignKeyConstraint(["org_id", "run"], ["runs.org_id", "runs.id"], name="fk_jobs_runs"),
        sa.PrimaryKeyConstraint("org_id", "run", name="pk_jobs"))
    op.create_index(
        "ix_jobs_org_id_state_queue_priority_number", "jobs", ["org_id", "state", "queue", "priority", "number"])
    op.create_index("ix_jobs_org_id_batch", "jobs", ["org_id", "batch"])
    op.create_index("ix_jobs_org_id_schedule", "jobs", ["org_id", "schedule"])
    op.create_table(
        "job_links",
        needed("org_id", TEXT), needed("run", TEXT), needed("predecessor", TEXT),
        sa.ForeignKeyConstraint(["org_id", "run"], ["runs.org_id", "runs.id"], name="fk_job_links_runs"),
        sa.ForeignKeyConstraint(["org_id", "predecessor"], ["runs.org_id", "runs.id"],
                                name="fk_job_links_predecessors"),
        sa.PrimaryKeyConstraint("org_id", "run", "predecessor", name="pk_job_links"))
    op.create_index("ix_job_links_org_id_predecessor", "job_links", ["org_id", "predecessor"])
    op.create_table(
        "job_logs",
        needed("number", NUMBER, autoincrement=True), needed("org_id", TEXT), needed("run", TEXT), needed("at", TIME),
        needed("level", TEXT), needed("text", TEXT),
        sa.ForeignKeyConstraint(["org_id", "run"], ["runs.org_id", "runs.id"], name="fk_job_logs_runs"),
        sa.PrimaryKeyConstraint("number", name="pk_job_logs"), sqlite_autoincrement=True)
    op.create_index("ix_job_logs_org_id_run", "job_logs", ["org_id", "run"])


def _plans() -> None:
    op.create_table(
        "job_templates",
        needed("org_id", TEXT), needed("name", TEXT), needed("document", JSON), needed("author", TEXT),
        needed("changed", TIME), sa.PrimaryKeyConstraint("org_id", "name", name="pk_job_templates"))
    op.create_table(
        "schedules",
        needed("org_id", TEXT), needed("name", TEXT), needed("cron", TEXT), needed("timezone", TEXT),
        needed("template", TEXT), needed("document", JSON), needed("enabled", TRUTH), needed("author", TEXT),
        needed("created", TIME), column("next_at", TIME), column("last_at", TIME), column("last_run", TEXT),
        column("problem", TEXT),
        sa.ForeignKeyConstraint(["org_id", "template"], ["job_templates.org_id", "job_templates.name"],
                                name="fk_schedules_job_templates"),
        sa.PrimaryKeyConstraint("org_id", "name", name="pk_schedules"))
    op.create_index("ix_schedules_org_id_enabled_next_at", "schedules", ["org_id", "enabled", "next_at"])
    op.create_table(
        "workers",
        needed("org_id", TEXT), needed("id", TEXT), needed("host", TEXT), needed("pid", NUMBER),
        needed("queues", JSON), needed("gpus", REAL), needed("started", TIME), needed("heartbeat", TIME),
        column("stopped", TIME), sa.PrimaryKeyConstraint("org_id", "id", name="pk_workers"))
