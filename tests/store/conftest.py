"""Catalogues to test with: a fresh SQLite file, and a private PostgreSQL server where its programs are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from labkit.core.identity import Principal, Role
from labkit.store.catalogue import Catalogue
from labkit.store.run_folder import RunFolders

ANNA = Principal("anna", "north", Role.ENGINEER)
BERND = Principal("bernd", "north", Role.ENGINEER)
MALLORY = Principal("mallory", "south", Role.ADMIN)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite catalogue to copy: making one takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "catalogue.db"
    Catalogue(path, ANNA).close()
    return path


@pytest.fixture
def catalogue(template: Path, tmp_path: Path) -> Iterator[Catalogue]:
    """An empty SQLite catalogue, seen by anna of north."""
    (tmp_path / "lab").mkdir()
    shutil.copy(template, tmp_path / "lab" / "catalogue.db")
    with Catalogue(tmp_path / "lab" / "catalogue.db", ANNA) as opened:
        yield opened


@pytest.fixture
def folders(tmp_path: Path) -> RunFolders:
    """The run folders of the same lab."""
    return RunFolders(tmp_path / "lab")


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@pytest.fixture(scope="session")
def server() -> Iterator[sa.URL]:
    """A PostgreSQL server of our own on a Unix socket; without its programs the test is skipped, but never in CI."""
    programs = _programs()
    if programs is None:
        reason = "PostgreSQL's initdb is not installed: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    user = "postgres" if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="lk-pg-"))
    if user:
        shutil.chown(home, user)

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(programs / program), *arguments],
            user=user,
            cwd=home,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stdout + done.stderr

    data = home / "data"
    call("initdb", "-D", str(data), "-U", "labkit", "-A", "trust", "-E", "UTF8", "--no-sync")
    call(
        "pg_ctl",
        "-D",
        str(data),
        "-l",
        str(home / "log"),
        "-w",
        "-o",
        f"-k {home} -c listen_addresses='' -c fsync=off -c timezone=Asia/Kolkata",
        "start",
    )
    try:
        yield sa.URL.create("postgresql+psycopg", username="labkit", database="postgres", query={"host": str(home)})
    finally:
        call("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def server_template(server: sa.URL) -> str:
    """The name of a database with a new catalogue, to copy."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE pattern"))
    engine.dispose()
    url = server.set(database="pattern", drivername="postgresql").render_as_string(hide_password=False)
    Catalogue(url, ANNA).close()
    return "pattern"


@pytest.fixture
def postgresql_url(server: sa.URL, server_template: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database with an empty catalogue, removed afterwards."""
    name = f"t{abs(hash(request.node.nodeid)):x}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {server_template}"))
    yield server.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalogue]:
    """An empty catalogue on SQLite and, again, on PostgreSQL."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    else:
        url = shutil.copy(request.getfixturevalue("template"), tmp_path / "catalogue.db")
    with Catalogue(url, ANNA, folder=tmp_path) as opened:
        yield opened
