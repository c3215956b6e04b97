"""Which files are mutated, and which test files may notice."""

from __future__ import annotations

from pathlib import Path

FOLDERS = ("labkit/processes", "labkit/materials", "labkit/numerics", "labkit/control")
TESTS = (
    "tests/numerics", "tests/materials", "tests/control", "tests/physics", "tests/processes",
    "tests/contracts/test_cvd.py", "tests/contracts/test_lithography.py",
)  # fmt: skip
SURROUNDINGS = [
    *FOLDERS, "labkit/core", "labkit/testing", "tests/conftest.py", "tests/numerics/conftest.py",
    "tests/control/conftest.py",
]  # fmt: skip
"""What a measurement of the tests holds for."""

NOT_PHYSICS = {
    "recipe.py": "bounds of recipe fields, tested through refusals",
    "recipe_fields.py": "bounds of recipe fields, tested through refusals",
    "examples.py": "example recipes",
    "findings.py": "wording of findings",
    "evidence.py": "bibliography and caveats",
}
"""File names without physics, each with its reason."""


def sources(root: Path, within: str | None) -> list[str]:
    """Files below *root* to mutate, relative to it; only those whose path starts with *within*, where given."""
    found = [
        path.relative_to(root).as_posix()
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
        if path.name != "__init__.py" and path.name not in NOT_PHYSICS
    ]
    return [path for path in found if within is None or path.startswith(within)]


def tests(root: Path) -> list[str]:
    """Fast test files, relative to *root*."""
    found: list[Path] = []
    for name in TESTS:
        found += sorted((root / name).rglob("test_*.py")) if (root / name).is_dir() else [root / name]
    return [path.relative_to(root).as_posix() for path in found]
