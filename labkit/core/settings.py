"""Settings of a lab: ``labkit.toml`` in its folder, overridden by ``LABKIT_…`` environment variables.

Embedded defaults need no file. A PostgreSQL catalogue, an S3 store or a Dask cluster is a change of these values only.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labkit.core.errors import SettingsError


class Settings(BaseModel):
    """What a lab may be configured to do; every field has a default that works on a laptop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organisation: str = Field("default", min_length=1, max_length=200, description="Organisation that owns new rows")
    database_url: str | None = Field(
        None, description="SQLAlchemy URL of the catalogue; none: SQLite in the lab folder"
    )
    storage_url: str | None = Field(None, description="fsspec URL of finished runs; none: the lab folder")
    dask: str = Field("threads", description="'threads', 'processes', 'local', or a scheduler address tcp://…")
    workers: int = Field(0, ge=0, le=4096, description="Workers for 'processes' and 'local'; 0: one per core")
    prediction_level: float = Field(0.95, gt=0.5, lt=1.0, description="Level of the predicted intervals")
    false_alarm_rate: float = Field(
        0.002, gt=0.0, le=0.1, description="Chance per healthy run that any chart of the judge alarms"
    )
    baseline_runs: int = Field(10, ge=5, le=1000, description="Runs that a baseline is frozen from")
    telemetry_block: int = Field(
        600, ge=1, le=1_000_000, description="Samples per telemetry block from a simulated tool"
    )
    tools: Literal["process", "inside"] = Field(
        "process", description="Where simulated tools live: each in a process of its own, or inside the caller's"
    )
    worker_slots: int = Field(4, ge=1, le=256, description="Runs that one worker carries out at a time")
    worker_idle_s: float = Field(60.0, ge=0.0, le=1e7, description="A worker without work ends after this time, s")
    queue_limits: dict[str, int] = Field(
        default_factory=dict, description="Most runs at a time by queue (a process's name); queues not named: no limit"
    )
    gpus: float = Field(0.0, ge=0.0, le=64.0, description="GPUs that a worker may share out among its jobs")
    soft_limit_s: float = Field(7_200.0, gt=0.0, le=1e8, description="A run that takes longer is announced as late, s")
    hard_limit_s: float = Field(10_800.0, gt=0.0, le=1e8, description="A run that takes longer is stopped, s")
    stale_s: float = Field(
        30.0, gt=0.0, le=1e6, description="A tool that delivers nothing new for so long is unsafe and is stopped, s"
    )
    lost_s: float = Field(
        15.0, gt=0.5, le=1e6, description="A worker on another machine not heard of for so long is lost, s"
    )


def load_settings(folder: Path) -> Settings:
    """Settings of the lab in *folder*: defaults, then ``labkit.toml``, then ``LABKIT_<FIELD>`` variables.

    Raises
    ------
    SettingsError
        If the file is not TOML, or a setting is unknown or out of range.
    """
    path = folder / "labkit.toml"
    values: dict[str, Any] = {}
    if path.exists():
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise SettingsError(f"{path} cannot be read: {error}", fix="correct or remove the file") from None
    for field in Settings.model_fields:
        override = os.environ.get(f"LABKIT_{field.upper()}")
        if override is not None:
            values[field] = override
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, d['loc']))} = {d['input']!r}: {d['msg']}" for d in error.errors(include_url=False)
        ]
        raise SettingsError(
            "settings were refused: " + "; ".join(lines),
            allowed=", ".join(Settings.model_fields),
            fix=f"edit {path} or unset the LABKIT_ variable",
        ) from None
