"""Which test runs which function: measured once for a state of the sources, so that a mutant meets only tests that can
notice it, the fastest first."""

from __future__ import annotations

import ast
import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from tests.mutants.mutations import Mutation

FAST = 2.0
"""Seconds (traced, with empty caches) above which a test is no fast test and is not asked."""
AT_IMPORT = 0
"""Line that stands for what runs when the module is imported."""


@dataclass(frozen=True)
class Reach:
    """``lines``: by test and file, the first lines of the functions that run in that test; ``at_import``: by file, those
    that run while labkit is imported; ``seconds`` by test; ``imports``: by file, the files it imports directly;
    ``libraries``: modules of others that come along."""

    lines: dict[str, dict[str, list[int]]]
    at_import: dict[str, list[int]]
    seconds: dict[str, float]
    imports: dict[str, list[str]]
    libraries: list[str]

    @cached_property
    def dependents(self) -> dict[str, set[str]]:
        """By file, the files whose meaning depends on it, itself included."""
        direct: dict[str, set[str]] = defaultdict(set)
        for user, used in self.imports.items():
            for file in used:
                direct[file].add(user)
        found = {}
        for file in self.imports:
            seen, waiting = {file}, [file]
            while waiting:
                for user in direct[waiting.pop()] - seen:
                    seen.add(user)
                    waiting.append(user)
            found[file] = seen
        return found

    def tests_for(self, mutant: Mutation, root: Path) -> list[str]:
        """Tests that run the mutated function, or, where it runs at import, anything that depends on its file: those
        named after the file first, each group from fast to slow."""
        line = function_of((root / mutant.path).read_text(encoding="utf-8"), mutant.line)
        stem = Path(mutant.path).stem
        fast = {test: files for test, files in self.lines.items() if self.seconds[test] <= FAST}
        exact = [test for test, files in fast.items() if line in files.get(mutant.path, ())]
        if line == AT_IMPORT or line in self.at_import.get(mutant.path, ()) or not exact:
            users = self.dependents.get(mutant.path, {mutant.path})
            near = {test for test, files in fast.items() if mutant.path in files}
            tests = [test for test, files in fast.items() if users & files.keys()]
        else:
            near, tests = set(exact), exact
        return sorted(
            tests,
            key=lambda test: (stem not in Path(test.split("::")[0]).stem, test not in near, self.seconds[test], test),
        )


@lru_cache(maxsize=None)
def _functions(source: str) -> tuple[tuple[int, int, int], ...]:
    """First line, first line of the body and last line of every function."""
    return tuple(
        (min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.body[0].lineno, node.end_lineno or 0)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def function_of(source: str, line: int) -> int:
    """First line (of its decorators) of the innermost function whose body holds *line*, else ``AT_IMPORT``."""
    return max((first for first, body, last in _functions(source) if body <= line <= last), default=AT_IMPORT)


def fingerprint(root: Path, folders: tuple[str, ...]) -> str:
    """Hash over every Python file in *folders*, which may be files themselves."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")) or [root / folder]:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def load(cache: Path, key: str) -> Reach | None:
    """The reach measured for the sources with hash *key*, if it was kept."""
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Reach(**kept["reach"]) if kept.get("key") == key else None


def save(cache: Path, key: str, found: Reach) -> None:
    """Keep *found*; the cache is no more than that and may be deleted."""
    fields = ("lines", "at_import", "seconds", "imports", "libraries")
    reach = {name: getattr(found, name) for name in fields}
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({"key": key, "reach": reach}), encoding="utf-8")
