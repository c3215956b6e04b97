"""Our queue beside DBOS's, in one call on one machine: ``python benchmarks/jobs/peer_dbos.py --peer FOLDER``.

The peer is no dependency of the project; it comes from a folder of its own: ``pip install --target FOLDER dbos``. Both
work on SQLite in WAL mode with JSON and look at their queue every 0.05 s. Prints a list of ``{name, ours, peer, unit,
ratio}``; *ratio* is peer to ours. On a busy machine only the ratios say anything.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

Row = dict[str, Any]
PATIENCE_S = 15.0
"""How long a dead worker's job is given to be taken up by a worker of another name, s."""


def main(arguments: list[str]) -> int:
    """Measure, and print the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="folder that pip install --target put dbos into")
    peer = parser.parse_args(arguments).peer.absolute()
    if not (peer / "dbos").is_dir():
        print(f"peer not installed: pip install --target {peer} dbos", file=sys.stderr)
        return 0
    os.environ["LABKIT_TOOLS"] = "process"
    rows = [*_imports(peer), *_waiting_times(peer), *_after_a_kill(peer)]
    print(json.dumps(rows, indent=2))
    return 0


def _row(name: str, ours: float | None, peer: float | None, unit: str, **more: Any) -> Row:
    ratio = peer / ours if ours and peer else None
    return {"name": name, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio, **more}


def _imports(peer: Path) -> list[Row]:
    """What each worker process loads before it works, and what the peer would add to ours."""

    def seconds(before: str, code: str) -> float:
        text = f"{before}; import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
        path = os.pathsep.join([*sys.path, str(peer)])
        environment = {**os.environ, "PYTHONPATH": path}
        found = [
            float(subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, check=True).stdout)
            for _ in range(5)
        ]
        return statistics.median(found)

    work = "import labkit.lab.working"
    return [
        _row("import of a worker", seconds("pass", work), seconds("pass", "import dbos"), "s"),
        _row("import of the peer by our worker, on top of its own", None, seconds(work, "import dbos"), "s"),
    ]


def _waiting_times(peer: Path) -> list[Row]:
    """Handing in, starting and finishing, warm, with a worker that waits in a process of its own."""
    from figures import durable_overhead, submission

    submitted, started = submission()
    (overhead,) = durable_overhead()
    with (
        tempfile.TemporaryDirectory() as folder,
        _peer_worker(peer, folder, "a"),
        _peer_worker(peer, folder, "client") as client,
    ):
        handed, begun, done = _say(client, {"do": "times"})
        (per_step,) = _say(client, {"do": "steps"})
    return [
        _row("handing in, warm", submitted["value"], 1e3 * handed, "ms"),
        _row("from handing in to being taken up", started["taken_up_after_ms"], 1e3 * begun, "ms"),
        _row(
            "from handing in to the result: ours a whole run less its physics, the peer's one empty step",
            overhead["value"],
            1e3 * done,
            "ms",
        ),
        _row("each further durable step", None, 1e3 * per_step, "ms"),
    ]


def _after_a_kill(peer: Path) -> list[Row]:
    """A worker is killed (−9) during a job: how long until a new one has that in hand, both counted from the start of
    the new process."""
    with tempfile.TemporaryDirectory() as folder:
        stranger = _peer_recovered(peer, f"{folder}/1", "b", tell=False)
        told = _peer_recovered(peer, f"{folder}/2", "b", tell=True)
        namesake = _peer_recovered(peer, f"{folder}/3", "a", tell=False)
        twice = _peer_twins(peer, f"{folder}/4")
    name = "after kill −9, until a new worker has the run in hand"
    ours = _ours_recovered()
    return [
        _row(f"{name}: peer under another executor id", ours, stranger, "s", peer_gave_up_after_s=PATIENCE_S),
        _row(f"{name}: peer told which executor is dead", ours, told, "s"),
        _row(f"{name}: peer under the same executor id", ours, namesake, "s"),
        _row("executions of one job when a second worker starts under the first one's id", 1.0, float(twice), "1"),
    ]


def _ours_recovered() -> float:
    import labkit
    from labkit.core.tool import Clock
    from labkit.devices import launch
    from labkit.store import jobs

    with tempfile.TemporaryDirectory() as folder, labkit.open(f"{folder}/lab") as lab:
        lab.add_tool("TUBE", "cvd", clock=Clock(mode="paced", scale=20.0))
        place = lab.workplace
        command = [sys.executable, "-m", "labkit.cli", "--lab", str(lab.folder), "worker"]

        def holder() -> str | None:
            with place.catalogue.read() as tx:
                return jobs.get(tx, job.id)["worker"]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, stdout=subprocess.DEVNULL)

        first = start()
        second = None
        try:
            _patiently(lambda: len(lab.workers()) > 0)
            job = lab.submit(lab.process("cvd").example_recipes()[0], tool="TUBE", expires=timedelta(minutes=5))
            _patiently(lambda: job.state == "RUNNING")
            before = holder()
            first.kill()
            first.wait()
            began = time.perf_counter()
            second = start()
            _patiently(lambda: holder() not in (None, before))
            return time.perf_counter() - began
        finally:
            for process in (first, second):
                if process is not None:
                    process.kill()
                    process.wait()
            launch.shut_down(place.tools.folder_of("TUBE"))


def _peer_recovered(peer: Path, folder: str, successor: str, *, tell: bool) -> float | None:
    Path(folder).mkdir()
    seen = Path(folder) / "executions"
    with _peer_worker(peer, folder, "a") as worker:
        _say(worker, {"do": "long", "file": str(seen)})
        _patiently(seen.exists)
        worker.kill()
        worker.wait()
        began = time.perf_counter()
        with _peer_worker(peer, folder, successor) as second:
            if tell:
                _say(second, {"do": "recover", "dead": "a"})
            try:
                _patiently(lambda: _count(seen) > 1, PATIENCE_S)
            except TimeoutError:
                return None
            return time.perf_counter() - began


def _peer_twins(peer: Path, folder: str) -> int:
    Path(folder).mkdir()
    seen = Path(folder) / "executions"
    with _peer_worker(peer, folder, "a") as worker:
        _say(worker, {"do": "long", "file": str(seen)})
        _patiently(seen.exists)
        with _peer_worker(peer, folder, "a"):
            try:
                _patiently(lambda: _count(seen) > 1, PATIENCE_S)
            except TimeoutError:
                return 1
            return _count(seen)


def _count(path: Path) -> int:
    return len(path.read_text().splitlines())


def _patiently(condition: Callable[[], bool], patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {patience_s:g} s")
        time.sleep(0.01)


@contextmanager
def _peer_worker(peer: Path, folder: str, executor: str) -> Iterator[subprocess.Popen[str]]:
    """A worker of the peer (or only a client) in a process of its own that is ready; killed in the end."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(peer), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("peer_dbos_worker.py")), folder, executor],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        if json.loads(process.stdout.readline() or "null") != "ready":
            raise RuntimeError("the peer's worker did not start")
        yield process
    finally:
        process.kill()
        process.communicate()


def _say(worker: subprocess.Popen[str], request: Row) -> list[float]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(request) + "\n")
    worker.stdin.flush()
    answer: list[float] = json.loads(worker.stdout.readline())
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
