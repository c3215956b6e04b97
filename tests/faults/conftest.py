"""Labs that are broken on purpose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit.core.recipe import Recipe
from labkit.core.resources import resource
from labkit.lab import Lab, load_recipe

from . import referee, warm

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


BEGINNING = """
import json, sys, time, labkit
from labkit.core.resources import resource
from labkit.core.tool import Clock
from labkit.devices.background import wait
from labkit.lab import load_recipe

def until(condition, what, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain until {what}")
        time.sleep(0.02)

recipe = load_recipe(resource("data/recipes/lpcvd_sio2_100nm.json"))
lab = labkit.open(arguments[0])
"""
"""What every script of a scene begins with."""
TEMPLATE = """
lab.add_tool("TUBE", "cvd", seed=1)
lab.add_tool("TUBE-2", "cvd", seed=2)
lab.add_tool("SLOW", "cvd", seed=3, clock=Clock(mode="paced", scale=1040.0))
lab.close()
import os
os.environ["LABKIT_TOOLS"] = "inside"
with labkit.open(arguments[0] + "-rehearsal") as rehearsal:
    rehearsal.add_tool("TUBE", "cvd", clock=Clock(mode="paced", scale=5000.0))
    run = rehearsal.execute(recipe, progress=False)
    rehearsal.run(run.seq).data["telemetry"].load()
    rehearsal.sweep(recipe, {"recipe_steps.3.duration_s": [600.0, 700.0]}, progress=False)
    rehearsal.verify()
print(json.dumps(sorted(sys.modules)))
"""
"""Tools that compute as fast as they can, and one whose runs of an hour take three seconds."""
PATIENCE_S = 90.0


class Scene:
    """A lab with the processes that act in it: notebooks, and the workers and tools that those start.

    ``settings`` (environment variables; ``FOLDER`` stands for the lab's) hold for all of them.
    """

    def __init__(self, channel: str, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.traces = folder.with_name(f"{folder.name}-traces")
        self.traces.mkdir()
        self._channel, self._count = channel, 0
        settings = {name: value.replace("FOLDER", str(folder)) for name, value in settings.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LABKIT_")}
        self._environment = {**kept, "LAB": str(folder), "WARM": channel, "LABKIT_WORKER_IDLE_S": "1"} | settings

    def start(
        self,
        script: str,
        *arguments: Any,
        traced: bool = False,
        kill: tuple[str, str, str] | None = None,
        **settings: str,
    ) -> int:
        """Run *script* in a process of its own; its id. *kill* says who dies when and where: (role, moment, point).

        *settings* hold for this process and what it starts.
        """
        environment = self._environment | settings
        if traced or kill:
            environment["CRASH_TRACE"] = str(self.traces)
        if kill:
            environment["CRASH_AT"] = json.dumps(kill)
        self._count += 1
        out = self.traces / f"{self._count:03}.out"
        request = {
            "module": "",
            "script": BEGINNING + script,
            "arguments": [str(self.folder), *map(str, arguments)],
            "env": environment,
            "out": str(out),
        }
        return int(warm.ask(self._channel, **request))

    def run(self, script: str, *arguments: Any, seconds: float = PATIENCE_S, **settings: str) -> str:
        """Run *script* to its end; what it said."""
        child = self.start(script, *arguments, **settings)
        self.until(lambda: not warm.alive(child), "a script has ended", seconds)
        return self.said()

    def said(self) -> str:
        """What the scripts have printed, errors included."""
        return "".join(
            path.read_text(encoding="utf-8", errors="replace") for path in sorted(self.traces.glob("*.out"))[-1:]
        )

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> None:
        """Wait for *condition*; fail with everything that the processes said if it does not come."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain until {what}\n{self.logs()}"
            time.sleep(0.01)

    def logs(self) -> str:
        """Everything that anybody has said."""
        files = [*self.traces.glob("*.out"), *self.folder.glob("logs/*.log"), *self.folder.glob("tools/*/tool.log")]
        return "\n".join(
            f"-- {path.name}\n{path.read_text(encoding='utf-8', errors='replace')[-3000:]}" for path in files
        )

    @property
    def died(self) -> int | None:
        """The process that was killed at its point, once it is gone."""
        note = self.traces / "died"
        pid = int(note.read_text() or 0) if note.exists() else 0
        return pid if pid and not warm.alive(pid) else None

    def points(self, role: str) -> set[str]:
        """The points that processes of *role* have reached."""
        path = self.traces / f"{role}.points"
        return set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()

    def words(self) -> set[str]:
        """Every word that a script has printed in full."""
        told = [path.read_text(encoding="utf-8", errors="replace") for path in self.traces.glob("*.out")]
        return {line for text in told for line in text.split("\n")[:-1] if len(line) == 26 and " " not in line}

    def workers(self) -> list[int]:
        """The process ids of workers that live and have not signed off."""
        found = referee.query(self.folder / "catalogue.db", "select pid from workers where stopped is null")
        return [pid for (pid,) in found if warm.alive(pid)]

    def tools(self) -> list[int]:
        """The process ids of the tools that live."""
        found = []
        for path in sorted(self.folder.glob("tools/*/endpoint.json")):
            with suppress(OSError, ValueError):
                found.append(int(json.loads(path.read_text(encoding="utf-8"))["pid"]))
        return [pid for pid in found if warm.alive(pid)]

    def end(self) -> None:
        """End every process of the scene that is still there."""
        warm.ask(self._channel, end=str(self.folder))


class Stage:
    """Where scenes are set: a warm parent, and a lab to copy."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._socket = tempfile.mkdtemp(prefix="labkit-")
        self.channel = str(Path(self._socket) / "warm")
        # In a session of its own: a signal to this group must not keep it from ending what it has made.
        self._parent = subprocess.Popen(
            [sys.executable, warm.__file__, self.channel],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._parent.stdout is not None
        assert self._parent.stdout.readline() == "ready\n"
        self._template = folder / "template"
        made = Scene(self.channel, self._template)
        said = made.run(TEMPLATE)
        assert said.startswith("["), made.logs()
        warm.ask(self.channel, modules=json.loads(said))

    def scene(self, **settings: str) -> Scene:
        """A lab of its own with three tools."""
        self._count += 1
        folder = self._folder / f"lab-{self._count}"
        shutil.copytree(self._template, folder)
        return Scene(self.channel, folder, **settings)

    def close(self) -> None:
        """End everything."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait(timeout=60)
        self._parent.stdout.close()
        shutil.rmtree(self._socket)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where scenes are set."""
    if not hasattr(os, "fork") or not Path("/proc/self/fd").exists():
        pytest.skip("needs fork and /proc")
    made = Stage(tmp_path_factory.mktemp("stage"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def scene(stage: Stage) -> Iterator[Scene]:
    """A lab with three tools and nobody in it."""
    made = stage.scene()
    yield made
    made.end()
    shutil.rmtree(made.folder)
