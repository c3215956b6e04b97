"""``labkit bench``: measured figures beside the figures asked for, as rows that can be kept and compared."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from labkit.cli.output import emit, number, table
from labkit.core.errors import LabkitError
from labkit.core.provenance import versions

SUITES = Path(__file__).resolve().parents[2] / "benchmarks"
Row = dict[str, Any]


def run_suite(suite: str, *, only: tuple[str, ...], as_json: bool) -> None:
    """Run every figure of *suite* and print rows of name, value, unit, reference (the figure asked for) and ok.

    Raises
    ------
    LabkitError
        If there is no such suite; benchmarks live in a checkout, not in the wheel.
    """
    available = sorted(p.name for p in SUITES.iterdir() if (p / "figures.py").exists()) if SUITES.is_dir() else []
    if suite not in available:
        raise LabkitError(
            f"no benchmark suite {suite!r}",
            allowed=", ".join(available) or "none: benchmarks need a checkout",
            fix="clone the repository and run there" if not available else f"labkit bench {available[0]}",
        )
    rows = [
        {**row, "command": f"labkit bench {suite} --json", **machine()} for row in _rows(suite, only, quiet=as_json)
    ]
    if as_json:
        emit(rows)
    else:
        table(
            f"bench {suite}",
            ("figure", "value", "unit", "asked for", "met"),
            [(r["name"], number(r["value"]), r["unit"], r["reference"], "ok" if r["ok"] else "missing") for r in rows],
            right=("value",),
        )


def _rows(suite: str, only: tuple[str, ...], *, quiet: bool) -> Iterator[Row]:
    for name, figure in _figures(suite).items():
        if only and not any(part in name for part in only):
            continue
        if not quiet:
            print(f"measuring {name} …", file=sys.stderr)
        yield from figure()


def _figures(suite: str) -> dict[str, Callable[[], list[Row]]]:
    path = SUITES / suite / "figures.py"
    spec = importlib.util.spec_from_file_location(
        f"labkit_benchmarks_{suite}", path, submodule_search_locations=[str(path.parent)]
    )
    if spec is None or spec.loader is None:
        raise LabkitError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    figures: dict[str, Callable[[], list[Row]]] = module.FIGURES
    return figures


def machine() -> Row:
    """The machine and code a row was measured on."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=SUITES.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = "unknown"
    return {"commit": commit, "versions": versions(), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
