"""The lock file is one that plain pip installs anywhere, and that satisfies what the project declares."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def locked(checkout: Path) -> dict[str, Requirement]:
    """Locked requirements by canonical name."""
    lines = (checkout / "requirements.lock").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    assert len({canonicalize_name(r.name) for r in requirements}) == len(requirements), "one version of each package"
    return {canonicalize_name(r.name): r for r in requirements}


def direct(checkout: Path, *extras: str) -> list[Requirement]:
    project = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


def test_every_direct_dependency_is_locked_within_its_bounds(locked: dict[str, Requirement], checkout: Path) -> None:
    for wanted in direct(checkout, "lab", "postgres", "dev"):
        pinned = locked[canonicalize_name(wanted.name)]
        assert pinned.marker is None, f"{wanted.name} is locked for some machines only"
        [version] = [specifier.version for specifier in pinned.specifier]
        assert wanted.specifier.contains(version, prereleases=False), (
            f"{wanted.name} {version} is not {wanted.specifier}"
        )


def test_every_package_is_pinned_exactly(locked: dict[str, Requirement]) -> None:
    for requirement in locked.values():
        [specifier] = list(requirement.specifier)
        assert specifier.operator == "=="
        assert requirement.url is None


def test_the_build_backend_is_locked(locked: dict[str, Requirement], checkout: Path) -> None:
    build = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    assert {canonicalize_name(Requirement(line).name) for line in build} <= set(locked)


def test_the_lock_names_no_host_no_folder_and_no_accelerator(checkout: Path) -> None:
    text = (checkout / "requirements.lock").read_text(encoding="utf-8")
    assert re.findall(r"https?:|file:|--index|--find-links|--extra-index|@ |(?<![\w.])/\w", text) == []
    assert re.findall(r"^(torch|nvidia|cupy|cuda|triton)\S*", text, re.MULTILINE) == []


def test_optional_accelerators_stay_out_of_the_core(checkout: Path) -> None:
    heavy = {"torch", "cupy-cuda13x"}
    assert not heavy & {canonicalize_name(r.name) for r in direct(checkout)}
