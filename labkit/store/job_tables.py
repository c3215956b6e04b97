"""The tables of the durable queue: jobs, what they wait for, their logs, templates, schedules and workers."""

from __future__ import annotations

import sqlalchemy as sa

from labkit.store.clock import UtcTime
from labkit.store.columns import Json, Number, Real, Truth, column, needed, of_run, one_of, table

JOB_TYPES = ("RUN", "SIMULATION", "CALIBRATION")
JOB_STATES = ("submitted", "waiting", "queued", "running", "done")

jobs = table(
    "jobs",
    needed("run"),
    needed("number", Number),
    needed("type"),
    needed("queue"),
    needed("state"),
    needed("priority", sa.Integer, server_default="0"),
    column("tool"),
    needed("gpu_share", Real, server_default="0"),
    needed("hazardous", Truth, server_default=sa.false()),
    needed("paused", Truth, server_default=sa.false()),
    column("cancelled_by"),
    column("worker"),
    needed("submitted", UtcTime),
    column("not_before", UtcTime),
    column("expires", UtcTime),
    column("soft_limit_s", Real),
    column("hard_limit_s", Real),
    needed("retries", sa.Integer, server_default="0"),
    needed("retries_left", sa.Integer, server_default="0"),
    needed("backoff_s", Real, server_default="1"),
    column("batch"),
    column("template"),
    column("schedule"),
    column("admission"),
    needed("document", Json),
    of_run(),
    one_of("type", JOB_TYPES, "ck_jobs_type"),
    one_of("state", JOB_STATES, "ck_jobs_state"),
    sa.Index(None, "org_id", "state", "queue", "priority", "number"),
    sa.Index(None, "org_id", "batch"),
    sa.Index(None, "org_id", "schedule"),
    key=("run",),
)
job_links = table(
    "job_links",
    needed("run"),
    needed("predecessor"),
    of_run(),
    sa.ForeignKeyConstraint(["org_id", "predecessor"], ["runs.org_id", "runs.id"]),
    sa.Index(None, "org_id", "predecessor"),
    key=("run", "predecessor"),
)
job_logs = table(
    "job_logs",
    needed("run"),
    needed("at", UtcTime),
    needed("level"),
    needed("text"),
    of_run(),
    sa.Index(None, "org_id", "run"),
)
job_templates = table(
    "job_templates",
    needed("name"),
    needed("document", Json),
    needed("author"),
    needed("changed", UtcTime),
    key=("name",),
)
schedules = table(
    "schedules",
    needed("name"),
    needed("cron"),
    needed("timezone"),
    needed("template"),
    needed("document", Json),
    needed("enabled", Truth),
    needed("author"),
    needed("created", UtcTime),
    column("next_at", UtcTime),
    column("last_at", UtcTime),
    column("last_run"),
    column("problem"),
    sa.ForeignKeyConstraint(["org_id", "template"], ["job_templates.org_id", "job_templates.name"]),
    sa.Index(None, "org_id", "enabled", "next_at"),
    key=("name",),
)
workers = table(
    "workers",
    needed("id"),
    needed("host"),
    needed("pid", Number),
    needed("queues", Json),
    needed("gpus", Real),
    needed("started", UtcTime),
    needed("heartbeat", UtcTime),
    column("stopped", UtcTime),
    key=("id",),
)
