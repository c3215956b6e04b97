"""Lock files of dead processes go when a lab is opened; those of living ones, and all others, stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from labkit.store import recovery
from labkit.store.catalogue import Catalogue
from labkit.store.identifiers import new_id
from labkit.store.run_folder import RunFolders

HOLDER = """
import sys
from filelock import FileLock
FileLock(sys.argv[1]).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locks(folders: RunFolders) -> Path:
    """The folder of lock files."""
    assert folders.local is not None
    found = folders.local / "locks"
    found.mkdir(parents=True)
    return found


def _lock_of_a_dead_process(path: Path, age_s: float = 3600.0) -> Path:
    """A file that a process locked, which was then killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        holder.kill()
    assert path.exists()
    return _aged(path, age_s)


def _aged(path: Path, age_s: float = 3600.0) -> Path:
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_what_dead_processes_held_goes_and_what_a_living_one_holds_stays(
    catalogue: Catalogue, folders: RunFolders, locks: Path
) -> None:
    dead = [_lock_of_a_dead_process(locks / f"{new_id()}.lock") for _ in range(2)]
    with FileLock(locks / f"{new_id()}.lock") as living:
        _aged(Path(living.lock_file))
        assert recovery.recover(catalogue, folders) == []
        assert list(locks.iterdir()) == [Path(living.lock_file)]
    assert not any(path.exists() for path in dead)


def test_a_file_that_was_made_a_moment_ago_may_be_about_to_be_locked(
    catalogue: Catalogue, folders: RunFolders, locks: Path
) -> None:
    young = _lock_of_a_dead_process(locks / f"{new_id()}.lock", age_s=1.0)
    recovery.recover(catalogue, folders)
    assert young.exists()


@pytest.mark.parametrize("name", ["worker.lock", "notes.txt", "01ARZ3NDEKTSV4RRFFQ69G5FA.lock", "x.lock"])
def test_locks_that_are_not_of_one_process_stay(
    catalogue: Catalogue, folders: RunFolders, locks: Path, name: str
) -> None:
    (locks / name).touch()
    _aged(locks / name)
    recovery.recover(catalogue, folders)
    assert (locks / name).exists()


def test_a_lab_without_locks_is_recovered_all_the_same(catalogue: Catalogue, folders: RunFolders) -> None:
    assert recovery.recover(catalogue, folders) == []
