"""``labkit pipeline``: parameters from the command line to a notebook and its HTML report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labkit.core.errors import LabkitError
from labkit.store.clock import now


def run_named(name: str, parameters: dict[str, str], *, folder: Path, output: Path | None, progress: bool) -> Path:
    """Run pipeline *name*; values that read as JSON are numbers, truths or lists, everything else is text.

    ``lab_folder`` defaults to the lab that the command line opened.
    """
    try:
        from labkit.reports.pipeline import run_pipeline
    except ModuleNotFoundError as error:
        raise LabkitError(f"pipelines need the package {error.name}", fix="pip install 'labkit[lab]'") from None
    given: dict[str, Any] = {"lab_folder": str(folder.resolve()), **{key: _typed(value) for key, value in parameters.items()}}
    if output is None:
        stem = Path(name).stem
        output = folder / "reports" / f"{stem}-{now():%Y%m%dT%H%M%S}.html"
    output.parent.mkdir(parents=True, exist_ok=True)
    return run_pipeline(name, given, output, progress=progress)


def _typed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
