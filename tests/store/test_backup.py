"""A backup is the lab as of one moment; restoring gives it back whole or not at all."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
import tomllib
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from labkit.core.errors import Corrupted, StoreError
from labkit.store import audit, recovery, runs
from labkit.store.artifacts import Artifacts
from labkit.store.backup import backup, restore
from labkit.store.catalogue import Catalogue
from labkit.store.run_folder import RunFolders

from .conftest import ANNA, MALLORY


@pytest.fixture
def lab(catalogue: Catalogue, folders: RunFolders) -> Path:
    assert folders.local is not None
    (folders.local / "labkit.toml").write_text("# settings\n")
    (folders.local / "locks").mkdir()
    (folders.local / "locks" / "x.lock").touch()
    with catalogue.begin() as tx:
        runs.create(tx, id="R1", process="cvd", state="completed", origin="real")
        Artifacts(folders.local).put(tx, b"report", media_type="text/plain", name="report", subject="R1")
        audit.append(tx, "run.finish", "R1")
    with folders.stage("R1", {}, telemetry={"time": np.arange(4.0)}) as staged:
        staged.publish()
        with catalogue.begin() as tx:
            runs.commit_folder(tx, "R1", staged.folder, staged.checksum)
    audit.anchor(catalogue)
    return folders.local


@pytest.mark.parametrize("keys", [False, True])
def test_a_restored_lab_is_the_lab(catalogue: Catalogue, lab: Path, tmp_path: Path, keys: bool) -> None:
    seen: list[tuple[int, int]] = []
    written = backup(
        catalogue, lab, tmp_path / "lab.tar.zst", include_keys=keys, progress=lambda done, of: seen.append((done, of))
    )
    assert seen[-1][0] == seen[-1][1]
    with catalogue.begin() as tx:
        runs.create(tx, id="LATER", process="cvd", state="queued", origin="real")
    assert restore(tmp_path / "lab.tar.zst", tmp_path / "again")["files"] == written["files"]
    again = tmp_path / "again"
    assert (again / "labkit.toml").read_text() == "# settings\n"
    assert not (again / "locks").exists()
    assert (again / "audit" / "key").exists() == keys
    assert written["keys_included"] == keys
    with Catalogue(again / "catalogue.db", ANNA) as restored:
        assert restored.lab_id == catalogue.lab_id
        assert recovery.check(restored, RunFolders(again)) == []
        assert audit.verify(restored) == audit.Verification(1, 1, 0 if keys else 1)
        with restored.read() as tx:
            assert [row["id"] for row in tx.select(runs.tables.runs)] == ["R1"]
            artifacts = Artifacts(again)
            assert artifacts.get(tx, artifacts.find(tx, "R1", "report")) == b"report"
    if keys:
        assert (again / "audit" / "key").stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(catalogue: Catalogue, lab: Path, tmp_path: Path) -> None:
    archive = tmp_path / "lab.tar.zst"
    backup(catalogue, lab, archive)
    with pytest.raises(StoreError, match="exists"):
        backup(catalogue, lab, archive)
    with pytest.raises(StoreError, match="is not empty"):
        restore(archive, lab)
    (tmp_path / "empty").mkdir()
    restore(archive, tmp_path / "empty")


def test_a_tools_ledger_is_taken_whole_while_it_is_written_and_its_token_stays(
    catalogue: Catalogue, lab: Path, tmp_path: Path
) -> None:
    tool = lab / "tools" / "TUBE"
    tool.mkdir(parents=True)
    (tool / "endpoint.json").write_text('{"token": "secret"}')
    (tool / "tool.json").write_text("{}")
    with closing(sqlite3.connect(tool / "ledger.db", isolation_level=None)) as ledger:
        ledger.execute("PRAGMA journal_mode=WAL")
        ledger.execute("CREATE TABLE blocks (n INTEGER)")
        ledger.executemany("INSERT INTO blocks VALUES (?)", [(n,) for n in range(100)])
        ledger.execute("BEGIN IMMEDIATE")
        ledger.execute("INSERT INTO blocks VALUES (100)")
        backup(catalogue, lab, tmp_path / "lab.tar.zst")
        ledger.execute("COMMIT")
    restore(tmp_path / "lab.tar.zst", tmp_path / "again")
    again = tmp_path / "again" / "tools" / "TUBE"
    assert sorted(path.name for path in again.iterdir()) == ["ledger.db", "tool.json"]
    with closing(sqlite3.connect(again / "ledger.db")) as ledger:
        assert ledger.execute("SELECT count(*) FROM blocks").fetchone() == (100,)
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _forge(path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]], manifest: dict[str, object] | None) -> None:
    with pa.output_stream(str(path), compression="zstd") as sink, tarfile.open(fileobj=sink, mode="w|") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            entry = tarfile.TarInfo(member[0])
            entry.size = len(member[1])
            tar.addfile(entry, io.BytesIO(member[1]))
        if manifest is not None:
            content = json.dumps(manifest).encode()
            entry = tarfile.TarInfo("manifest.json")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize(
    "member",
    [
        ("../escaped", b"x"),
        ("/tmp/escaped", b"x"),
        ("a/../../escaped", b"x"),
        ("..\\escaped", b"x"),
        _link("link", tarfile.SYMTYPE, "/etc/passwd"),
        _link("hard", tarfile.LNKTYPE, "../x"),
        _link("dev", tarfile.CHRTYPE, ""),
    ],
)
def test_an_archive_cannot_write_outside_its_folder(
    tmp_path: Path, member: tarfile.TarInfo | tuple[str, bytes]
) -> None:
    _forge(tmp_path / "evil.tar.zst", [member], {"files": {}})
    with pytest.raises(Corrupted, match="does not belong"):
        restore(tmp_path / "evil.tar.zst", tmp_path / "inner" / "lab")
    assert not list(tmp_path.rglob("*escaped*"))
    assert list((tmp_path / "inner").iterdir()) == []


@pytest.mark.parametrize(
    ("members", "manifest", "what"),
    [
        ([("a", b"x")], None, "no manifest"),
        ([("a", b"x")], {"files": {"a": {"sha256": "0" * 64}}}, "a does not match"),
        ([], {"files": {"a": {"sha256": "0" * 64}}}, "a does not match"),
        ([("a", b"x")], {"files": {}}, "a does not match"),
        ([("a", b"x"), ("a", b"x")], {"files": {}}, "does not belong"),
    ],
)
def test_an_incomplete_or_changed_archive_restores_nothing(
    tmp_path: Path, members: list[tuple[str, bytes]], manifest: dict[str, object] | None, what: str
) -> None:
    _forge(tmp_path / "bad.tar.zst", list(members), manifest)
    with pytest.raises(Corrupted, match=what):
        restore(tmp_path / "bad.tar.zst", tmp_path / "lab")
    assert not (tmp_path / "lab").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar.zst"]


def test_a_cut_or_damaged_archive_is_refused_in_one_line(catalogue: Catalogue, lab: Path, tmp_path: Path) -> None:
    archive = tmp_path / "lab.tar.zst"
    backup(catalogue, lab, archive)
    content = archive.read_bytes()
    middle = len(content) // 2
    for damaged in (
        content[:middle],
        b"",
        b"no archive at all",
        content[:middle] + b"\xff" * 64 + content[middle + 64 :],
    ):
        archive.write_bytes(damaged)
        with pytest.raises(StoreError) as caught:
            restore(archive, tmp_path / "again")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "again").exists()
    with pytest.raises(StoreError, match="no archive"):
        restore(tmp_path / "nowhere.tar.zst", tmp_path / "again")


def test_a_lab_on_postgresql_is_restored_as_an_embedded_one(postgresql_url: str, tmp_path: Path) -> None:
    folders = RunFolders(tmp_path / "lab")
    assert folders.local is not None
    folders.local.mkdir()
    (folders.local / "labkit.toml").write_text(f'workers = 2\ndatabase_url = "{postgresql_url}"\n')
    (folders.local / "catalogue.db.migrated-20250101T000000Z").write_text("what the lab was")
    with Catalogue(postgresql_url, ANNA, folder=folders.local) as catalogue:
        south = catalogue.as_principal(MALLORY)
        for seen in (catalogue, south):
            with seen.begin() as tx:
                runs.create(tx, id="R1", process="cvd", state="completed", origin="real", recipe={"b": 1, "a": [None]})
                audit.append(tx, "run.finish", "R1")
        with folders.stage("R1", {}, telemetry={"time": np.arange(4.0)}) as staged:
            staged.publish()
            with catalogue.begin() as tx:
                runs.commit_folder(tx, "R1", staged.folder, staged.checksum)
        lab = catalogue.lab_id
        with catalogue.begin() as tx:
            before = tx.select(runs.tables.runs)
            runs.create(tx, id="UNCOMMITTED", process="cvd", state="queued", origin="real")
            backup(catalogue, folders.local, tmp_path / "lab.tar.zst")
    restore(tmp_path / "lab.tar.zst", tmp_path / "again")
    again = tmp_path / "again"
    assert sorted(path.name for path in again.iterdir()) == ["catalogue.db", "labkit.toml", "runs"]
    assert tomllib.loads((again / "labkit.toml").read_text()) == {"workers": 2}
    with Catalogue(again / "catalogue.db", ANNA) as restored:
        assert restored.lab_id == lab
        assert recovery.check(restored, RunFolders(again)) == []
        assert audit.verify(restored).records == audit.verify(restored.as_principal(MALLORY)).records == 1
        with restored.begin() as tx:
            assert tx.select(runs.tables.runs) == before
            later = runs.create(tx, process="cvd", state="queued", origin="real")["seq"]
            assert later > max(row["seq"] for row in before) + 1, "a number given out on the server is not given again"
