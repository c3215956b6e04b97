"""Tools for the tests: real ones, in this process or in processes of their own that end with the test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.core.tool import Clock
from labkit.devices import endpoint, launch
from labkit.devices.definition import Definition, install


class Hosted:
    """Folders of CVD tools, each hosted by a process of its own once somebody uses it."""

    def __init__(self, below: Path) -> None:
        self._below = below
        self._folders: list[Path] = []

    def folder(self, name: str = "T", **options) -> Path:
        """A folder with tool *name* installed."""
        folder = self._below / name
        options.setdefault("clock", Clock(mode="stepped"))
        install(folder, Definition(name=name, process="cvd", **options))
        if folder not in self._folders:
            self._folders.append(folder)
        return folder

    def kill(self, folder: Path) -> int:
        """Kill the process of the tool in *folder* (−9) and collect it; returns the pid it had."""
        found = endpoint.find(folder)
        assert found is not None
        child = launch._started.pop(found.pid)
        os.kill(found.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        child.wait(30)
        return found.pid

    def end(self) -> None:
        """End every process."""
        for pid, child in list(launch._started.items()):
            child.kill()
            child.wait(30)
            del launch._started[pid]


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    tools = Hosted(tmp_path)
    try:
        yield tools
    finally:
        tools.end()
