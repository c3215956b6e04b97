"""What a run leaves behind: passport, trust labels, cost, tool states, provenance, pages of runs, backups, sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import labkit
from labkit.core import registry
from labkit.core.errors import LabkitError, StoreError
from labkit.core.recipe import Recipe
from labkit.lab import Lab, Run
from labkit.operations.cost import Rates
from labkit.runs import knowledge
from labkit.store import learning, runs, tables
from labkit.store.catalogue import Row, Transaction


def test_wafers_go_on_from_run_to_run_and_carry_their_films(filled: tuple[Lab, list[Run]]) -> None:
    _, (first, second, *_) = filled
    after_oxide, after_poly = (run.data["wafer"].to_dataset().load() for run in (first, second))
    assert list(after_oxide["film"].values) == ["SiO2"]
    assert list(after_poly["film"].values) == ["SiO2", "poly-Si"]
    np.testing.assert_array_equal(
        after_poly["film_thickness"].sel(film="SiO2"), after_oxide["film_thickness"].sel(film="SiO2")
    )
    assert float(after_poly["film_thickness"].sel(film="poly-Si").mean()) == pytest.approx(200.0, rel=0.1)
    assert second.record["lot"] == "L1"


def test_a_wafer_can_be_asked_where_it_has_been(filled: tuple[Lab, list[Run]]) -> None:
    lab, _ = filled
    assert [run["seq"] for run in lab.runs(wafer="L1-W01")] == [2, 1]
    assert [run["seq"] for run in lab.runs(wafer="L2-W25")] == [3]
    assert [run["seq"] for run in lab.runs(lot="L1")] == [2, 1]
    slots = lab.sql(
        "select wafer, slot from run_wafers join runs on runs.seq = run_wafers.run_seq where runs.seq = 2 order by slot"
    )
    assert list(slots["slot"]) == list(range(1, 26))
    assert lab.sql("select lot from wafers where id = 'L1-W01'")["lot"].tolist() == ["L1"]


def test_the_wafers_of_a_run_without_data_or_of_another_lot_do_not_go_on(
    filled: tuple[Lab, list[Run]], oxide: Recipe
) -> None:
    lab, (first, *_, blocked) = filled
    before = lab.counts()
    with pytest.raises(LabkitError, match="no data: it is BLOCKED"):
        lab.execute(oxide, tool="TUBE", wafers=blocked, progress=False)
    with pytest.raises(StoreError, match="belongs to lot 'L1', not 'L9'"):
        lab.execute(oxide, tool="TUBE", wafers=first, lot="L9", progress=False)
    with pytest.raises(LabkitError, match="wafers need the dim 'slot'"):
        lab.execute(oxide, tool="TUBE", wafers=xr.Dataset(), progress=False)
    assert lab.counts() == before


def test_pages_follow_each_other_and_hold_each_run_once(filled: tuple[Lab, list[Run]]) -> None:
    lab, _ = filled
    seen, after = [], None
    for _ in range(10):
        page = lab.runs(limit=1, after=after)
        seen += [run["seq"] for run in page]
        after = page.after
        if after is None:
            break
    assert seen == [4, 3, 2, 1]
    assert lab.runs(limit=1).more
    assert not lab.runs(limit=4).more


def test_runs_are_found_by_what_was_measured(filled: tuple[Lab, list[Run]]) -> None:
    lab, _ = filled
    assert [run["seq"] for run in lab.runs(results={"thickness_mean_nm": (90.0, 110.0)})] == [3, 1]
    assert [run["seq"] for run in lab.runs(results={"thickness_mean_nm": (150.0, None)})] == [2]
    assert [run["seq"] for run in lab.runs(results={"thickness_mean_nm": (90.0, 110.0)}, lot="L2")] == [3]
    assert [run["seq"] for run in lab.runs(state="BLOCKED")] == [4]
    assert [run["seq"] for run in lab.runs(state=["BLOCKED", "COMPLETED"], product="GATE")] == [1]
    assert len(lab.runs(created_after="2000-01-01T00:00:00+00:00")) == 4
    assert len(lab.runs(created_before="2000-01-01T00:00:00+00:00")) == 0


def test_sql_reads_and_cannot_write(filled: tuple[Lab, list[Run]]) -> None:
    lab, _ = filled
    assert lab.sql("select count(*) as n from runs")["n"].tolist() == [4]
    for statement in (
        "delete from runs",
        "update runs set state = 'COMPLETED'",
        "drop table runs",
        "select 1; select 2",
        "attach 'x.db'",
        "",
    ):
        with pytest.raises(LabkitError):
            lab.sql(statement)
    assert lab.counts()["runs"] == 4


def test_one_channel_of_many_runs_has_its_unit_and_is_aligned(filled: tuple[Lab, list[Run]]) -> None:
    lab, made = filled
    channel = lab.channel("chamber_pressure_torr", [made[0], 2, made[2].id])
    assert dict(channel.sizes)["run"] == 3
    assert channel.attrs["units"] == "torr"
    with pytest.raises(LabkitError, match="run 4 has no telemetry"):
        lab.channel("chamber_pressure_torr", made)
    with pytest.raises(LabkitError, match="colour"):
        lab.channel("colour", made[:1])


def test_provenance_says_where_a_number_comes_from(filled: tuple[Lab, list[Run]]) -> None:
    _, (run, *_) = filled
    found = run.provenance
    assert (found["origin"], found["qualified"], found["operator"]) == (
        "simulated",
        False,
        "anna (unauthenticated)",
    )
    assert found["recipe_hash"] == run.recipe.content_hash
    assert "labkit=" in str(found["versions"])
    assert found["device"] == "cpu"
    assert found["references"]
    assert len(found["folder_checksum"]) == 64
    assert [row["target"] for row in run.transitions] == [
        "SUBMITTED",
        "VALIDATING",
        "PREFLIGHT",
        "QUEUED",
        "RUNNING",
        "EVALUATING",
        "COMPLETED",
    ]


def test_a_backup_holds_every_run_as_it_is(filled: tuple[Lab, list[Run]], tmp_path: Path) -> None:
    lab, made = filled
    with labkit.restore(lab.backup(tmp_path / "kept"), tmp_path / "again") as again:
        assert again.counts() == lab.counts()
        assert len(again.verify()) == 0
        for run in made:
            other = again.run(run.id)
            assert (dict(other.record), other.measured) == (dict(lab.run(run.id).record), run.measured)
            if run.record["folder"]:
                xr.testing.assert_identical(other.data.load(), lab.run(run.id).data.load())


def test_data_of_the_other_origin_is_never_learned_from(lab: Lab, oxide: Recipe) -> None:
    process = registry.process("cvd")
    run = lab.execute(oxide, tool="TUBE", progress=False)
    with lab._place.catalogue.begin() as tx:
        row = tx.select(tables.training_rows)[0]
        outputs = {name: 0.5 for name in row["outputs"]}
        for _ in range(8):
            created = _copy_of(tx, tx.get(tables.runs, id=run.id), origin="real")
            learning.add_training_row(
                tx, created, family=row["family"], inputs=row["inputs"], outputs=outputs, excluded=False, reason=None
            )
    with lab._place.catalogue.read() as tx:
        simulated = knowledge.recall(tx, process, oxide, tool="TUBE", origin="simulated")
        real = knowledge.recall(tx, process, oxide, tool="TUBE", origin="real")
    assert (len(simulated.history), len(real.history)) == (1, 8)
    assert all(value < 0.5 for values in simulated.history.residuals.values() for value in values)
    assert lab.predict(oxide, tool="TUBE").rows == 1


def _copy_of(tx: Transaction, row: Row, **changes: Any) -> str:
    keep = ("process", "tool", "recipe_name", "recipe_version", "recipe_hash", "recipe", "kind", "state")
    return str(runs.create(tx, **{**{key: row[key] for key in keep}, **changes})["id"])


def test_cost_is_tool_time_wafers_and_start_at_the_tools_rates(lab: Lab, oxide: Recipe) -> None:
    lab.add_tool("DEAR", "cvd", rates=Rates(currency="CHF", per_hour=360.0, per_wafer=2.0, per_run=10.0))
    run = lab.execute(oxide, tool="DEAR", lot="L1", progress=False)
    assert run.record["currency"] == "CHF"
    assert run.record["cost"] == pytest.approx(10.0 + 0.1 * run.record["duration_s"] + 50.0)
    assert lab.execute(oxide, tool="TUBE", progress=False).record["cost"] == 0.0


def test_a_tool_is_productive_while_it_runs_and_down_when_somebody_says_so(lab: Lab, oxide: Recipe) -> None:
    run = lab.execute(oxide, tool="TUBE", progress=False)
    timeline = lab.sql("select state, reason, since, until from tool_states where tool = 'TUBE' order by number")
    assert list(timeline["state"]) == ["standby", "productive", "standby"]
    assert run.id in timeline["reason"][1]
    assert list(timeline["until"][:2]) == list(timeline["since"][1:])
    lab.set_tool_state("TUBE", "scheduled_down", "maintenance")
    refused = lab.execute(oxide, tool="TUBE", progress=False)
    assert (refused.state, refused.reason) == (
        "REJECTED",
        "TUBE is Scheduled Down. Allowed: a tool that is up. Fix: clear the run that waits for an engineer, "
        'or lab.set_tool_state("TUBE", "standby")',
    )
    assert lab.tools()[0]["state"] == "scheduled_down"
    lab.set_tool_state("TUBE", "standby")
    assert lab.execute(oxide, tool="TUBE", progress=False).state == "COMPLETED"


def test_a_sweep_is_one_run_whose_dims_are_the_swept_fields_with_units(lab: Lab, oxide: Recipe) -> None:
    over = {
        "recipe_steps.3.duration_s": [600.0, 1200.0, 1800.0],
        "pressure_setpoints.process_pressure_torr": [0.4, 0.5],
    }
    run = lab.sweep(oxide, over, progress=False)
    found = run.data["sweep"].to_dataset().load()
    assert dict(found.sizes) == {"recipe_steps_3_duration_s": 3, "pressure_setpoints_process_pressure_torr": 2}
    assert found["recipe_steps_3_duration_s"].attrs["units"] == "s"
    assert found["pressure_setpoints_process_pressure_torr"].attrs["units"] == "torr"
    thickness = found["thickness_mean_nm"]
    assert thickness.attrs["units"] == "nm"
    assert bool((thickness.diff("recipe_steps_3_duration_s") > 0.0).all())
    here = {"recipe_steps_3_duration_s": 1200.0, "pressure_setpoints_process_pressure_torr": 0.5}
    assert float(thickness.sel(here)) == pytest.approx(
        lab.predict(oxide, tool="TUBE").estimate("thickness_mean_nm").physics
    )
    assert (run.state, run.record["kind"], lab.counts()["runs"]) == ("COMPLETED", "sweep", 1)
    with pytest.raises(LabkitError, match="at most"):
        lab.sweep(oxide, {"thickness_target_nm": [1.0] * 4000, "recipe_steps.3.duration_s": [1.0] * 4000})


def test_who_ran_it_is_marked_unless_somebody_has_checked_the_name(lab: Lab, oxide: Recipe) -> None:
    run = lab.execute(oxide, tool="TUBE", progress=False)
    assert run.record["operator"] == "anna"
    assert run.signature == run.provenance["operator"] == run.facts()["operator"] == "anna (unauthenticated)"
    assert "anna (unauthenticated)" in repr(run)
    with lab._place.catalogue.begin() as tx:
        runs.update(tx, run.id, extra={**(run.record["extra"] or {}), "authenticated": True})
    checked = run.refresh()
    assert checked.signature == checked.provenance["operator"] == checked.facts()["operator"] == "anna"
