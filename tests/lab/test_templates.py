"""Templates: recipes and terms under a name, handed in again and again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import labkit
from labkit.core.errors import LabkitError, NotFound, StoreError
from labkit.core.identity import Principal
from labkit.core.recipe import Recipe
from labkit.lab import Lab
from labkit.materials.wafers import load as load_of
from labkit.runs.worker import sole_worker
from labkit.store import jobs

ANNA, BORIS = Principal("anna"), Principal("boris")
BERLIN = "Europe/Berlin"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Anna's lab with one tube, in which nobody works."""
    with labkit.open(tmp_path / "lab", principal=ANNA) as opened, sole_worker(opened.workplace):
        opened.add_tool("TUBE", "cvd", seed=1)
        yield opened


def test_a_template_keeps_recipe_and_terms_and_hands_them_in_again_and_again(lab: Lab, oxide: Recipe) -> None:
    lab.save_template("nightly", oxide, tool="TUBE", product="GATE", priority=7, expires=timedelta(hours=2))
    first, second = lab.submit_template("nightly"), lab.submit_template("nightly", priority=9, lot="L5")
    assert first.id != second.id
    assert (first.run.recipe.content_hash, first.run.tool) == (oxide.content_hash, "TUBE")
    assert (first.run.record["product"], first.run.record["lot"]) == ("GATE", None)
    assert second.run.record["lot"] == "L5"
    with lab.workplace.catalogue.read() as tx:
        kept = [jobs.get(tx, job.id) for job in (first, second)]
    assert [(row["priority"], row["template"], row["schedule"]) for row in kept] == [
        (7, "nightly", None),
        (9, "nightly", None),
    ]
    assert timedelta(minutes=119) < kept[0]["expires"] - datetime.now(UTC) <= timedelta(hours=2)
    assert [row["name"] for row in lab.templates()] == ["nightly"]


def test_a_template_of_a_stored_recipe_runs_exactly_that_version(lab: Lab, oxide: Recipe) -> None:
    lab.save_recipe(oxide)
    lab.save_template("nightly", oxide.name, tool="TUBE")
    later = oxide.changed({"version": oxide.version + 1, "pressure_setpoints.process_pressure_torr": 0.31})
    lab.save_recipe(later)
    assert lab.submit_template("nightly").run.recipe.content_hash == oxide.content_hash
    lab.save_template("nightly", oxide.name, version=later.version, tool="TUBE")
    assert lab.submit_template("nightly").run.recipe.content_hash == later.content_hash


def test_wafers_of_a_template_go_in_with_every_job(lab: Lab, oxide: Recipe) -> None:
    lab.save_template("monitor", oxide, tool="TUBE", wafers=load_of(3))
    job = lab.submit_template("monitor", lot="M1")
    wafers = lab.sql("select wafer from run_wafers join runs on runs.seq = run_wafers.run_seq order by slot")["wafer"]
    assert list(wafers) == ["M1-W01", "M1-W02", "M1-W03"]
    assert job.run.record["lot"] == "M1"


def test_terms_that_do_not_exist_or_make_no_sense_are_refused_and_nothing_is_kept(lab: Lab, oxide: Recipe) -> None:
    with pytest.raises(LabkitError, match="colour") as refused:
        lab.save_template("nightly", oxide, colour="red")
    assert "priority" in str(refused.value)
    for terms in ({"priority": "high"}, {"retries": -1}, {"lot": ""}, {"expires": "soon"}, {"after": ["nothing"]}):
        with pytest.raises(LabkitError):
            lab.save_template("nightly", oxide, **terms)
    with pytest.raises(NotFound):
        lab.save_template("nightly", "no such recipe")
    assert len(lab.templates()) == 0
    with pytest.raises(NotFound, match="no template 'nightly'"):
        lab.submit_template("nightly")


def test_a_template_is_kept_while_a_schedule_uses_it(lab: Lab, oxide: Recipe) -> None:
    lab.save_template("nightly", oxide, tool="TUBE")
    lab.schedule("every night", cron="0 2 * * *", template="nightly")
    with pytest.raises(StoreError, match="used by schedule 'every night'"):
        lab.delete_template("nightly")
    lab.unschedule("every night")
    lab.delete_template("nightly")
    assert (len(lab.templates()), len(lab.schedules())) == (0, 0)
    with pytest.raises(NotFound):
        lab.unschedule("every night")
    with pytest.raises(NotFound, match="no template"):
        lab.schedule("every night", cron="0 2 * * *", template="nightly")
