"""Which files are mutated, and which fast tests ought to notice."""

from __future__ import annotations

from pathlib import Path

FOLDERS = ("labkit/processes", "labkit/materials", "labkit/numerics", "labkit/control")

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
    found = [path.relative_to(root).as_posix() for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))
             if path.name != "__init__.py" and path.name not in NOT_PHYSICS]
    return [path for path in found if within is None or path.startswith(within)]


def tests_for(path: str, root: Path) -> tuple[str, ...]:
    """Fast tests for the file *path*: those named after it first, then the folders of its chapter or layer."""
    parts = Path(path).parts
    layer, stem = parts[1], Path(path).stem
    folders = {
        "processes": [f"tests/physics/{parts[2]}", f"tests/processes/{parts[2]}"],
        "materials": ["tests/materials", "tests/physics"],
        "numerics": ["tests/numerics", "tests/physics/numerics"],
        "control": ["tests/control"],
    }[layer]
    existing = [folder for folder in folders if (root / folder).is_dir() and any((root / folder).rglob("test_*.py"))]
    named = sorted(
        test.relative_to(root).as_posix()
        for folder in existing
        for test in (root / folder).rglob("test_*.py")
        if stem in test.stem
    )
    others = sorted(
        test.relative_to(root).as_posix() for folder in existing for test in (root / folder).rglob("test_*.py")
    )
    contracts = [f"tests/contracts/test_{parts[2]}.py"] if layer == "processes" else []
    return tuple(dict.fromkeys([*named, *others, *(test for test in contracts if (root / test).exists())]))
