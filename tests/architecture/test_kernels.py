"""Kernels name no array library: everything in numerics and in the chapters' physics works on what it is given."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, imported, modules, tree

BORDER = {
    "__init__.py",
    "process.py",
    "recipe.py",
    "dynamics.py",
    "metrology.py",
    "equipment.py",
    "indicators.py",
    "results.py",
    "findings.py",
}
"""Files of a chapter that face xarray, pydantic or random numbers; everything else in it is physics on arrays."""

_IN_TIME = "equipment in time: filters and controllers stepped on the host"
_ASSEMBLY = "assembles a recipe's scalars into arrays and calls the kernels"
EXCEPTIONS = {
    "labkit/processes/cvd/furnace.py": _IN_TIME,
    "labkit/processes/cvd/insitu.py": _IN_TIME,
    "labkit/processes/cvd/mass_flow.py": _IN_TIME,
    "labkit/processes/cvd/steady_telemetry.py": _IN_TIME,
    "labkit/processes/cvd/timeline.py": _IN_TIME,
    "labkit/processes/cvd/vacuum.py": _IN_TIME,
    "labkit/processes/cvd/batch.py": _ASSEMBLY,
    "labkit/processes/cvd/engine.py": _ASSEMBLY,
    "labkit/processes/cvd/load.py": _ASSEMBLY,
    "labkit/processes/lithography/exposure.py": _ASSEMBLY,
    "labkit/processes/lithography/focus_exposure.py": "the border: a matrix of kernel calls packed into a Dataset",
    "labkit/processes/lithography/printed_wafer.py": "the border: results of kernels packed into a Dataset",
    "labkit/processes/lithography/process_window.py": "analysis of finished matrices, simulated or measured",
}
"""Kernel files that may name array libraries, each with its reason."""


def kernels() -> list[Path]:
    """Files in which an array library must not be named."""
    found = []
    for path in modules():
        chapter = path.parts[:2] == ("labkit", "processes") and len(path.parts) > 3 and path.name not in BORDER
        numerics = path.parts[:2] == ("labkit", "numerics") and path.name != "__init__.py"
        if chapter or numerics:
            found.append(path)
    return found


def array_libraries(path: Path) -> set[str]:
    """NumPy, SciPy and relatives imported by *path*, imports for type checking only set aside."""
    typing_only = {
        name.name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
        for name in inner.names
    }
    return {
        name.split(".")[0]
        for name in imported(path)
        if name.split(".")[0] in {"numpy", "scipy", "cupy", "torch", "array_api_compat", "xarray", "pandas"}
        and name.split(".")[-1] not in typing_only
    }


@pytest.mark.parametrize("path", [p for p in kernels() if p.as_posix() not in EXCEPTIONS], ids=str)
def test_a_kernel_names_no_array_library(path: Path) -> None:
    advice = f"take the namespace from the inputs (labkit.core.arrays), or give {path} a reason in {__name__}"
    assert array_libraries(path) == set(), advice


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_is_still_needed(name: str) -> None:
    assert (ROOT / name).exists(), f"{name} is gone; take it off the list"
    assert array_libraries(Path(name)), f"{name} names no array library any more; take it off the list"
