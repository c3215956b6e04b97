"""Labs that are broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.lab import Lab, load_recipe

RESTING = {"COMPLETED", "ENGINEER_REVIEW", "BLOCKED", "REJECTED", "FAILED", "CANCELLED", "CLEARED", "PAUSED"}
"""States in which no process is at work on a run."""


@pytest.fixture(scope="session")
def oxide() -> Recipe:
    """A recipe that runs in half a second."""
    return load_recipe(resource("data/recipes/lpcvd_sio2_100nm.json"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An empty lab with one tube."""
    with labkit.open(tmp_path / "lab") as opened:
        opened.add_tool("TUBE", "cvd", seed=1)
        yield opened


NURSERY = """
import json, os, sys
import labkit, labkit.lab, labkit.runs.execute, labkit.runs.sweep, labkit.store.sql, distributed, zarr, scipy.optimize
from labkit.core import registry
registry.processes()
for line in sys.stdin:
    task = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(task["out"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)
        os.dup2(1, 2)
        exec(task["script"], {"arguments": task["arguments"]})
        sys.stdout.flush()
        os._exit(0)
    if task["wait"]:
        child = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(child, flush=True)
"""


class Nursery:
    """Processes that have labkit imported already: importing it for each would take longer than all they do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parent = subprocess.Popen(
            [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._count = 0

    def run(self, script: str, *arguments: Any) -> tuple[int, str]:
        """Run *script* in a process of its own; its exit status (negative: the signal) and what it printed."""
        status, out = self._start(script, arguments, wait=True)
        return status, out.read_text(encoding="utf-8")

    def start(self, script: str, *arguments: Any) -> tuple[int, Path]:
        """Start *script*; its process id, and the file it prints to."""
        return self._start(script, arguments, wait=False)

    def close(self) -> None:
        """End the parent."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait(timeout=60)
        self._parent.stdout.close()

    def _start(self, script: str, arguments: tuple[Any, ...], *, wait: bool) -> tuple[int, Path]:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._count += 1
        out = self._folder / f"{self._count}.out"
        out.touch()
        task = {"script": script, "arguments": [str(a) for a in arguments], "out": str(out), "wait": wait}
        self._parent.stdin.write(json.dumps(task) + "\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline()), out


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Where processes come from."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    made = Nursery(tmp_path_factory.mktemp("processes"))
    yield made
    made.close()


@pytest.fixture
def whole() -> Callable[[Lab], None]:
    """Check that nothing half-done is to be seen in a lab: every run rests, every tool is free, every folder belongs
    to a run."""

    def check(opened: Lab) -> None:
        runs = opened.sql("select id, state, folder, tool from runs")
        assert set(runs["state"]) <= RESTING
        finished = runs[runs["state"].isin(["COMPLETED"])]
        assert finished["folder"].notna().all()
        staging = opened.folder / "staging"
        assert not staging.exists() or list(staging.iterdir()) == []
        published = {path.relative_to(opened.folder).as_posix() for path in (opened.folder / "runs").glob("*/*/*")}
        assert published == set(runs["folder"].dropna())
        assert opened.sql("select * from tools where leased_run is not null").empty
        assert opened.sql("select * from attempts where state = 'running'").empty
        assert len(opened.verify()) == 0

    return check
