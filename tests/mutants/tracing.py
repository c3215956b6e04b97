"""A pytest plug-in that notes which functions of labkit run in which test."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


class Tracer:
    """Notes functions below *package* by file (relative to *tree*) and first line."""

    def __init__(self, tree: Path, package: str) -> None:
        self.prefix = f"{tree}/"
        self.package = f"{tree}/{package}/"
        self.seen: dict[str, set[int]] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Trace function: looks at calls only."""
        code = frame.f_code
        if code.co_filename.startswith(self.package):
            self.seen.setdefault(code.co_filename[len(self.prefix) :], set()).add(code.co_firstlineno)

    def take(self) -> dict[str, list[int]]:
        """What was seen since the last call."""
        found = {file: sorted(lines) for file, lines in self.seen.items()}
        self.seen = {}
        return found


def import_everything(tree: Path, tracer: Tracer, modules: list[str]) -> dict[str, list[int]]:
    """Import *modules* and return what ran meanwhile."""
    sys.settrace(tracer)
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        sys.settrace(None)
    return tracer.take()


class ReachPlugin:
    """Collects, by test, the functions that run in it and the seconds it takes; what a test file runs while it is
    imported counts for all its tests, and caches are emptied before each test."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.lines: dict[str, dict[str, list[int]]] = {}
        self.seconds: dict[str, float] = {}
        self.of_file: dict[str, dict[str, list[int]]] = {}
        self.failed: list[str] = []
        self.caches: list[Any] = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        """Trace the import of test files."""
        sys.settrace(self.tracer)
        yield
        sys.settrace(None)
        if isinstance(collector, pytest.Module):
            self.of_file[collector.nodeid] = self.tracer.take()

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
        sys.settrace(self.tracer)
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
