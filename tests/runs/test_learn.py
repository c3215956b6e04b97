"""Learning: corrections are suggested for lasting offsets only, bring the result on target, and leave faults alone."""

from __future__ import annotations

import math

import pytest

from labkit.core import registry
from labkit.core.tool import Fault
from labkit.runs.learn import knob_gain, lesson
from tests.runs.rehearsal import Physics, Rehearsal

CVD = Physics(registry.process("cvd"))
RECIPE = CVD.process.example_recipes()[0]
TARGET = RECIPE.thickness_target_nm


@pytest.fixture(scope="module")
def on_target():
    """The default recipe with its deposition long enough that physics is on target."""
    steering = CVD.process.steering(RECIPE)
    now, physics = float(RECIPE.value(steering.knob.path)), CVD.expected(RECIPE)["thickness_mean_nm"]
    gain = knob_gain(CVD.process, RECIPE, CVD.wafers(RECIPE), steering, physics)
    moved = RECIPE.changed({steering.knob.path: now + (TARGET - physics) / gain})
    assert CVD.expected(moved)["thickness_mean_nm"] == pytest.approx(TARGET, abs=0.05)
    return moved


def test_thickness_grows_with_duration_at_the_rate_of_deposition() -> None:
    expected = CVD.expected(RECIPE)
    gain = knob_gain(
        CVD.process, RECIPE, CVD.wafers(RECIPE), CVD.process.steering(RECIPE), expected["thickness_mean_nm"]
    )
    assert gain * 60.0 == pytest.approx(expected["insitu_rate_nm_per_min"], rel=0.05)


def test_noise_alone_brings_no_suggestion(on_target) -> None:
    suggested = 0
    for seed in range(2):
        life = Rehearsal.of(CVD, seed=300 + seed, predicting=False, steering=True)
        life.recipe = on_target
        suggested += sum(b.correction is not None for b in life.play(10))
    # The deadband is one run's sigma, the EWMA's own scatter half of it: two sigmas, one run in twenty.
    assert suggested <= 4


def test_a_lasting_offset_brings_a_suggestion_that_puts_thickness_on_target(on_target) -> None:
    worn = CVD.process.condition_type().shifted("rate_gain", -0.03)
    life = Rehearsal.of(CVD, seed=31, predicting=False, steering=True, condition=worn)
    life.recipe = on_target
    batches = life.play(10)
    corrections = [b.correction for b in batches if b.correction is not None]
    assert batches[0].correction is None
    assert batches[1].correction is None
    assert len(corrections) >= 6
    last = corrections[-1]
    assert last.after > last.before
    true = CVD.process.expected(on_target.changed(last.changes), CVD.wafers(on_target), worn)["thickness_mean_nm"]
    off = CVD.process.expected(on_target, CVD.wafers(on_target), worn)["thickness_mean_nm"]
    assert abs(off - TARGET) > 2.0
    assert abs(true - TARGET) < 0.8
    life.recipe = on_target.changed(last.changes)
    later = life.play(8)
    assert not any(b.flagged for b in later)
    assert sum(b.correction is not None for b in later) <= 3


def test_a_flagged_run_neither_teaches_nor_moves_the_recipe() -> None:
    fault = Fault(mode="sih4_mfc", magnitude=-0.15, first_run=12)
    life = Rehearsal.of(CVD, seed=33, faults=(fault,), predicting=False, steering=True)
    life.play(11)
    before = dict(life.controller)
    later = life.play(3)
    assert all(b.flagged and b.correction is None for b in later)
    assert dict(life.controller) == before
    taught = lesson(CVD.process, RECIPE, later[0].judgement)
    assert taught.excluded
    assert taught.reason == later[0].judgement.headline
    assert set(taught.inputs) == {k.path for k in CVD.process.knobs(RECIPE)}


def test_a_run_without_a_measured_thickness_teaches_the_controller_nothing() -> None:
    life = Rehearsal.of(CVD, seed=34, predicting=False, steering=True)
    life.play(2)
    before = life.controller["offset"]
    life.play(1, lambda number, measured: {**measured, "thickness_mean_nm": math.nan})
    assert life.controller["offset"] == before
