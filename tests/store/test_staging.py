"""An error after a run's folder was published: a committed folder is never removed, whatever comes when."""

from __future__ import annotations

import signal
from collections.abc import Callable

import numpy as np
import pytest

from labkit.core.errors import StoreError
from labkit.store import recovery, runs
from labkit.store.catalogue import Catalogue
from labkit.store.run_folder import RunFolders
from labkit.store.staging import Known, Staged


def _finish(
    catalogue: Catalogue, folders: RunFolders, known: Known | None, and_then: Callable[[Staged], object]
) -> None:
    """Publish the folder of a new run R1, and do what comes then."""
    with catalogue.begin() as tx:
        runs.create(tx, id="R1", process="cvd", state="running", origin="simulated")
    with folders.stage("R1", {"process": "cvd"}, telemetry={"time": np.arange(5.0)}) as staged:
        staged.publish(known)
        and_then(staged)


def _commit(catalogue: Catalogue, staged: Staged) -> None:
    with catalogue.begin() as tx:
        runs.move(tx, "R1", "completed", expected="running")
        runs.commit_folder(tx, "R1", staged.folder, staged.checksum)


def _staging(folders: RunFolders) -> list[str]:
    assert folders.local is not None
    return sorted(path.name for path in (folders.local / "staging").iterdir())


@pytest.mark.parametrize("asked", [True, False])
def test_an_interrupt_right_after_the_commit_removes_nothing(
    catalogue: Catalogue, folders: RunFolders, asked: bool
) -> None:
    def interrupted(staged: Staged) -> None:
        _commit(catalogue, staged)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _finish(catalogue, folders, catalogue.holds if asked else None, interrupted)
    assert _staging(folders) == ([] if asked else ["R1.intent"])
    assert recovery.recover(catalogue, folders) == []
    assert _staging(folders) == []
    with catalogue.read() as tx:
        row = runs.get(tx, "R1")
    assert folders.open(row["folder"], row["folder_checksum"])["telemetry"].sizes["time"] == 5
    assert recovery.check(catalogue, folders) == []


def test_a_commit_that_did_not_happen_leaves_nothing_and_can_be_tried_again(
    catalogue: Catalogue, folders: RunFolders
) -> None:
    def rolled_back(staged: Staged) -> None:
        with catalogue.begin() as tx:
            runs.commit_folder(tx, "R1", staged.folder, staged.checksum)
            runs.update(tx, "R1", colour="red")

    with pytest.raises(StoreError, match="colour"):
        _finish(catalogue, folders, catalogue.holds, rolled_back)
    assert (_staging(folders), folders.published()) == ([], [])
    with folders.stage("R1", {"process": "cvd"}) as staged:
        staged.publish(catalogue.holds)
        _commit(catalogue, staged)
    assert recovery.check(catalogue, folders) == []


def test_without_the_catalogues_word_recovery_decides(catalogue: Catalogue, folders: RunFolders) -> None:
    def silent(run: str, folder: str) -> bool:
        raise StoreError("the database is away")

    def lost(staged: Staged) -> None:
        raise StoreError("the database went away")

    with pytest.raises(StoreError, match="went away"):
        _finish(catalogue, folders, silent, lost)
    assert _staging(folders) == ["R1.intent"]
    assert len(folders.published()) == 1
    (finding,) = recovery.recover(catalogue, folders)
    assert "never committed" in str(finding)
    assert (_staging(folders), folders.published()) == ([], [])


def test_a_second_interrupt_while_the_catalogue_is_asked_removes_nothing(
    catalogue: Catalogue, folders: RunFolders
) -> None:
    def interrupted(run: str, folder: str) -> bool:
        signal.raise_signal(signal.SIGINT)
        return catalogue.holds(run, folder)

    def committed(staged: Staged) -> None:
        _commit(catalogue, staged)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _finish(catalogue, folders, interrupted, committed)
    assert len(folders.published()) == 1
    assert recovery.recover(catalogue, folders) == []
    assert recovery.check(catalogue, folders) == []
