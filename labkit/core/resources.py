"""Files that travel with labkit: example recipes, pipelines, small tables; found wherever labkit is installed."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from labkit.core.errors import LabkitError, NotFound

_PACKAGE = Path(__file__).resolve().parent.parent
_ROOTS = (_PACKAGE / "shipped", _PACKAGE.parent)
"""Where resources lie: inside an installed wheel, or beside the package in a checkout."""


def resource(name: str) -> Path:
    """Path of the file or folder *name*, e.g. ``resource("data/recipes")``.

    Raises
    ------
    LabkitError
        If *name* is not a path below ``data`` or ``pipelines``.
    NotFound
        If labkit carries no such file or folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or parts[0] not in ("data", "pipelines") or ".." in parts:
        raise LabkitError(
            f"{name!r} cannot be a resource",
            allowed="a path that begins with data/ or pipelines/",
            fix='for example resource("data/recipes")',
        )
    for root in _ROOTS:
        found = root.joinpath(*parts)
        if found.exists():
            return found
    raise NotFound(f"labkit carries no {name!r}", fix="reinstall labkit, or correct the name")
