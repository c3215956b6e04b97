"""The same lab on PostgreSQL, by its URL alone."""

import pytest

import labkit
from labkit.core import registry


@pytest.fixture
def lab(postgresql_url, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATABASE_URL", postgresql_url)
    with labkit.open(tmp_path / "lab") as opened:
        yield opened


def test_a_lab_runs_judges_and_remembers_on_postgresql(lab, tmp_path):
    recipe = registry.process("cvd").example_recipes()[0]
    lab.save_recipe(recipe)
    lab.add_tool("TUBE-1", "cvd", seed=1)
    runs = [lab.execute(recipe, tool="TUBE-1", lot=f"LOT-{n}", progress=False) for n in range(5)]
    assert [run.state for run in runs] == ["COMPLETED"] * 5
    lab.qualify("TUBE-1", runs)
    after = lab.execute(recipe, tool="TUBE-1", lot="LOT-5", progress=False)
    assert after.judgement.z
    assert after.prediction.rows == 5
    assert [row["seq"] for row in lab.runs(lot="LOT-3")] == [runs[3].seq]
    found = lab.runs(results={"thickness_mean_nm": (90.0, 110.0)}, sort="oldest")
    assert len(found) == 6
    assert lab.sql("select count(*) as n from runs")["n"][0] == 6
    assert lab.verify().rows == []
    assert not (tmp_path / "lab" / "catalogue.db").exists()


def test_two_people_approve_on_postgresql(lab):
    recipe = registry.process("lithography").example_recipes()[0]
    lab.save_recipe(recipe)
    assert lab.approve(recipe.name, by="grace").status == "approved"
    assert lab.recipe(recipe.name).content_hash == recipe.content_hash
