"""``labkit pipeline``: parameters from the command line to a notebook and its HTML report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labkit.core.errors import LabkitError, NotFound
from labkit.lab.opening import MARKER
from labkit.store.clock import now


def run_named(name: str, parameters: dict[str, str], *, folder: Path, output: Path | None, progress: bool) -> Path:
    """Run pipeline *name*; values that read as JSON are numbers, truths or lists, everything else is text.

    ``lab_folder`` defaults to the lab that the command line opened.
    """
    try:
        from labkit.reports.pipeline import run_pipeline
    except ModuleNotFoundError as error:
        raise LabkitError(f"pipelines need the package {error.name}", fix="pip install 'labkit[lab]'") from None
    given: dict[str, Any] = {
        "lab_folder": str(folder.resolve()),
        **{key: _typed(value) for key, value in parameters.items()},
    }
    if output is None:
        lab = Path(str(given["lab_folder"]))
        if not (lab / MARKER).exists():
            raise NotFound(
                f"no lab in {lab}", fix="say which with labkit --lab FOLDER, or where the page goes with --output"
            )
        output = lab / "reports" / f"{Path(name).stem}-{now():%Y%m%dT%H%M%S}.html"
    return run_pipeline(name, given, output, progress=progress)


def _typed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
