"""``labkit doctor``: what is installed, what can be used, where the lab is, what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from labkit.cli.output import emit, table
from labkit.core.errors import LabkitError
from labkit.core.registry import GROUPS, load, names

OPTIONAL = {
    "notebook reports": (
        ("papermill", "nbconvert", "holoviews", "matplotlib", "ipykernel"),
        "pip install 'labkit[lab]'",
    ),
    "JupyterLab": (("jupyterlab", "ipywidgets"), "pip install 'labkit[lab]'"),
    "PostgreSQL catalogue": (("psycopg",), "pip install 'labkit[postgres]'"),
    "S3 storage": (("s3fs",), "pip install s3fs"),
}
"""What each optional ability needs, and how to get it."""


def examine(folder: Path, *, as_json: bool) -> None:
    """Print the findings; exit status 1 if something that is needed is broken."""
    findings = [*_installation(), *_accelerators(), *_abilities(), *_plugins(), *_lab(folder)]
    if as_json:
        emit([dict(zip(("what", "status", "detail", "fix"), finding, strict=True)) for finding in findings])
    else:
        table("labkit doctor", ("what", "status", "detail", "to mend it"), findings)
    if any(status == "broken" for _, status, _, _ in findings):
        raise SystemExit(1)


Line = tuple[str, str, str, str]


def _installation() -> list[Line]:
    lines = [
        (
            "Python",
            "ok",
            f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "",
        )
    ]
    for package in ("labkit", "numpy", "scipy", "xarray", "zarr", "pyarrow", "sqlalchemy", "duckdb", "dask"):
        try:
            lines.append((package, "ok", version(package), ""))
        except PackageNotFoundError:
            lines.append((package, "broken", "not installed", f"pip install {package}"))
    return lines


def _accelerators() -> list[Line]:
    lines: list[Line] = []
    if find_spec("cupy") is not None:
        try:
            import cupy

            device = cupy.cuda.Device()
            title = cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
            lines.append(("GPU (CuPy)", "ok", f"{title}, {device.mem_info[1] / 2**30:.0f} GiB", ""))
        except Exception as error:
            lines.append(
                ("GPU (CuPy)", "missing", f"CuPy finds no usable device ({type(error).__name__})", "check nvidia-smi")
            )
    if find_spec("torch") is not None:
        import torch

        usable = torch.cuda.is_available()
        lines.append(
            (
                "GPU (Torch)",
                "ok" if usable else "missing",
                torch.cuda.get_device_name(0) if usable else f"Torch {torch.__version__} runs on the CPU only",
                "" if usable else "install a CUDA build of torch",
            )
        )
    return lines or [
        (
            "GPU",
            "missing",
            "neither CuPy nor Torch is installed; everything runs on the CPU",
            "pip install 'labkit[gpu]'",
        )
    ]


def _abilities() -> list[Line]:
    lines = []
    for ability, (packages, fix) in OPTIONAL.items():
        absent = [package for package in packages if find_spec(package) is None]
        lines.append(
            (
                ability,
                "missing" if absent else "ok",
                f"needs {', '.join(absent)}" if absent else "available",
                fix if absent else "",
            )
        )
    return lines


def _plugins() -> list[Line]:
    lines: list[Line] = []
    for group in GROUPS:
        for name in names(group):
            try:
                load(group, name)
                lines.append((f"{group.removeprefix('labkit.').rstrip('s')} {name}", "ok", "loads", ""))
            except LabkitError as error:
                lines.append(
                    (f"{group.removeprefix('labkit.').rstrip('s')} {name}", "broken", error.what, error.fix or "")
                )
    return lines


def _lab(folder: Path) -> list[Line]:
    where = folder.resolve()
    if not folder.exists():
        return [("lab", "missing", f"no lab in {where}", 'labkit.open("mylab") in Python, or labkit --lab FOLDER')]
    from labkit.lab import open as open_lab

    try:
        with open_lab(folder, create=False) as lab:
            counted: dict[str, Any] = lab.counts()
    except LabkitError as error:
        return [("lab", "broken", error.what, error.fix or "")]
    free = shutil.disk_usage(folder).free / 2**30
    lines = [
        ("lab", "ok", f"{where}: {counted['runs']} runs, {counted['recipes']} recipes, {counted['tools']} tools", ""),
        ("disk", "ok" if free > 1.0 else "missing", f"{free:.1f} GiB free", "" if free > 1.0 else "free some space"),
    ]
    if counted["quarantined"]:
        lines.append(("quarantine", "missing", f"{counted['quarantined']} entries", "lab.quarantine() names them"))
    return lines
