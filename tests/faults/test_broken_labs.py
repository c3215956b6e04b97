"""Labs on full, read-only or damaged disks, from other versions, and under several processes at once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import labkit
from labkit.core.errors import Corrupted, StoreError
from labkit.core.recipe import Recipe
from labkit.core.tool import Clock
from labkit.lab import Lab

from .conftest import Nursery

TWO_RUNS = """
import os
os.environ["LABKIT_TOOLS"] = "process"
import labkit
lab = labkit.open(arguments[0])
recipe = lab.process("cvd").example_recipes()[0]
for _ in range(2):
    try:
        print(lab.execute(recipe, tool=arguments[1], progress=False).state, flush=True)
    except labkit.core.errors.ToolError as error:
        print("refused:", str(error).count(chr(10)), error, flush=True)
lab.close()
"""
READ_ONLY = """
import os, sys
os.setgid(65534); os.setuid(65534)
import labkit
for folder in arguments:
    try:
        labkit.open(folder)
        print("opened")
    except labkit.core.errors.StoreError as error:
        print(error)
"""


def _wait(process: int, out: Path) -> list[str]:
    import time

    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        lines = out.read_text(encoding="utf-8").splitlines()
        if len(lines) >= 2:
            return lines
        time.sleep(0.02)
    os.kill(process, signal.SIGKILL)
    raise AssertionError(out.read_text(encoding="utf-8"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB, where this user may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m,mode=777", "none", str(path)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def _fill(path: Path) -> None:
    stat = os.statvfs(path)
    (path / "filler").write_bytes(b"x" * (stat.f_bavail * stat.f_bsize))


@pytest.mark.parametrize("moment", ["before", "during", "while judging"])
def test_a_disk_that_fills_up_during_a_run_costs_that_run_only(
    small_disk: Path, oxide: Recipe, monkeypatch: pytest.MonkeyPatch, moment: str, whole: Callable[[Lab], None]
) -> None:
    from labkit.runs import carry, conclude

    with labkit.open(small_disk / "lab") as lab:
        lab.add_tool("TUBE", "cvd")
        assert lab.execute(oxide, tool="TUBE", progress=False).state == "COMPLETED"
        with monkeypatch.context() as patch:
            if moment == "before":
                _fill(small_disk)
            else:
                owner, name = (carry.Watch, "attend") if moment == "during" else (conclude, "judge")
                real = getattr(owner, name)

                def filling(*arguments: object) -> object:
                    found = real(*arguments)
                    _fill(small_disk)
                    return found

                patch.setattr(owner, name, filling)
            with pytest.raises(StoreError) as refused:
                lab.execute(oxide, tool="TUBE", progress=False)
        assert "\n" not in str(refused.value)
        assert "space" in str(refused.value)
        (small_disk / "filler").unlink()
        assert lab.execute(oxide, tool="TUBE", progress=False).state == "COMPLETED"
        assert {run["state"] for run in lab.runs()} <= {"COMPLETED", "FAILED"}
        whole(lab)


def test_a_lab_in_a_folder_that_may_not_be_written_is_refused_in_one_line(tmp_path: Path, nursery: Nursery) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    with labkit.open(tmp_path / "lab"):
        pass
    (tmp_path / "empty").mkdir(mode=0o755)
    (tmp_path / "closed").mkdir(mode=0o700)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    status, out = nursery.run(
        READ_ONLY, tmp_path / "lab", tmp_path / "empty", tmp_path / "closed", tmp_path / "closed" / "below"
    )
    assert status == 0, out
    assert len(out.splitlines()) == 4
    for line in out.splitlines():
        assert "Fix: " in line
        assert str(tmp_path) in line


def test_a_lab_of_a_newer_labkit_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with labkit.open(tmp_path / "lab"):
        pass
    with sqlite3.connect(tmp_path / "lab" / "catalogue.db") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match="was written by labkit") as refused:
        labkit.open(tmp_path / "lab")
    assert "\n" not in str(refused.value)


def test_a_damaged_run_is_named_and_the_rest_stays_usable(lab: Lab, oxide: Recipe) -> None:
    good, bad = (lab.execute(oxide, tool="TUBE", progress=False) for _ in range(2))
    path = lab.folder / str(bad.record["folder"]) / "telemetry.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Corrupted, match=bad.id) as named:
        bad.refresh().data["telemetry"].load()
    assert "backup" in str(named.value)
    assert [(finding["kind"], finding["subject"]) for finding in lab.verify()] == [("run", bad.id)]
    assert [entry["subject"] for entry in lab.quarantine()] == [bad.id]
    assert lab.counts()["quarantined"] == 1
    assert lab.run(bad.seq).measured == bad.measured
    assert good.refresh().data["telemetry"].sizes["time"] > 1000
    assert lab.execute(oxide, tool="TUBE", progress=False).state == "COMPLETED"


def test_what_a_tool_remembers_may_be_damaged_and_is_then_named(tmp_path: Path, oxide: Recipe) -> None:
    with labkit.open(tmp_path / "lab") as lab:
        lab.add_tool("TUBE", "cvd")
        lab.execute(oxide, tool="TUBE", progress=False)
    (tmp_path / "lab" / "tools" / "TUBE" / "ledger.db").write_bytes(b"{" * 4096)
    with labkit.open(tmp_path / "lab") as lab:
        with pytest.raises(Corrupted, match=r"TUBE.ledger\.db") as named:
            lab.execute(oxide, tool="TUBE", progress=False)
        assert "\n" not in str(named.value)
        assert [run["state"] for run in lab.runs()] == ["FAILED", "COMPLETED"]


def test_two_processes_run_two_tools_of_one_lab_and_no_row_is_lost(
    tmp_path: Path, nursery: Nursery, tool_processes: None, whole: Callable[[Lab], None]
) -> None:
    with labkit.open(tmp_path / "lab") as lab:
        for tool in ("TUBE-1", "TUBE-2"):
            lab.add_tool(tool, "cvd")
        at_work = [nursery.start(TWO_RUNS, lab.folder, tool) for tool in ("TUBE-1", "TUBE-2")]
        assert [_wait(*process) for process in at_work] == [["COMPLETED"] * 2] * 2
        assert sorted((run["seq"], run["state"]) for run in lab.runs()) == [(n, "COMPLETED") for n in (1, 2, 3, 4)]
        assert len(lab.sql("select run from training_rows")) == 4
        whole(lab)


def test_of_two_processes_on_one_tool_one_waits_for_the_other_and_no_run_is_doubled(
    tmp_path: Path, nursery: Nursery, tool_processes: None, oxide: Recipe, whole: Callable[[Lab], None]
) -> None:
    with labkit.open(tmp_path / "lab") as lab:
        lab.add_tool("TUBE", "cvd")
        said = [
            line
            for process in [nursery.start(TWO_RUNS, lab.folder, "TUBE") for _ in range(2)]
            for line in _wait(*process)
        ]
        assert said == ["COMPLETED"] * 4
        assert [run["state"] for run in lab.runs()] == ["COMPLETED"] * 4
        assert all(lab.tool("TUBE").executions(run["id"]) == 1 for run in lab.runs())
        thickness = lab.sql("select value from results where name = 'thickness_mean_nm'")["value"]
        assert thickness.nunique() == 4, "each run has noise of its own"
        assert lab.execute(oxide, tool="TUBE", progress=False).state == "COMPLETED"
        whole(lab)


def test_two_handles_on_one_tool_share_its_history_and_its_faults(
    tmp_path: Path, tool_processes: None, oxide: Recipe
) -> None:
    from labkit.core.tool import Fault

    with labkit.open(tmp_path / "lab") as one, labkit.open(tmp_path / "lab") as other:
        one.add_tool("TUBE", "cvd", seed=3)
        runs = [lab.execute(oxide, tool="TUBE", progress=False) for lab in (one, other, one, other)]
        assert len({run.measured["thickness_mean_nm"] for run in runs}) == 4
        other.tool("TUBE").inject(Fault(mode="sih4_mfc", magnitude=-0.2))
        weak = one.execute(oxide, tool="TUBE", progress=False)
        assert one.tool("TUBE").ground_truth(weak.id)["faults"]
        one.tool("TUBE").clear_faults()
        assert not one.tool("TUBE").ground_truth(other.execute(oxide, tool="TUBE", progress=False).id).get("faults")


def test_a_run_waits_while_another_one_holds_its_tool(
    tmp_path: Path, tool_processes: None, oxide: Recipe, whole: Callable[[Lab], None]
) -> None:
    with labkit.open(tmp_path / "lab") as lab, labkit.open(tmp_path / "lab") as second:
        lab.add_tool("TUBE", "cvd", clock=Clock(mode="paced", scale=1500.0))
        with ThreadPoolExecutor(1) as other:
            first = other.submit(lab.execute, oxide, tool="TUBE", progress=False)
            while not [run for run in second.runs() if run["state"] == "RUNNING"]:
                assert not first.done()
                time.sleep(0.02)
            waited = second.execute(oxide, tool="TUBE", progress=False)
            assert [first.result().state, waited.state] == ["COMPLETED", "COMPLETED"]
        assert waited.record["started"] >= lab.run(1).record["ended"]
        assert lab.tool("TUBE").executions(waited.id) == 1
        whole(lab)
