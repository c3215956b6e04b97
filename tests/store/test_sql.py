"""SQL answers questions about one organisation's data and can do nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from labkit.core.errors import NotFound, StoreError
from labkit.store import runs, sql
from labkit.store.catalogue import Catalogue
from labkit.store.run_folder import RunFolders

from .conftest import ANNA, MALLORY


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalogue, RunFolders]]:
    folder = tmp_path_factory.mktemp("sql")
    with Catalogue(folder / "catalogue.db", ANNA) as catalogue:
        folders = RunFolders(folder)
        for owner in (catalogue, catalogue.as_principal(MALLORY)):
            for at in range(4):
                with owner.begin() as tx:
                    run = runs.create(
                        tx,
                        process="cvd",
                        state="completed",
                        origin="real",
                        tool=f"T{at % 2}",
                        qualified=at == 0,
                        prediction={"thickness": {"low": at}},
                        cost=10.0 * at,
                    )["id"]
                    runs.record_results(tx, run, [{"name": "t", "value": 100.0 + at}])
                channels = {"time": np.arange(5.0), "p": np.full(5, float(at))} | (
                    {"lamp": np.arange(5)} if at == 3 else {}
                )
                with folders.stage(run, {}, telemetry=channels) as staged:
                    staged.publish()
                    with owner.begin() as tx:
                        runs.commit_folder(tx, run, staged.folder, staged.checksum)
        yield catalogue, folders


def test_a_select_over_several_tables_gives_a_data_frame(lab: tuple[Catalogue, RunFolders]) -> None:
    found = sql.query(
        lab[0],
        """
        WITH per_tool AS (SELECT tool, avg(value) AS mean, count(*) AS n FROM runs JOIN results USING (run)
                          GROUP BY tool)
        SELECT * FROM per_tool ORDER BY tool""",
    )
    assert found.to_dict("list") == {"tool": ["T0", "T1"], "mean": [101.0, 102.0], "n": [2, 2]}


def test_columns_have_their_types(lab: tuple[Catalogue, RunFolders]) -> None:
    found = sql.query(
        lab[0],
        "SELECT created, cost, qualified, json_extract(prediction, '$.thickness.low')::INT low FROM runs ORDER BY seq",
    )
    assert str(found["created"].dtype).startswith("datetime64[us")
    assert found["cost"].tolist() == [0.0, 10.0, 20.0, 30.0]
    assert found["qualified"].tolist() == [True, False, False, False]
    assert found["low"].tolist() == [0, 1, 2, 3]


def test_telemetry_of_runs_with_other_channels_fits_one_table(lab: tuple[Catalogue, RunFolders]) -> None:
    found = sql.query(
        lab[0],
        "SELECT r.seq, max(p) p, count(lamp) e FROM telemetry t JOIN runs r ON r.id = t.run GROUP BY 1 ORDER BY 1",
        folders=lab[1],
    )
    assert found["p"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found["e"].tolist() == [0, 0, 0, 5]


def test_everything_is_one_organisations(lab: tuple[Catalogue, RunFolders]) -> None:
    for table in ("runs", "results"):
        assert sql.query(lab[0], f"SELECT count(*) n FROM {table}")["n"].tolist() == [4]
    assert sql.query(lab[0], "SELECT count(DISTINCT run) n FROM telemetry", folders=lab[1])["n"].tolist() == [4]
    assert "org_id" not in sql.query(lab[0], "SELECT * FROM runs")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO runs VALUES (1)",
        "UPDATE runs SET tool = 'x'",
        "DELETE FROM runs",
        "DROP TABLE runs",
        "SELECT 1; SELECT 2",
        "COPY runs TO '/tmp/x.csv'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "PRAGMA version",
        "EXPORT DATABASE '/tmp/x'",
        "CREATE TABLE x AS SELECT 1",
        "CALL duckdb_tables()",
        "",
        ";",
        "EXPLAIN ANALYZE SELECT 1",
        "selec",
    ],
)
def test_anything_but_one_select_is_refused(lab: tuple[Catalogue, RunFolders], statement: str) -> None:
    with pytest.raises(StoreError, match="SELECT"):
        sql.query(lab[0], statement)


@pytest.mark.parametrize(
    "source",
    [
        "read_csv('{f}')",
        "read_text('{f}')",
        "read_blob('{f}')",
        "read_parquet('{f}')",
        "read_json('{f}')",
        "'{f}'",
        "glob('{f}*')",
        "sniff_csv('{f}')",
        "parquet_schema('{f}')",
    ],
)
def test_no_file_can_be_reached(lab: tuple[Catalogue, RunFolders], source: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,swordfish\n")
    with pytest.raises(StoreError) as caught:
        sql.query(lab[0], f"SELECT * FROM {source.format(f=secret)}")
    assert "swordfish" not in str(caught.value)


def test_python_variables_are_no_tables(lab: tuple[Catalogue, RunFolders]) -> None:
    import pandas as pd

    mine = pd.DataFrame({"a": [1]})
    assert len(mine) == 1
    with pytest.raises(NotFound, match="mine does not exist"):
        sql.query(lab[0], "SELECT * FROM mine")


def test_a_wrong_name_lists_what_there_is(lab: tuple[Catalogue, RunFolders]) -> None:
    with pytest.raises(NotFound, match="results"):
        sql.query(lab[0], "SELECT * FROM measurements")
    for hidden in ("users", "settings", "organisations", "alembic_version"):
        with pytest.raises(StoreError):
            sql.query(lab[0], f"SELECT * FROM {hidden}")
    with pytest.raises(StoreError, match="thicknes"):
        sql.query(lab[0], "SELECT thicknes FROM runs")


def test_columns_that_a_statement_does_not_spell_are_there_too(lab: tuple[Catalogue, RunFolders]) -> None:
    assert "operator" in sql.query(lab[0], "FROM runs LIMIT 1")
    assert "operator" in sql.query(lab[0], "SELECT * EXCLUDE (tool) FROM runs")
    assert len(sql.query(lab[0], "SELECT count(*) n FROM runs NATURAL JOIN (SELECT 'T0' AS tool)")) == 1
    assert sql.query(lab[0], 'SELECT "TOOL" FROM runs ORDER BY 1').iloc[0, 0] == "T0"


def test_every_table_can_be_asked_for(lab: tuple[Catalogue, RunFolders]) -> None:
    for name, columns in sql.columns().items():
        found = sql.query(lab[0], f"SELECT * FROM {name} LIMIT 1", folders=lab[1])
        assert set(columns) <= set(found.columns), name


def test_postgresql_answers_alike(postgresql_url: str) -> None:
    with Catalogue(postgresql_url, ANNA) as catalogue:
        with catalogue.begin() as tx:
            run = runs.create(tx, process="cvd", state="completed", origin="real", prediction={"a": 1})["id"]
            runs.record_results(tx, run, [{"name": "t", "value": 1.5}])
        assert sql.query(catalogue, "SELECT value, prediction, run FROM runs JOIN results USING (run)").iloc[
            0
        ].tolist() == [1.5, '{"a": 1}', run]
