"""Transactions see one organisation, lose no update and keep times and documents as they were."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

import labkit.store
from labkit.core.errors import NotFound, PermissionDenied, StoreError
from labkit.core.identity import Principal
from labkit.store import engine, runs, scope, tables
from labkit.store.catalogue import Catalogue
from labkit.store.clock import now
from labkit.store.documents import plain
from labkit.store.journal import Journals

from .conftest import ANNA, MALLORY

INCREMENT = """
import sys
from labkit.core.identity import Principal
from labkit.store import tables
from labkit.store.catalogue import Catalogue
from labkit.store.clock import now
with Catalogue(sys.argv[1], Principal("anna", "north")) as catalogue:
    for _ in range(int(sys.argv[2])):
        with catalogue.begin(durable=False) as tx:
            value = tx.get(tables.settings, key="counter")["value"]
            tx.update(tables.settings, {"key": "counter"}, {"value": value + 1, "changed": now()})
"""


def _count_in_two_processes(catalogue: Catalogue, url: str, times: int) -> int:
    with catalogue.begin() as tx:
        tx.insert(tables.settings, {"key": "counter", "value": 0, "changed": now()})
    workers = [subprocess.Popen([sys.executable, "-c", INCREMENT, url, str(times)]) for _ in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    with catalogue.read() as tx:
        return int(tx.get(tables.settings, key="counter")["value"])


def test_two_processes_lose_no_update_in_ten_thousand_increments(catalogue: Catalogue) -> None:
    assert _count_in_two_processes(catalogue, str(catalogue.url.database), 5_000) == 10_000


def test_two_processes_lose_no_update_on_postgresql(postgresql_url: str) -> None:
    with Catalogue(postgresql_url, ANNA) as catalogue:
        assert _count_in_two_processes(catalogue, postgresql_url, 300) == 600


def test_a_reader_sees_one_moment_while_another_connection_writes(either: Catalogue) -> None:
    with either.begin() as tx:
        runs.create(tx, process="cvd", state="queued", origin="simulated")
    with either.read() as before:
        assert len(before.select(tables.runs)) == 1
        with either.begin() as tx:
            runs.create(tx, process="cvd", state="queued", origin="simulated")
        assert len(before.select(tables.runs)) == 1
    with either.read() as after:
        assert len(after.select(tables.runs)) == 2


def test_many_readers_work_while_one_thread_writes(catalogue: Catalogue) -> None:
    stop, counts, failures = threading.Event(), [], []

    def watch() -> None:
        try:
            while not stop.is_set():
                with catalogue.read() as tx:
                    counts.append(len(tx.select(tables.runs, columns=("seq",))))
        except Exception as error:
            failures.append(error)

    readers = [threading.Thread(target=watch) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        with catalogue.begin() as tx:
            runs.create(tx, process="cvd", state="queued", origin="simulated")
            runs.create(tx, process="cvd", state="queued", origin="simulated")
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert counts
    assert all(count % 2 == 0 for count in counts), "a reader saw half a transaction"


def test_an_error_in_a_transaction_leaves_nothing_behind(either: Catalogue) -> None:
    called = []

    def fail() -> None:
        with either.begin() as tx:
            tx.after_commit(lambda: called.append(1))
            runs.create(tx, process="cvd", state="queued", origin="simulated")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with either.read() as tx:
        assert tx.select(tables.runs) == []
        assert tx.select(tables.transitions) == []
    assert called == []


def test_after_commit_runs_after_the_commit(catalogue: Catalogue) -> None:
    seen = []

    def look() -> None:
        with catalogue.read() as reader:
            seen.append(len(reader.select(tables.runs)))

    with catalogue.begin() as tx:
        tx.after_commit(look)
        runs.create(tx, process="cvd", state="queued", origin="simulated")
        assert seen == []
    assert seen == [1]


def test_a_reading_transaction_cannot_write(either: Catalogue) -> None:
    with either.read() as tx, pytest.raises(StoreError, match="only reads"):
        tx.insert(tables.settings, {"key": "a", "value": 1, "changed": now()})
    with either.read() as tx, pytest.raises(StoreError, match="only reads"):
        tx.delete(tables.settings)


def test_times_come_back_aware_in_utc_whatever_zone_they_were_given_in(either: Catalogue) -> None:
    there = datetime(2025, 3, 30, 4, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with either.begin() as tx:
        run = runs.create(tx, process="cvd", state="queued", origin="simulated", started=there)["id"]
        with pytest.raises(StoreError, match="no time zone"):
            runs.update(tx, run, ended=datetime(2025, 1, 1))
    with either.read() as tx:
        found = runs.get(tx, run)["started"]
    assert found == datetime(2025, 3, 29, 23, 0, 0, 123456, tzinfo=UTC)
    assert found.utcoffset() == timedelta(0)


def test_documents_come_back_as_they_went_in(either: Catalogue) -> None:
    document = {"a": [1, 2.5, None, True, "é\"'\n"], "b": {"c": -1e-300, "large": 2**60}}
    with either.begin() as tx:
        run = runs.create(tx, process="cvd", state="queued", origin="simulated", prediction=document)["id"]
    with either.read() as tx:
        row = runs.get(tx, run)
    assert row["prediction"] == document
    assert row["judgement"] is None


def test_numbers_that_json_does_not_have_become_null() -> None:
    assert plain({"a": float("nan"), "b": [float("inf"), 1.0]}) == {"a": None, "b": [None, 1.0]}


@pytest.mark.parametrize("table", sorted(tables.metadata.tables))
def test_every_table_belongs_to_an_organisation(table: str) -> None:
    column = tables.metadata.tables[table].c["org_id"]
    assert not column.nullable


def test_another_organisation_sees_and_changes_nothing(either: Catalogue) -> None:
    with either.begin() as tx:
        run = runs.create(tx, process="cvd", state="queued", origin="simulated", tool="T1")["id"]
        runs.record_results(tx, run, [{"name": "t", "value": 1.0}])
    foreign = either.as_principal(MALLORY)
    with foreign.begin() as tx:
        for name, table in tables.metadata.tables.items():
            if name not in ("users", "organisations", "settings"):
                assert tx.select(table) == [], name
                assert tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0
        for call in (
            lambda: runs.get(tx, run),
            lambda: runs.update(tx, run, tool="T2"),
            lambda: tx.update(tables.runs, {"id": run}, {"tool": "T2"}),
            lambda: tx.update(tables.runs, {"id": run, "org_id": "north"}, {"tool": "T2"}),
            lambda: runs.move(tx, run, "running", expected="queued"),
            lambda: runs.record_results(tx, run, []),
            lambda: runs.start_attempt(tx, run),
            lambda: runs.history(tx, run),
        ):
            with pytest.raises(NotFound):
                call()
        assert tx.delete(tables.results) == 0
        assert tx.execute(sa.update(tables.runs).values(tool="T2")).rowcount == 0
    with either.read() as tx:
        assert runs.get(tx, run)["tool"] == "T1"
        assert runs.results(tx, run)["t"]["value"] == 1.0


def test_a_row_cannot_be_linked_to_a_run_of_another_organisation(either: Catalogue) -> None:
    with either.begin() as tx:
        run = runs.create(tx, process="cvd", state="queued", origin="simulated")
    with pytest.raises(StoreError, match="refused a row"), either.as_principal(MALLORY).begin() as tx:
        tx.insert(tables.results, {"run_seq": run["seq"], "name": "t", "value": 1.0})


def test_statements_that_could_escape_the_organisation_are_refused(catalogue: Catalogue) -> None:
    run, other = tables.runs, tables.runs.alias()
    escapes = [
        sa.text("SELECT * FROM runs"),
        sa.insert(run).values(org_id="south"),
        sa.select(run).where(sa.text("1 = 1")),
        sa.select(run.c.id).union(sa.select(run.c.id)),
        sa.select(sa.select(run.c.id).subquery()),
        sa.select(tables.tools).where(tables.tools.c.id.in_(sa.select(run.c.tool))),
        sa.select(sa.select(sa.func.count()).select_from(run).scalar_subquery()),
        sa.select(sa.select(run.c.id).cte("all_runs")),
        sa.update(run).values(org_id="south"),
        sa.update(run).values({run.c.org_id: "south"}),
        sa.select(sa.literal_column("(SELECT count(*) FROM runs)")),
        sa.select(sa.table("runs", sa.column("id"))),
        sa.select(sa.select(run).subquery().c.id),
        sa.update(tables.tools).values(name=sa.select(run.c.id).scalar_subquery()),
        sa.select(tables.tools).order_by(sa.select(run.c.id).scalar_subquery()),
        sa.select(run).prefix_with(sa.text("DISTINCT")),
        sa.select(sa.lateral(sa.select(run.c.id)).c.id),
        sa.delete(run).where(sa.exists(sa.select(other.c.id))),
        sa.select(sa.func.max(sa.select(run.c.id).scalar_subquery())),
        sa.select(tables.tools).where(sa.exists().where(run.c.tool == tables.tools.c.id)),
        sa.select(run).where(run.c.id.op("= 'x' OR 1 = 1 OR id =")("y")),
    ]
    with catalogue.begin() as tx:
        for statement in escapes:
            try:
                tx.execute(statement)
            except PermissionDenied:
                continue
            pytest.fail(f"this ran: {statement}")
        with pytest.raises(PermissionDenied):
            tx.insert(tables.settings, {"org_id": "south", "key": "a", "changed": now()})
        with pytest.raises(PermissionDenied):
            tx.update(tables.settings, {"key": "a"}, {"org_id": "south"})
        joined = sa.select(run.c.id, other.c.id).join_from(run, other, run.c.seq == other.c.seq)
        assert str(scope.scoped(joined, "north")).count("org_id = ") == 2
        beside = sa.update(tables.tools).where(tables.tools.c.id == run.c.tool).values(name="x")
        assert str(scope.scoped(beside, "north")).count("org_id = ") == 2


def test_a_filter_inside_an_or_does_not_count_as_the_organisations(catalogue: Catalogue) -> None:
    run = tables.runs
    loose = sa.select(run.c.id).where(sa.or_(run.c.org_id == "north", run.c.id == "x")).subquery()
    with catalogue.read() as tx, pytest.raises(PermissionDenied):
        tx.execute(sa.select(loose))


def test_every_statement_that_reaches_the_database_names_the_organisation(tmp_path: Path) -> None:
    seen: list[str] = []
    with Catalogue(tmp_path / "c.db", ANNA) as catalogue:
        sa.event.listen(
            catalogue.engine, "before_cursor_execute", lambda c, cur, statement, *rest: seen.append(statement)
        )
        with catalogue.begin() as tx:
            run = runs.create(tx, process="cvd", state="queued", origin="simulated")["id"]
            runs.move(tx, run, "running", expected="queued")
            runs.record_results(tx, run, [{"name": "t", "value": 1.0}])
            runs.results(tx, run)
            runs.attempts(tx, run)
    statements = [line for line in seen if line.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")]
    assert len(statements) >= 6
    assert all("org_id" in line for line in statements)


def test_only_the_catalogue_itself_runs_statements() -> None:
    """Other modules have no connection: they go through ``tx``, which filters.

    Journals are no part of the catalogue: each file holds one run of one organisation, and each statement on the table
    names both, as the test after this one sees.
    """
    allowed = {"catalogue.py", "transaction.py", "schema.py", "engine.py", "transfer.py", "table_copy.py"}
    allowed |= {"journal.py", "journal_files.py", "journal_file_reader.py", "journal_tables.py", "journal_copy.py"}
    for path in Path(labkit.store.__file__).parent.glob("*.py"):
        if path.name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("_connection", "exec_driver_sql", "raw_connection", "engine"), (
                    f"{path.name}:{node.lineno}"
                )
            if isinstance(node, ast.Attribute) and node.attr == "execute":
                allowed_here = ("tx", "connection") if path.name == "sql.py" else ("tx",)
                assert getattr(node.value, "id", None) in allowed_here, f"{path.name}:{node.lineno}"


def test_every_statement_on_the_journals_table_names_the_organisation(postgresql_url: str, tmp_path: Path) -> None:
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    with Catalogue(postgresql_url, ANNA, folder=tmp_path) as catalogue:
        ours, theirs = Journals(catalogue), Journals(catalogue.as_principal(MALLORY))
        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            with ours.writer("R1") as writer:
                writer.append("state", {})
                writer.flush(durable=True)
            assert (len(ours.read("R1")), theirs.read("R1")) == (1, [])
            assert (theirs.last("R1"), theirs.exists("R1"), theirs.listing()) == (None, False, [])
            assert (theirs.remove("R1"), ours.listing(), ours.last("R1", "state").sequence) == (False, ["R1"], 1)
            assert ours.remove("R1")
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
    on_the_table = [line for line in seen if "journal" in line]
    assert {line.split()[0] for line in on_the_table} == {"SELECT", "INSERT", "DELETE"}
    assert all("org_id" in line for line in on_the_table)


def test_the_labs_own_organisation_is_closed_to_everyone(catalogue: Catalogue) -> None:
    with pytest.raises(PermissionDenied):
        catalogue.as_principal(Principal("x", "*"))
    with pytest.raises(PermissionDenied):
        Catalogue(str(catalogue.url.database), Principal("x", "*"))


def test_an_unknown_column_is_refused_with_those_there_are(catalogue: Catalogue) -> None:
    with catalogue.begin() as tx, pytest.raises(StoreError, match="no column colour") as caught:
        runs.create(tx, process="cvd", state="queued", origin="simulated", colour="red")
    assert "recipe_name" in str(caught.value)


def test_taken_names_are_refused_in_one_line(either: Catalogue) -> None:
    with either.begin() as tx:
        runs.create(tx, id="R1", process="cvd", state="queued", origin="simulated")
    with pytest.raises(StoreError, match="refused a row"), either.begin() as tx:
        runs.create(tx, id="R1", process="cvd", state="queued", origin="simulated")


def test_a_catalogue_url_of_another_kind_is_refused() -> None:
    with pytest.raises(StoreError, match="mysql"):
        Catalogue("mysql://host/name", ANNA)
    with pytest.raises(StoreError, match="cannot be read"):
        Catalogue("://", ANNA)


def test_no_password_is_ever_shown(postgresql_url: str) -> None:
    with Catalogue(sa.make_url(postgresql_url).set(password="hunter2").render_as_string(False), ANNA) as catalogue:
        assert "hunter2" not in repr(catalogue)
    unreachable = "postgresql://labkit:hunter2@127.0.0.1:1/none"
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        Catalogue(unreachable, ANNA)
    assert "hunter2" not in str(caught.value)


def test_the_lab_keeps_its_identity(catalogue: Catalogue) -> None:
    with Catalogue(str(catalogue.url.database), MALLORY) as again:
        assert again.lab_id == catalogue.lab_id
        assert len(again.lab_id) == 26


def test_a_catalogue_that_stays_busy_is_said_to_be_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.05)
    with Catalogue(tmp_path / "c.db", ANNA) as one, Catalogue(tmp_path / "c.db", ANNA) as other:
        with one.begin() as tx:
            runs.create(tx, id="R1", process="cvd", state="queued", origin="real")
            with pytest.raises(StoreError, match="busy with another writer"), other.begin():
                pytest.fail("two writers at once")
            with other.read() as reader:
                assert reader.select(tables.runs) == []
        with other.begin() as tx:
            assert runs.get(tx, "R1")["id"] == "R1"
