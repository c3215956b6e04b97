"""Kernels name no array library: everything in numerics and in the chapters' physics works on what it is given."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, imported, modules, tree

BORDER = {"__init__.py", "process.py", "recipe.py", "dynamics.py", "metrology.py", "equipment.py"}
"""Files of a chapter that face xarray, pydantic or random numbers; everything else in it is physics on arrays."""

EXCEPTIONS: dict[str, tuple[set[str], str]] = {
    "labkit/processes/cvd/furnace.py": (
        {"numpy", "scipy"},
        "equipment in time: matrix exponentials and filters, host only",
    ),
    "labkit/processes/cvd/insitu.py": (
        {"numpy"},
        "equipment in time: what the reflectometer's software reports, host only",
    ),
    "labkit/processes/cvd/mass_flow.py": ({"numpy"}, "equipment in time: lagging flow controllers, host only"),
    "labkit/processes/cvd/timeline.py": ({"numpy"}, "recipe steps to setpoints in time: control flow on a few scalars"),
    "labkit/processes/cvd/vacuum.py": (
        {"numpy"},
        "equipment in time: pump-down and pressure control step by step, host only",
    ),
    "labkit/processes/cvd/load.py": (
        {"numpy"},
        "assembles a tube's geometry from the recipe's scalars and calls the kernels",
    ),
    "labkit/processes/lithography/exposure.py": (
        {"numpy"},
        "assembles optics from the recipe's scalars and calls the kernels",
    ),
    "labkit/processes/lithography/printed_wafer.py": (
        {"numpy", "xarray"},
        "the border: packs results of kernels into a Dataset",
    ),
    "labkit/processes/lithography/process_window.py": (
        {"numpy", "xarray"},
        "analysis of finished matrices, simulated or measured",
    ),
}
"""Files that may name array libraries: which, and why."""


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
    return {name.split(".")[0] for name in imported(path)
            if name.split(".")[0] in {"numpy", "scipy", "cupy", "torch", "array_api_compat", "xarray", "pandas"}
            and name.split(".")[-1] not in typing_only}


@pytest.mark.parametrize("path", kernels(), ids=str)
def test_a_kernel_names_no_array_library(path: Path) -> None:
    found = array_libraries(path)
    allowed, _ = EXCEPTIONS.get(path.as_posix(), (set(), ""))
    assert found <= allowed, (
        f"take the namespace from the inputs (labkit.core.arrays), or give {path} a reason in {__name__}"
    )


def test_every_exception_is_needed_and_has_a_reason() -> None:
    for name, (allowed, reason) in EXCEPTIONS.items():
        assert (ROOT / name).exists(), f"{name} is gone; take it off the list"
        assert array_libraries(Path(name)) == allowed, f"{name} names other libraries now; mend the list"
        assert len(reason) > 20
