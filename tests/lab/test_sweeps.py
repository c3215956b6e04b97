"""A sweep is one run with many points."""

import numpy as np
import pytest

import labkit
from labkit.core import registry
from labkit.core.errors import LabkitError, SettingsError
from labkit.core.settings import Settings
from labkit.runs import sweep as sweeping
from labkit.runs.scale_out import dask_client

CVD = registry.process("cvd")
OXIDE = CVD.example_recipes()[0]
OVER = {"pressure_setpoints.process_pressure_torr": [0.4, 0.5, 0.6], "recipe_steps.3.duration_s": [900.0, 1200.0]}


@pytest.fixture
def lab(tmp_path):
    with labkit.open(tmp_path / "lab") as opened:
        yield opened


def test_every_combination_is_there_with_dims_units_and_the_physics_own_values(lab):
    run = lab.sweep(OXIDE, OVER, progress=False)
    assert (run.state, run.record["kind"]) == ("COMPLETED", "sweep")
    found = run.data["sweep"].to_dataset().load()
    assert dict(found.sizes) == {"pressure_setpoints_process_pressure_torr": 3, "recipe_steps_3_duration_s": 2}
    assert found["thickness_mean_nm"].attrs["units"] == "nm"
    assert found["recipe_steps_3_duration_s"].attrs["units"] == "s"
    changed = OXIDE.changed({"pressure_setpoints.process_pressure_torr": 0.6, "recipe_steps.3.duration_s": 900.0})
    direct = CVD.expected(changed, CVD.incoming_wafers(changed))["thickness_mean_nm"]
    assert float(found["thickness_mean_nm"][2, 0]) == pytest.approx(direct, rel=1e-12)


def test_an_interrupted_sweep_computes_only_what_is_missing(lab, monkeypatch):
    kept = []

    def stops_after_two(client, function, chunks, keep):
        for ordinal, arguments in list(chunks.items())[:2]:
            keep(ordinal, function(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "map_chunks", stops_after_two)
    with pytest.raises(KeyboardInterrupt):
        lab.sweep(OXIDE, OVER, progress=False)
    (interrupted,) = lab.runs()
    assert interrupted["state"] == "PAUSED"

    def counts(client, function, chunks, keep):
        for ordinal, arguments in chunks.items():
            kept.append(ordinal)
            keep(ordinal, function(*arguments))

    monkeypatch.setattr(sweeping, "map_chunks", counts)
    done = lab.sweep(OXIDE, OVER, progress=False, resume=interrupted["id"])
    assert done.id == interrupted["id"]
    assert kept == [2, 3, 4, 5]
    assert bool(np.isfinite(done.data["sweep"]["thickness_mean_nm"]).all())


def test_another_sweep_cannot_be_resumed_as_this_one(lab):
    run = lab.sweep(OXIDE, {"recipe_steps.3.duration_s": [1200.0]}, progress=False)
    with pytest.raises(LabkitError, match="is not this sweep"):
        lab.sweep(OXIDE, OVER, progress=False, resume=run)
    with pytest.raises(LabkitError, match="is COMPLETED"):
        lab.sweep(OXIDE, {"recipe_steps.3.duration_s": [1200.0]}, progress=False, resume=run)


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({}, "a sweep over nothing"),
        ({"recipe_steps.3.duration_s": []}, "a sweep over nothing"),
        ({"recipe_steps.3.duration_s": [-5.0]}, "refused"),
        ({"nonsense": [1.0]}, "refused|no recipe field"),
        ({"recipe_steps.3.duration_s": range(1, 4000), "thickness_target_nm": range(1, 4000)}, "at most 10000000"),
    ],
)
def test_a_sweep_that_cannot_be_leaves_no_run(lab, over, message):
    with pytest.raises(LabkitError, match=message):
        lab.sweep(OXIDE, over, progress=False)
    assert len(lab.runs()) == 0


def test_a_corner_that_the_physics_refuses_is_not_a_number_and_does_not_lose_the_rest():
    values = sweeping.evaluate("cvd", OXIDE.to_json(), ["recipe_steps.3.duration_s"], [(1200.0,), (-1.0,)])
    assert np.isfinite(values[0]).all()
    assert np.isnan(values[1]).all()


def test_a_dask_setting_that_means_nothing_is_refused():
    with pytest.raises(SettingsError, match="dask = 'cloud'"), dask_client(Settings(dask="cloud")):
        pass
