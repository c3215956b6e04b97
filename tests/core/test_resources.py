"""Files that travel with labkit are found in a checkout and in an installed wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from labkit.core.errors import LabkitError, NotFound
from labkit.core.resources import resource


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """The wheel that this checkout builds."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--disable-pip-version-check",
            "--wheel-dir",
            str(folder),
            str(checkout),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    [built] = folder.glob("labkit-*.whl")
    return built


def test_resources_of_a_checkout_are_those_beside_the_package(checkout: Path) -> None:
    assert resource("data") == checkout / "data"


@pytest.mark.parametrize("name", ["", "labkit", "/etc/passwd", "data/../labkit", "secrets/key"])
def test_what_is_no_resource_is_refused(name: str) -> None:
    with pytest.raises(LabkitError, match="cannot be a resource"):
        resource(name)


def test_a_resource_that_does_not_exist_is_named() -> None:
    with pytest.raises(NotFound, match="data/no_such_table"):
        resource("data/no_such_table")


def test_the_wheel_holds_package_data_pipelines_and_nothing_else(wheel: Path, checkout: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("data", "pipelines"):
        for path in (checkout / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and ".ipynb_checkpoints" not in path.parts:
                assert f"labkit/shipped/{path.relative_to(checkout).as_posix()}" in names
    for path in (checkout / "labkit").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(checkout).as_posix() in names
    assert {name.split("/")[0] for name in names} == {"labkit", f"labkit-{wheel.name.split('-')[1]}.dist-info"}
    assert "labkit/py.typed" in names


def test_an_installed_wheel_finds_its_resources_without_the_checkout(
    wheel: Path, tmp_path: Path, checkout: Path
) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import labkit; from labkit.core.resources import resource; print(labkit.__file__); "
        "print(sum(path.is_file() for name in ('data', 'pipelines') for path in resource(name).rglob('*')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    module, count = done.stdout.split("\n")[:2]
    assert module.startswith(str(tmp_path))
    assert int(count) > 0
    assert str(checkout) not in done.stdout
