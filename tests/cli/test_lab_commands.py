"""``labkit lab migrate``: what it says, what it leaves, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.store.conftest import server as server  # a PostgreSQL server of our own

from .conftest import Labkit


@pytest.fixture
def target(server: sa.URL) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE moved"))
    yield server.set(database="moved", drivername="postgresql").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text("DROP DATABASE moved WITH (FORCE)"))
    engine.dispose()


def test_a_lab_moves_and_is_the_same_lab(labkit: Labkit, lab: Path, target: str, tmp_path: Path, oxide: Path) -> None:
    folder = shutil.copytree(lab, tmp_path / "mine")
    before = labkit("--lab", folder, "runs", "--json").document
    planned = labkit("--lab", folder, "lab", "migrate", target, "--dry-run", "--json").document
    assert planned["moved"] is False
    assert planned["tables"]["runs"] == 2
    assert (folder / "catalogue.db").exists()
    said = labkit("--lab", folder, "lab", "migrate", target)
    assert said.status == 0, said.err
    assert "The lab has moved" in said.out
    assert str(sum(planned["tables"].values())) in said.out
    assert not (folder / "catalogue.db").exists()
    assert labkit("--lab", folder, "runs", "--json").document == before
    assert labkit("--lab", folder, "show", "1").status == 0
    assert labkit("--lab", folder, "run", oxide, "--json").status == 0
    assert len(labkit("--lab", folder, "runs", "--json").document["runs"]) == 3
    assert "already" in labkit("--lab", folder, "lab", "migrate", target).complaint
    assert labkit("--lab", folder, "backup", tmp_path / "lab.tar.zst").status == 0
    assert labkit("restore", tmp_path / "lab.tar.zst", tmp_path / "again").status == 0
    assert len(labkit("--lab", tmp_path / "again", "runs", "--json").document["runs"]) == 3
    assert (tmp_path / "again" / "catalogue.db").exists()


@pytest.mark.parametrize(
    ("url", "what"),
    [("elsewhere.db", "PostgreSQL"), ("postgresql://a:secret@127.0.0.1:1/b", "PGPASSWORD"), ("://", "cannot be read")],
)
def test_a_wrong_url_is_refused_and_nothing_moves(labkit: Labkit, lab: Path, url: str, what: str) -> None:
    complaint = labkit("--lab", lab, "lab", "migrate", url).complaint
    assert what in complaint
    assert "secret" not in complaint
    assert (lab / "catalogue.db").exists()


def test_where_there_is_no_lab_none_is_made(labkit: Labkit, tmp_path: Path) -> None:
    assert "no lab" in labkit("--lab", tmp_path / "none", "lab", "migrate", "postgresql://a@127.0.0.1:1/b").complaint
    assert not (tmp_path / "none").exists()
