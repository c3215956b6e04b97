"""Which test runs which function: measured once for a state of the sources, so that a mutant meets only tests that can
notice it, the fastest first."""

from __future__ import annotations

import ast
import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

from tests.mutants.mutations import Mutation

FAST = 10.0
"""Seconds (traced, with empty caches) above which a test is no fast test and is not asked."""
AT_IMPORT = 0
"""Line that stands for what runs when the module is imported."""


@dataclass(frozen=True)
class Reach:
    """``lines``: by test and file, the first lines of the functions that run in that test; ``at_import``: by file,
    those that run while labkit is imported; ``seconds`` by test; ``imports``: by file, the files it imports directly;
    ``libraries``: modules of others that come along."""

    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    at_import: dict[str, list[int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    imports: dict[str, list[str]] = field(default_factory=dict)
    libraries: list[str] = field(default_factory=list)

    def only(self, files: set[str]) -> Reach:
        """Without the tests of other test files."""
        kept = [test for test in self.lines if test.split("::")[0] in files]
        return replace(
            self, lines={test: self.lines[test] for test in kept}, seconds={test: self.seconds[test] for test in kept}
        )

    def joined(self, newer: Reach) -> Reach:
        """With what *newer* knows on top."""
        return replace(
            newer,
            lines={**self.lines, **newer.lines},
            seconds={**self.seconds, **newer.seconds},
            libraries=sorted({*self.libraries, *newer.libraries}),
        )

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


@cache
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


def fingerprint(root: Path, names: list[str]) -> str:
    """Hash over the files *names* and every Python file in the folders among them."""
    digest = hashlib.sha256()
    for name in names:
        for path in sorted((root / name).rglob("*.py")) or [root / name]:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@dataclass
class Cache:
    """The reach of test files, kept in the file *path* as long as the sources with hash *key* and each test file stay
    as they are; it is no more than a cache and may be deleted."""

    path: Path
    key: str

    def load(self, tests: dict[str, str]) -> tuple[Reach, list[str]]:
        """What is known of *tests* (hash by test file), and the files that must be measured."""
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            reach = Reach(**kept["reach"])
        except (OSError, ValueError, KeyError, TypeError):
            return Reach(), list(tests)
        if kept["key"] != self.key:
            return Reach(), list(tests)
        stale = [file for file, digest in tests.items() if kept["tests"].get(file) != digest]
        return reach.only(set(tests) - set(stale)), stale

    def save(self, reach: Reach, tests: dict[str, str]) -> None:
        """Keep *reach* of *tests*."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"key": self.key, "tests": tests, "reach": asdict(reach)}
        self.path.write_text(json.dumps(kept), encoding="utf-8")
