"""A sweep on two worker processes, one of which is killed, and on a scheduler that others started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client

import labkit
from labkit.core import registry
from labkit.core.errors import LabkitError, SettingsError
from labkit.core.settings import Settings
from labkit.lab import Lab
from labkit.runs.scale_out import dask_client, map_chunks
from labkit.runs.sweep import run_sweep

CVD = registry.process("cvd")
OXIDE = CVD.example_recipes()[0]
DURATIONS = [600.0 + second for second in range(120)]
OVER = {"recipe_steps.3.duration_s": DURATIONS, "pressure_setpoints.process_pressure_torr": [0.4, 0.5]}
DEADLINE_S = 60.0


def _soon(condition: Callable[[], Any], what: str) -> Any:
    """What *condition* gives as soon as it is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.wait(timeout=DEADLINE_S)


class Cluster:
    """A Dask scheduler and workers, each a process of its own, that labkit did not start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        try:
            self.scheduler = self._start(
                "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", self._file
            )
            _soon(lambda: self._file.exists() and self._file.stat().st_size, "the scheduler does not start")
            self.address = str(json.loads(self._file.read_text(encoding="utf-8"))["address"])
        except BaseException:
            self.close()
            raise

    def add_workers(self, count: int) -> None:
        """Start workers and wait until the scheduler has them."""
        for _ in range(count):
            self.workers.append(
                self._start("dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
            )
        with Client(self.address, set_as_default=False, timeout=DEADLINE_S) as client:
            client.wait_for_workers(count, timeout=DEADLINE_S)

    def close(self) -> None:
        """End every process."""
        _end(self.processes)

    def _start(self, program: str, *arguments: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with (self._folder / "dask.log").open("ab") as log:
            started = subprocess.Popen(
                [*command, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment,
            )
        self.processes.append(started)
        return started


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


@pytest.fixture
def open_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Lab]]:
    """Opens the lab of the test with settings, as a user does: by its labkit.toml."""
    opened: list[Lab] = []

    def make(**settings: Any) -> Lab:
        while opened:
            opened.pop().close()
        monkeypatch.delenv("LABKIT_DASK", raising=False)
        folder = tmp_path / "lab"
        labkit.open(folder).close()
        (folder / "labkit.toml").write_text("".join(f"{k} = {v!r}\n" for k, v in settings.items()), encoding="utf-8")
        opened.append(labkit.open(folder))
        return opened[-1]

    yield make
    while opened:
        opened.pop().close()


class Killing:
    """A report of progress that does something, once, when a tenth is done, and notes what it was told."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act, self.told = act, list[float]()
        self.left: float | None = None

    def __call__(self, percent: float, step: str) -> None:
        self.told.append(percent)
        if percent >= 10.0 and self.left is None:
            self.left = 100.0 - percent
            self._act()


def _whole(lab: Lab, run_id: str, told: list[float]) -> None:
    """Every point of the sweep is there, in its place, and every chunk was recorded and reported once."""
    run = lab.run(run_id)
    assert run.state == "COMPLETED"
    thickness = run.data["sweep"]["thickness_mean_nm"].load()
    assert thickness.shape == (len(DURATIONS), 2)
    assert bool(np.isfinite(thickness).all())
    assert bool((thickness.diff("recipe_steps_3_duration_s") > 0.0).all())
    for at, pressure in ((0, 0.4), (77, 0.5), (119, 0.5)):
        recipe = OXIDE.changed(
            {"recipe_steps.3.duration_s": DURATIONS[at], "pressure_setpoints.process_pressure_torr": pressure}
        )
        direct = CVD.expected(recipe, CVD.incoming_wafers(recipe))["thickness_mean_nm"]
        assert float(thickness[at, 0 if pressure == 0.4 else 1]) == pytest.approx(direct, rel=1e-12)
    chunks = lab.sql(f"select * from sweep_chunks where run = '{run_id}' order by ordinal")
    assert list(chunks["state"].unique()) == ["completed"]
    assert list(chunks["first"]) == [0, *np.cumsum(chunks["count"])[:-1]]
    assert int(chunks["count"].sum()) == 2 * len(DURATIONS)
    assert told[:-1] == pytest.approx([100.0 * (n + 1) / len(chunks) for n in range(len(chunks))])


def _spawned() -> list[psutil.Process]:
    """The worker processes that this one has now; children of other tests that have ended are none."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += [process] if "spawn_main" in " ".join(process.cmdline()) else []
    return found


def test_a_sweep_on_two_processes_outlives_one_of_them(open_lab: Callable[..., Lab]) -> None:
    lab = open_lab(dask="local", workers=2)
    killed: list[psutil.Process] = []

    def kill() -> None:
        workers = _spawned()
        assert len(workers) == 2
        killed.append(workers[0])
        workers[0].send_signal(signal.SIGKILL)

    report = Killing(kill)
    run_id = run_sweep(lab._place, CVD, OXIDE, OVER, report)
    assert killed
    assert not killed[0].is_running()
    assert report.left is not None
    assert report.left > 50.0
    _whole(lab, run_id, report.told)
    assert not _spawned()


def test_a_sweep_uses_an_existing_scheduler_outlives_a_worker_and_leaves_the_rest_alive(
    open_lab: Callable[..., Lab], cluster: Cluster
) -> None:
    cluster.add_workers(2)
    lab = open_lab(dask=cluster.address)

    def kill() -> None:
        cluster.workers[0].kill()
        cluster.workers[0].wait(timeout=DEADLINE_S)

    report = Killing(kill)
    run_id = run_sweep(lab._place, CVD, OXIDE, OVER, report)
    assert report.left is not None
    assert report.left > 50.0
    _whole(lab, run_id, report.told)
    with Client(cluster.address, set_as_default=False) as client:
        assert client.submit(os.getpid, pure=False).result(timeout=DEADLINE_S) == cluster.workers[1].pid
        assert client.submit(int, "7").result(timeout=DEADLINE_S) == 7


def test_a_sweep_whose_scheduler_dies_waits_to_be_resumed_elsewhere(
    open_lab: Callable[..., Lab], cluster: Cluster
) -> None:
    cluster.add_workers(1)
    lab = open_lab(dask=cluster.address)
    report = Killing(cluster.close)
    with pytest.raises(LabkitError, match="scheduler was lost") as refused:
        run_sweep(lab._place, CVD, OXIDE, OVER, report)
    assert "\n" not in str(refused.value)
    (paused,) = lab.runs()
    assert paused["state"] == "PAUSED"
    kept = int((lab.sql("select state from sweep_chunks")["state"] == "completed").sum())
    assert 0 < kept < len(lab.sql("select * from sweep_chunks"))
    again = open_lab(dask="threads")
    told: list[float] = []
    run_sweep(again._place, CVD, OXIDE, OVER, lambda percent, step: told.append(percent), resume=paused["id"])
    chunks = len(again.sql("select * from sweep_chunks"))
    assert len(told) == chunks - kept + 1
    _whole(again, paused["id"], [100.0 * (n + 1) / chunks for n in range(kept)] + told)


def _ends_its_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_chunk_that_ends_every_worker_is_given_up_by_name() -> None:
    with dask_client(Settings(dask="processes", workers=1)) as client, pytest.raises(LabkitError) as refused:
        map_chunks(client, _ends_its_process, {17: ()}, lambda ordinal, found: None)
    assert "chunk 17 was given up: 4 workers ended" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_chunks_are_made_only_as_fast_as_workers_take_them() -> None:
    class Work(dict[int, tuple[int]]):
        """Chunks that say how far ahead of the results they were asked for."""

        ahead = 0

        def __getitem__(self, ordinal: int) -> tuple[int]:
            self.ahead = max(self.ahead, ordinal + 1 - len(kept))
            return super().__getitem__(ordinal)

    kept: dict[int, int] = {}
    work = Work({n: (n,) for n in range(500)})
    with dask_client(Settings(dask="threads", workers=2)) as client:
        map_chunks(client, abs, work, kept.__setitem__)
    assert kept == {n: n for n in range(500)}
    assert work.ahead <= 20


def test_a_notebooks_own_client_stays_its_default() -> None:
    with dask_client(Settings(dask="threads", workers=1)) as client:
        with pytest.raises(ValueError, match="No clients found"):
            Client.current()
        assert client.submit(abs, -1).result() == 1


@pytest.mark.parametrize("dask", ["threads", "processes"])
def test_a_cluster_of_labkits_own_listens_on_loopback_only_and_gives_no_pages(dask: str) -> None:
    before = {c.laddr for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN}
    with dask_client(Settings(dask=dask, workers=1)):
        everyone = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {c.laddr for p in everyone for c in p.net_connections() if c.status == psutil.CONN_LISTEN} - before
        for ip, port in listening:
            with socket.create_connection((ip, port), timeout=DEADLINE_S) as line, suppress(OSError):
                line.sendall(b"GET /info/main/workers.html HTTP/1.0\r\n\r\n")
                assert b"200 OK" not in line.recv(4096)
    assert {ip for ip, _ in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "address",
    ["foo://127.0.0.1:8786", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:99999", "tcp://a b:1"],
)
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(SettingsError, match="is no address") as refused, dask_client(Settings(dask=address)):
        pass
    assert "\n" not in str(refused.value)
    assert "tcp://host:port" in str(refused.value)


def test_a_scheduler_that_is_not_there_is_refused_in_one_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(SettingsError, match="does not answer") as refused, dask_client(Settings(dask=address)):
            pass
    assert "\n" not in str(refused.value)


def test_something_else_that_listens_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def chat() -> None:
            while True:
                try:
                    other, _ = server.accept()
                except OSError:
                    return
                with other:
                    other.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        talker = threading.Thread(target=chat, daemon=True)
        talker.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(SettingsError, match="does not answer") as refused, dask_client(Settings(dask=address)):
            pass
        assert "\n" not in str(refused.value)
        server.shutdown(socket.SHUT_RDWR)
        talker.join(timeout=DEADLINE_S)


def test_a_scheduler_without_workers_is_refused_and_left_alive(cluster: Cluster) -> None:
    with (
        pytest.raises(SettingsError, match=r"has no workers\. Fix: start some: dask worker tcp") as refused,
        dask_client(Settings(dask=cluster.address)),
    ):
        pass
    assert "\n" not in str(refused.value)
    assert cluster.scheduler.poll() is None
