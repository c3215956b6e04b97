"""A pytest plug-in that notes which functions of labkit run in which test."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


class Tracer:
    """Notes functions below *package* by file (relative to *tree*) and first line: ``function`` is for settrace."""

    def __init__(self, tree: Path, package: str) -> None:
        self.seen: dict[str, set[int]] = {}
        self.function = self._tracing(f"{tree}/{package}/", len(str(tree)) + 1)

    def _tracing(self, package: str, skipped: int) -> Callable[[FrameType, str, object], None]:
        # A closure with one test for foreign code, since it is called for every Python function of every library.
        def trace(frame: FrameType, _event: str, _argument: object) -> None:
            code = frame.f_code
            if code.co_filename.startswith(package):
                self.seen.setdefault(code.co_filename[skipped:], set()).add(code.co_firstlineno)

        return trace

    def take(self) -> dict[str, list[int]]:
        """What was seen since the last call."""
        found = {file: sorted(lines) for file, lines in self.seen.items()}
        self.seen = {}
        return found


def import_everything(tree: Path, tracer: Tracer, modules: list[str]) -> dict[str, list[int]]:
    """Import *modules* and return what ran meanwhile."""
    sys.settrace(tracer.function)
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        sys.settrace(None)
    return tracer.take()


class ReachPlugin:
    """Collects, by test, the functions that run in it and the seconds it takes; what a test file runs while it is
    imported counts for all its tests, and caches are emptied before each test. A file that the test file imports counts
    as reached, if by no function of it: a test may look at its constants alone."""

    def __init__(self, tracer: Tracer, imported: Callable[[Path], list[str]]) -> None:
        self.tracer = tracer
        self.imported = imported
        self.lines: dict[str, dict[str, list[int]]] = {}
        self.seconds: dict[str, float] = {}
        self.of_file: dict[str, dict[str, list[int]]] = {}
        self.failed: list[str] = []
        self.caches: list[Any] = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        """Trace the import of test files."""
        sys.settrace(self.tracer.function)
        yield
        sys.settrace(None)
        if isinstance(collector, pytest.Module):
            ran = self.tracer.take()
            names = {*ran, *self.imported(collector.path)}
            self.of_file[collector.nodeid] = {name: ran.get(name, []) for name in names}

    def pytest_collection_finish(self) -> None:
        """Find the caches once, when everything is imported."""
        self.caches = [
            found
            for found in gc.get_objects()
            if isinstance(found, functools._lru_cache_wrapper)
            and getattr(found, "__module__", "").split(".")[0] in ("labkit", "tests")
        ]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Trace one test."""
        for cache in self.caches:
            cache.cache_clear()
        start = time.perf_counter()
        sys.settrace(self.tracer.function)
        yield
        sys.settrace(None)
        self.seconds[item.nodeid] = time.perf_counter() - start
        found = self.tracer.take()
        for file, lines in self.of_file.get(item.nodeid.split("::")[0], {}).items():
            found[file] = sorted({*found.get(file, []), *lines})
        self.lines[item.nodeid] = found

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note failures."""
        if report.failed:
            self.failed.append(report.nodeid)
