"""Full disks, read-only folders and processes killed at the worst moment: nothing partial counts, the rest stays
usable."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from labkit.core.errors import StoreError
from labkit.store import recovery, runs
from labkit.store.artifacts import Artifacts
from labkit.store.catalogue import Catalogue
from labkit.store.run_folder import RunFolders

from .conftest import ANNA, MALLORY

EXECUTOR = """
import os, sys, time
from pathlib import Path
import numpy as np
from labkit.core.identity import Principal
from labkit.store import runs
from labkit.store.catalogue import Catalogue
from labkit.store.run_folder import RunFolders
lab, moment = Path(sys.argv[1]), sys.argv[2]
def pause(here):
    if here == moment:
        print("here", flush=True)
        time.sleep(60)
with Catalogue(lab / "catalogue.db", Principal("anna", "north")) as catalogue:
    folders = RunFolders(lab)
    with catalogue.begin() as tx:
        runs.create(tx, id="R2", process="cvd", state="running", origin="simulated")
    staged = folders.stage("R2", {"process": "cvd"}, telemetry={"time": np.arange(5.0), "p": np.arange(5.0)})
    pause("staged")
    staged.publish()
    pause("published")
    with catalogue.begin() as tx:
        runs.move(tx, "R2", "completed", expected="running")
        runs.commit_folder(tx, "R2", staged.folder, staged.checksum)
    pause("committed")
"""


def _finished(catalogue: Catalogue, folders: RunFolders, run: str) -> None:
    with catalogue.begin() as tx:
        runs.create(tx, id=run, process="cvd", state="running", origin="simulated")
    with folders.stage(run, {"process": "cvd"}, telemetry={"time": np.arange(9.0), "p": np.arange(9.0)}) as staged:
        staged.publish()
        with catalogue.begin() as tx:
            runs.move(tx, run, "completed", expected="running")
            runs.commit_folder(tx, run, staged.folder, staged.checksum)


def _intact(catalogue: Catalogue, folders: RunFolders, run: str) -> bool:
    with catalogue.read() as tx:
        row = runs.get(tx, run)
    return bool(folders.open(row["folder"], row["folder_checksum"])["telemetry/p"].sum() == 36.0)


def _executor(lab: Path, moment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", EXECUTOR, str(lab), moment], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)


@pytest.mark.parametrize("moment", ["staged", "published", "committed"])
def test_a_process_killed_while_finishing_a_run_leaves_all_of_it_or_nothing(
    catalogue: Catalogue, folders: RunFolders, moment: str
) -> None:
    _finished(catalogue, folders, "R1")
    assert folders.local is not None
    process = _executor(folders.local, moment)
    try:
        assert recovery.recover(catalogue, folders) == [], "a living process's work is not touched"
    finally:
        _kill(process)
    found = recovery.recover(catalogue, folders)
    with catalogue.read() as tx:
        row = runs.get(tx, "R2")
    if moment == "committed":
        assert found == []
        folders.open(row["folder"], row["folder_checksum"])
    else:
        assert [finding.run for finding in found] == ["R2"]
        assert (row["state"], row["folder"]) == ("running", None)
        assert len(folders.published()) == 1
        assert ("never committed" if moment == "published" else "half-written") in str(found[0])
    assert list((folders.local / "staging").iterdir()) == []
    assert recovery.recover(catalogue, folders) == []
    assert recovery.check(catalogue, folders) == []
    assert _intact(catalogue, folders, "R1")
    if moment == "published":
        assert [finding.run for finding in recovery.quarantined(catalogue)] == ["R2"]
        with folders.stage("R2", {}) as staged:
            staged.publish()


def test_recovery_by_one_organisation_leaves_the_folders_of_another_alone(
    catalogue: Catalogue, folders: RunFolders
) -> None:
    assert folders.local is not None
    _kill(_executor(folders.local, "committed"))
    foreign = catalogue.as_principal(MALLORY)
    assert recovery.recover(foreign, folders) == []
    assert recovery.check(foreign, folders) == []
    assert len(folders.published()) == 1


def test_a_row_without_its_folder_is_reported_once_and_resolved_when_it_is_back(
    catalogue: Catalogue, folders: RunFolders
) -> None:
    for run in ("R1", "R2"):
        _finished(catalogue, folders, run)
    with catalogue.read() as tx:
        folder = runs.get(tx, "R1")["folder"]
    assert folders.local is not None
    os.rename(folders.local / folder, folders.local / "elsewhere")
    for _ in range(2):
        assert [(finding.run, "is missing" in finding.what) for finding in recovery.recover(catalogue, folders)] == [
            ("R1", True)
        ]
    assert len(recovery.quarantined(catalogue)) == 1
    assert _intact(catalogue, folders, "R2")
    os.rename(folders.local / "elsewhere", folders.local / folder)
    recovery.resolve(catalogue, folders, "R1")
    assert recovery.quarantined(catalogue) == []


def test_a_thorough_check_names_damaged_and_stray_folders(catalogue: Catalogue, folders: RunFolders) -> None:
    for run in ("R1", "R2"):
        _finished(catalogue, folders, run)
    with catalogue.read() as tx:
        folder = runs.get(tx, "R1")["folder"]
    assert folders.local is not None
    path = folders.local / folder / "telemetry.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with folders.stage("R9", {}) as staged:
        staged.publish()
    found = {finding.run: str(finding) for finding in recovery.check(catalogue, folders)}
    assert set(found) == {"R1", "R9"}
    assert "telemetry.parquet does not match" in found["R1"]
    assert "quarantine/R9" in found["R9"]
    assert _intact(catalogue, folders, "R2")


def _no_space(*arguments: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
def test_a_full_disk_leaves_no_partial_run(
    catalogue: Catalogue, folders: RunFolders, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _finished(catalogue, folders, "R1")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, _no_space)
        with (
            pytest.raises(StoreError, match="No space left") as caught,
            folders.stage("R2", {}, telemetry={"time": np.arange(9.0)}) as staged,
        ):
            staged.publish()
        assert "free space" in str(caught.value)
    assert folders.local is not None
    assert list((folders.local / "staging").iterdir()) == []
    assert len(folders.published()) == 1
    assert _intact(catalogue, folders, "R1")
    _finished(catalogue, folders, "R2")


def test_a_full_disk_leaves_no_partial_artifact(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = Artifacts(tmp_path / "lab")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _no_space)
        with catalogue.begin() as tx, pytest.raises(StoreError, match="No space left"):
            artifacts.put(tx, b"x" * 1000, media_type="text/plain")
    assert [path for path in (tmp_path / "lab").rglob("*.part")] == []
    with catalogue.begin() as tx:
        artifacts.put(tx, b"x" * 1000, media_type="text/plain")


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 2 MB, where this user may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    return path


def _fill(catalogue: Catalogue) -> None:
    for at in range(200):
        with catalogue.begin() as tx:
            runs.create(tx, id=f"X{at}", process="cvd", state="queued", origin="real", extra={"a": "b" * 4000})


def test_a_really_full_disk_is_said_in_one_line_and_nothing_is_lost(small_disk: Path) -> None:
    try:
        with Catalogue(small_disk / "catalogue.db", ANNA) as catalogue:
            folders = RunFolders(small_disk)
            _finished(catalogue, folders, "R1")
            with pytest.raises(StoreError, match="No space left"):
                folders.stage("R2", {}, telemetry={"time": np.random.default_rng(0).normal(size=300_000)})
            assert list((small_disk / "staging").iterdir()) == []
            (small_disk / "filler").write_bytes(
                b"x" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize)
            )
            with pytest.raises(StoreError, match="disk") as caught:
                _fill(catalogue)
            assert "\n" not in str(caught.value)
            (small_disk / "filler").unlink()
            with catalogue.read() as tx:
                kept = [row["id"] for row in tx.select(runs.tables.runs, columns=("id",))]
            assert kept == ["R1", *(f"X{at}" for at in range(len(kept) - 1))]
            assert _intact(catalogue, folders, "R1")
            _finished(catalogue, folders, "R3")
    finally:
        subprocess.run(["umount", "-l", str(small_disk)], check=True)


@pytest.fixture
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A lab in a folder that cannot be written: a read-only file system for root, missing permissions for others."""
    if os.geteuid() == 0:
        path = request.getfixturevalue("small_disk")
        Catalogue(path / "catalogue.db", ANNA).close()
        subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
        yield path
        subprocess.run(["umount", "-l", str(path)], check=True)
    else:
        path = tmp_path / "read-only"
        path.mkdir()
        Catalogue(path / "catalogue.db", ANNA).close()
        path.chmod(0o555)
        (path / "catalogue.db").chmod(0o444)
        yield path
        path.chmod(0o755)


def test_a_read_only_folder_is_refused_in_one_line_each(read_only: Path) -> None:
    for call in (
        lambda: Catalogue(read_only / "catalogue.db", ANNA),
        lambda: Catalogue(read_only / "new.db", ANNA),
        lambda: RunFolders(read_only).stage("R1", {}),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert str(read_only) in str(caught.value)
        assert "Fix:" in str(caught.value)
        assert "\n" not in str(caught.value)
