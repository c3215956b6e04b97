"""The layers: what may import what, and what really comes along when a layer is imported."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGE, ROOT, dotted, modules

HEAVY = ("torch", "cupy", "panel", "dbos", "cantera", "shap", "mlflow", "jupyterlab", "notebook")
"""Libraries that cost seconds: nothing may load them before they are used."""
PLOTTING = ("matplotlib", "holoviews", "bokeh", "hvplot", "panel")
KITS = ("pytest", "hypothesis", "labkit.testing")
STORAGE = ("sqlalchemy", "alembic", "duckdb", "pyarrow", "zarr", "dask", "distributed", "psycopg")

FORBIDDEN: dict[str, tuple[str, ...]] = {
    "labkit": ("numpy", "scipy", "xarray", "pandas", "pydantic", "pint", "rich", "click", *STORAGE, *PLOTTING),
    "labkit.core": ("numpy", "scipy", "xarray", *STORAGE, *PLOTTING),
    "labkit.core.errors": ("numpy", "pydantic"),
    "labkit.core.recipe": ("numpy", "scipy", "xarray", "pandas", "pint", *STORAGE, *PLOTTING),
    "labkit.core.process": ("scipy", "xarray", "pandas", "pint", *STORAGE, *PLOTTING),
    "labkit.core.registry": ("scipy", "xarray", "pandas", *STORAGE, *PLOTTING),
    "labkit.core.units": ("pint", "numpy", "xarray"),
    "labkit.core.arrays": ("scipy", "xarray", "pandas"),
    "labkit.materials": (*STORAGE, *PLOTTING),
    "labkit.numerics": ("xarray", "pandas", *STORAGE, *PLOTTING),
    "labkit.control": ("xarray", "pandas", *STORAGE, *PLOTTING),
    "labkit.processes": (*STORAGE, *PLOTTING),
    "labkit.processes.cvd": ("sqlalchemy", "duckdb", "distributed", *PLOTTING),
    "labkit.processes.lithography": ("sqlalchemy", "duckdb", "distributed", *PLOTTING),
    "labkit.devices": ("sqlalchemy", "duckdb", *PLOTTING),
    "labkit.models": ("sqlalchemy", "duckdb", *PLOTTING),
    "labkit.store": PLOTTING,
    "labkit.operations": PLOTTING,
    "labkit.runs": PLOTTING,
    "labkit.cli": ("numpy", "scipy", "xarray", "pandas", *STORAGE, *PLOTTING),
}
"""What must not have come along with each layer, beyond the heavy libraries and the contract kits."""


@cache
def loaded_with(module: str) -> frozenset[str]:
    """Names in ``sys.modules`` of a fresh process that imported *module* and nothing else."""
    code = f"import sys, json; import {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout))


def layers() -> list[str]:
    """Every top-level package or module of labkit that exists."""
    return sorted(
        {dotted(path).split(".")[1] for path in modules() if len(path.parts) > 2 or path.name != "__init__.py"}
    )


def test_imports_go_down_only() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_the_contract_names_every_layer_once() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    assert contract["exhaustive"]
    named = [name.strip(" ()") for layer in contract["layers"] for name in layer.split("|")]
    assert len(named) == len(set(named))
    assert set(layers()) - set(named) <= set(contract["exhaustive_ignores"]) == {"static", "testing"}


def test_layers_that_exist_are_not_optional_in_the_contract() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    optional = [name.strip(" ()") for layer in contract["layers"] for name in layer.split("|") if "(" in name]
    assert [name for name in optional if name in layers()] == []


def test_the_contract_kits_are_kept_out_of_every_layer() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][2]
    assert {name.split(".")[1] for name in contract["source_modules"]} == set(layers()) - {"testing", "static"}


@pytest.mark.parametrize(
    "module", sorted({"labkit", *FORBIDDEN, *(f"labkit.{name}" for name in layers() if name != "testing")})
)
def test_a_layer_brings_along_no_more_than_it_needs(module: str) -> None:
    if not any(dotted(path) == module for path in modules()):
        pytest.skip(f"{module} is not in this checkout")
    unwanted = (*HEAVY, *KITS, *FORBIDDEN.get(module, ()))
    found = loaded_with(module)
    assert [name for name in unwanted if name in found] == []


def test_a_name_of_the_package_loads_when_it_is_used() -> None:
    code = (
        "import sys, labkit; assert 'labkit.core.identity' not in sys.modules; labkit.Principal; "
        "assert 'labkit.core.identity' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "chapter", sorted(p.name for p in (PACKAGE / "processes").iterdir() if (p / "__init__.py").exists())
)
def test_a_chapter_brings_no_other_chapter_along(chapter: str) -> None:
    found = {
        name.split(".")[2]
        for name in loaded_with(f"labkit.processes.{chapter}")
        if name.startswith("labkit.processes.")
    }
    assert found == {chapter}
