"""The lithography chapter's contract: recipe, simulation, twin, metrology, indicators, faults, findings."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from labkit.core.errors import LabkitError, RecipeError
from labkit.core.limits import violations
from labkit.core.process import Process
from labkit.core.recipe import read_document
from labkit.materials import wafers
from labkit.processes.lithography import (
    Lithography,
    LithographyCondition,
    LithographyRecipe,
    cd,
    dose_to_size,
    imaging,
    mask,
    metrology,
    source,
)
from labkit.processes.lithography.exposure import focus_monitor_shift
from labkit.processes.lithography.findings import smallest_pitch
from labkit.processes.lithography.pupil import Lens

PROCESS = Lithography()
RECIPES = PROCESS.example_recipes()
RECIPE = RECIPES[0]
FILES = ("lithography_arf_binary_100nm", "lithography_arf_immersion_40nm", "lithography_euv_16nm")
DATA = Path(__file__).parents[3] / "data" / "recipes"


@pytest.fixture(scope="module")
def lot():
    return PROCESS.incoming_wafers(RECIPE)


def telemetry_of(blocks):
    names = [name for name in blocks[0] if name != "time"]
    return xr.Dataset(
        {name: ("time", np.concatenate([b[name] for b in blocks])) for name in names},
        coords={"time": np.concatenate([b["time"] for b in blocks])},
    )


def run(lot, seed, condition=None, recipe=RECIPE):
    twin = PROCESS.twin(recipe, lot, condition=condition, seed=seed)
    blocks = [twin.advance(twin.samples)]
    return PROCESS.summarise(recipe, PROCESS.measure(twin.finish(), seed=seed), telemetry_of(blocks))


def residuals(measured, expected):
    return np.array([i.compare(measured[i.name], expected[i.name]) for i in PROCESS.indicators])


def test_it_is_a_process_named_as_its_recipes_are():
    assert isinstance(PROCESS, Process)
    assert PROCESS.name == PROCESS.recipe_type.process == "lithography"
    assert set(RECIPE.required_interlocks) <= set(PROCESS.interlocks)


@pytest.mark.parametrize(("file", "recipe"), list(zip(FILES, RECIPES, strict=True)))
def test_recipe_files_are_the_examples(file, recipe):
    document = read_document(DATA / f"{file}.json")
    assert PROCESS.parse(document) == recipe
    del document["process"]
    assert PROCESS.recognises(document)
    assert not PROCESS.recognises({"process_type": "LPCVD"})


@pytest.mark.parametrize("recipe", RECIPES)
def test_examples_keep_schema_print_in_tolerance_and_have_nothing_blocking(recipe):
    wafer = PROCESS.incoming_wafers(recipe)
    results = PROCESS.schema.check(PROCESS.simulate(recipe, wafer))
    summary = PROCESS.summarise(recipe, results)
    assert set(summary) == {i.name for i in PROCESS.indicators}
    assert not violations(PROCESS.targets(recipe), summary)
    assert summary["cd_mean_nm"] == pytest.approx(recipe.cd_target_nm, rel=0.005)
    assert not any(f.blocking for f in PROCESS.findings(recipe))
    values = {limit.quantity: recipe.value(limit.quantity) for limit in PROCESS.limits}
    assert not violations(PROCESS.limits, values)
    assert results.attrs["recipe_hash"] == recipe.content_hash
    assert "mack2007" in results.attrs["references"]
    assert "200 nm/K" in results.attrs["illustrative"]


def test_references_are_all_in_the_bibliography():
    import labkit.processes.lithography as chapter

    text = (Path(chapter.__file__).parent / "references.bib").read_text(encoding="utf-8")
    for key in PROCESS.simulate(RECIPE, wafers.load(1, sites=9)).attrs["references"].split():
        assert f"{{{key}," in text


def test_simulation_is_pure_and_carries_the_wafer_through(lot):
    wafer = lot.assign(flatness=("site", np.arange(lot.sizes["site"]), {"units": "nm"}))
    first, second = PROCESS.simulate(RECIPE, wafer, seed=1), PROCESS.simulate(RECIPE, wafer, seed=2)
    xr.testing.assert_equal(first, second)
    assert "cd" not in wafer
    assert (first["flatness"] == wafer["flatness"]).all()
    assert first.sizes["slot"] == 5
    assert first.sizes["site"] == 25
    assert first.attrs["diameter_mm"] == 300.0


def test_one_wafer_of_25_fields_is_simulated_in_milliseconds():
    wafer = wafers.load(1, diameter_mm=300.0, sites=25)
    tilted = LithographyCondition(focus_tilt_x_nm_per_100mm=10.0, wafer_bow_nm=7.0)
    PROCESS.simulate(RECIPE, wafer, condition=tilted)
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        PROCESS.simulate(RECIPE, wafer, condition=tilted)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.1


def test_twin_gives_the_same_whatever_the_block_size(lot):
    whole, parts = PROCESS.twin(RECIPE, lot, seed=7), PROCESS.twin(RECIPE, lot, seed=7)
    once = telemetry_of([whole.advance(whole.samples)])
    twice = telemetry_of([parts.advance(2), parts.advance(2), parts.advance(50), parts.advance(10**6)])
    xr.testing.assert_identical(once, twice)
    xr.testing.assert_identical(whole.finish(), parts.finish())
    assert once.sizes["time"] == whole.samples == whole.done == 125
    assert {c.name for c in PROCESS.channels} == set(once.data_vars)
    assert all(str(once[c.name].dtype) == c.dtype for c in PROCESS.channels)
    assert np.allclose(np.diff(once["time"]), PROCESS.sample_period_s)
    assert parts.advance(5)["time"].size == 0


def test_twins_of_different_seeds_differ_and_equal_seeds_agree(lot):
    assert run(lot, 3) == run(lot, 3)
    assert run(lot, 3) != run(lot, 4)


def test_a_stopped_twin_leaves_the_fields_it_did_not_reach_unexposed(lot):
    twin = PROCESS.twin(RECIPE, lot, seed=1)
    twin.advance(30)
    results = PROCESS.schema.check(twin.finish())
    assert int(results["exposed"].sum()) == 30
    assert bool((results["cd"].notnull() == results["exposed"]).all())
    assert bool(results["exposed"][0].all())
    untouched = PROCESS.twin(RECIPE, lot, seed=1).finish()
    assert int(untouched["exposed"].sum()) == 0
    assert np.isnan(PROCESS.summarise(RECIPE, untouched)["cd_mean_nm"])


def test_healthy_residuals_have_the_stated_sigma_and_no_bias(lot):
    expected = PROCESS.expected(RECIPE, lot)
    found = np.array([residuals(run(lot, seed), expected) for seed in range(100)])
    sigma = np.array([i.sigma for i in PROCESS.indicators])
    # chi-squared with 99 degrees of freedom: within 0.60 and 1.50 of its mean with probability 0.999
    ratio = found.var(axis=0, ddof=1) / sigma**2
    assert np.all((ratio > 0.60) & (ratio < 1.50)), dict(zip([i.name for i in PROCESS.indicators], ratio, strict=True))
    assert np.all(np.abs(found.mean(axis=0)) < 3.5 * sigma / np.sqrt(100))


@pytest.fixture(scope="module")
def signatures(lot):
    expected = PROCESS.expected(RECIPE, lot)
    sigma = np.array([i.sigma for i in PROCESS.indicators])
    return {
        mode.name: residuals(
            PROCESS.expected(RECIPE, lot, LithographyCondition().shifted(mode.path, mode.step)), expected
        )
        / sigma
        for mode in PROCESS.fault_modes
    }


def test_every_fault_moves_an_indicator_by_a_sigma_per_step(signatures):
    assert len(signatures) == len(PROCESS.fault_modes) == 9
    assert all(np.max(np.abs(s)) >= 1.0 for s in signatures.values())


def test_fault_signatures_are_pairwise_distinguishable(signatures):
    for (a, first), (b, second) in itertools.combinations(signatures.items(), 2):
        cosine = abs(first @ second) / np.linalg.norm(first) / np.linalg.norm(second)
        assert cosine < 0.98, (a, b, cosine)


def test_dose_sensor_drift_changes_the_wafer_but_not_the_report(lot):
    nominal, drifted = (
        PROCESS.expected(RECIPE, lot),
        PROCESS.expected(RECIPE, lot, LithographyCondition(dose_gain=1.02)),
    )
    assert drifted["dose_reported_mj_cm2"] == nominal["dose_reported_mj_cm2"] == RECIPE.dose_mj_cm2
    assert drifted["dose_monitor_mj_cm2"] == pytest.approx(1.02 * RECIPE.dose_mj_cm2)
    assert drifted["cd_mean_nm"] < nominal["cd_mean_nm"]
    dim = PROCESS.expected(RECIPE, lot, LithographyCondition(illumination_gain=0.98))
    assert dim["dose_reported_mj_cm2"] == pytest.approx(0.98 * RECIPE.dose_mj_cm2)
    assert dim["dose_monitor_mj_cm2"] == pytest.approx(0.98 * RECIPE.dose_mj_cm2)
    assert dim["cd_mean_nm"] > nominal["cd_mean_nm"]


def test_focus_monitor_shows_the_sign_of_a_focus_error_that_line_width_hides(lot):
    beyond, before = (PROCESS.expected(RECIPE, lot, LithographyCondition(focus_offset_nm=f)) for f in (40.0, -40.0))
    assert beyond["cd_mean_nm"] == pytest.approx(before["cd_mean_nm"], rel=1e-9)
    assert beyond["focus_monitor_nm"] == pytest.approx(-before["focus_monitor_nm"], rel=1e-6)
    assert beyond["focus_monitor_nm"] > 1.0


def test_condition_reaches_the_fields_as_stated(lot):
    state = LithographyCondition(
        focus_offset_nm=5.0,
        focus_tilt_x_nm_per_100mm=10.0,
        wafer_bow_nm=20.0,
        lens_heating_k=0.1,
        dose_gain=1.1,
        illumination_gain=0.9,
        dose_bow_pct=2.0,
        flare=0.03,
        stage_vibration_nm=4.0,
    )
    results = PROCESS.simulate(RECIPE, lot, condition=state)
    x, r2 = lot["x"].values, (lot["x"].values ** 2 + lot["y"].values ** 2) / 150.0**2
    assert np.allclose(results["focus_error"], 5.0 + 20.0 + 0.1 * x + 20.0 * r2)
    assert np.allclose(results["dose_error"], 100 * (0.99 * (1 + 0.02 * r2) - 1))
    assert np.allclose(results["flare_monitor"], 3.0)
    assert float(results["lens_temperature"]) == pytest.approx(22.1)
    assert float(results["stage_vibration"]) == 4.0
    summary = PROCESS.summarise(RECIPE, results)
    nominal = PROCESS.summarise(RECIPE, PROCESS.simulate(RECIPE, lot))
    assert summary["cd_bow_nm"] < -1.0
    assert nominal["lens_temperature_c"] == 22.0
    assert nominal["flare_monitor_pct"] == pytest.approx(1.0)
    assert nominal["stage_vibration_nm"] == 1.0


def test_focus_monitor_is_the_pattern_and_exposure_it_is_said_to_be():
    unit, lens = 193.0 / 0.75, Lens(0.75, 193.0)
    grating = mask.phase_shift_focus_monitor(4 * unit, 0.5 * unit, highest=12)
    series = imaging.image_series(grating, source.conventional(0.3), lens, 37.0)
    left, right = cd.edges(series, 4 * unit, 0.3 / 1.04)
    perfect = LithographyCondition(flare=0.0, stage_vibration_nm=0.0)
    shift = focus_monitor_shift(RECIPE, np.asarray(37.0), np.asarray(1.04), perfect)
    assert float(shift) == pytest.approx(float(left + right) / 2, rel=1e-9)


def test_tilt_and_bow_of_the_focus_monitor_are_those_of_focus(lot):
    def seen(**state):
        return PROCESS.expected(RECIPE, lot, LithographyCondition(**state))

    shift = seen(focus_offset_nm=10.0)["focus_monitor_nm"]
    tilted, bowed = seen(focus_tilt_x_nm_per_100mm=10.0), seen(wafer_bow_nm=10.0)
    assert tilted["focus_monitor_tilt_nm"] == pytest.approx(shift, rel=0.01)
    assert tilted["focus_monitor_bow_nm"] == pytest.approx(0.0, abs=1e-9)
    assert bowed["focus_monitor_bow_nm"] == pytest.approx(shift, rel=0.01)
    assert bowed["focus_monitor_tilt_nm"] == pytest.approx(0.0, abs=1e-9)


def test_the_recipes_own_focus_setting_counts(lot):
    shifted = PROCESS.expected(RECIPE.changed({"focus_nm": 60.0}), lot)
    assert shifted["focus_monitor_nm"] == pytest.approx(
        PROCESS.expected(RECIPE, lot, LithographyCondition(focus_offset_nm=60.0))["focus_monitor_nm"]
    )


def test_flare_and_vibration_lower_the_image_quality(lot):
    quality = [
        float(PROCESS.simulate(RECIPE, lot, condition=LithographyCondition(**c))["nils"].mean())
        for c in ({}, {"flare": 0.05}, {"stage_vibration_nm": 10.0})
    ]
    assert quality[1] < 0.97 * quality[0]
    assert quality[2] < 0.97 * quality[0]


def test_instruments_have_their_stated_errors():
    names = ("cd", "dose_monitor", "focus_monitor", "flare_monitor")
    level = dict(zip(names, (100.0, 20.0, 0.0, 50.0), strict=True))

    def readings(slots, sites, seed):
        flat = {name: (("slot", "site"), np.full((slots, sites), level[name])) for name in names}
        found = metrology.measured(xr.Dataset(flat), seed=seed)
        return np.stack([found[name].values - level[name] for name in names])

    sites = readings(25, 121, 1).std(axis=(1, 2))
    assert sites == pytest.approx([0.3, 0.003 * 20.0, 0.2, 0.1], rel=0.05)
    runs = np.array([readings(1, 400, seed).mean(axis=(1, 2)) for seed in range(700)])
    stated = np.array([0.1, 0.001 * 20.0, 0.05, 0.05])
    averaged = np.array([0.3, 0.003 * 20.0, 0.2, 0.1]) / 400**0.5
    assert runs.std(axis=0) == pytest.approx(np.hypot(stated, averaged), rel=0.06)
    assert np.all(np.abs(runs.mean(axis=0)) < 5.0 * stated / 700**0.5)


def test_scanner_noise_is_as_stated():
    wafer = wafers.load(25, diameter_mm=300.0, sites=121)
    block = telemetry_of([PROCESS.twin(RECIPE, wafer, seed=11).advance(10**6)]).astype(float)
    fields = {
        "dose_mj_cm2": 0.001 * RECIPE.dose_mj_cm2,
        "focus_nm": 2.0,
        "stage_vibration_nm": 0.05,
        "lens_temperature_c": 0.001,
    }
    for name, sigma in fields.items():
        assert float(block[name].std()) == pytest.approx(sigma, rel=0.06), name
    means, truths, narrow = [], [], wafers.load(2, diameter_mm=300.0, sites=121)
    for seed in range(700):
        twin = PROCESS.twin(RECIPE, narrow, seed=seed)
        sample = {name: array.astype(float) for name, array in twin.advance(242).items()}
        means.append(
            [
                sample["dose_mj_cm2"].mean() / RECIPE.dose_mj_cm2,
                sample["stage_vibration_nm"].mean(),
                sample["lens_temperature_c"].mean(),
            ]
        )
        received = (twin._dose_noise, twin._focus_noise)
        truths.append([noise.mean() for noise in received] + [noise.std() for noise in received])
    assert np.std(means, axis=0) == pytest.approx([0.0005, 0.03, 0.002], rel=0.06)
    assert np.mean(means, axis=0) == pytest.approx([1.0, 1.0, 22.0], rel=6e-3)
    errors = np.array(truths)
    assert errors[:, :2].std(axis=0) == pytest.approx([0.0015, 3.0], rel=0.06)
    assert errors[:, 2:].mean(axis=0) == pytest.approx([0.001, 3.0], rel=0.01)


def test_scanner_noise_reaches_the_wafer():
    results = PROCESS.twin(RECIPE, wafers.load(25, diameter_mm=300.0, sites=121), seed=3)
    results.advance(10**6)
    found = results.finish()
    assert float(found["dose_error"].std()) == pytest.approx(0.1, rel=0.05)
    assert float(found["focus_error"].std()) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"wavelength_nm": 13.5, "na": 0.56}, "0.55"),
        ({"na": 0.94}, "0.93"),
        ({"na": 1.36, "immersion_index": 1.436}, "1.35"),
        ({"na": 1.2, "immersion_index": 1.1}, "immersion_index"),
        ({"sigma": 0.4}, "sigma_inner"),
        ({"cd_target_nm": 240.0}, "pitch_nm"),
        ({"mask_bias_nm": 140.0}, "pitch_nm"),
        ({"mask_bias_nm": -100.0}, "above 0"),
        ({"dose_mj_cm2": 100.1}, "100"),
        ({"dose_mj_cm2": 0.9}, "1"),
        ({"sigma": 1.01}, "1"),
        ({"wavelength_nm": 13.5, "na": 0.3, "immersion_index": 1.4}, "vacuum"),
        ({"resist_tone": "neutral"}, "positive"),
    ],
)
def test_recipes_that_no_scanner_can_run_are_refused_with_the_way_out(changes, field):
    with pytest.raises(RecipeError, match=field):
        LithographyRecipe.parse({"name": "bad", **changes})


@pytest.mark.parametrize(
    "changes", [{"wavelength_nm": 13.5, "na": 0.55}, {"na": 0.93}, {"na": 1.35, "immersion_index": 1.436}]
)
def test_apertures_at_their_limits_are_accepted(changes):
    LithographyRecipe.parse({"name": "edge", **changes})


def test_a_pitch_below_the_cutoff_is_blocked_with_the_smallest_that_is_not():
    recipe = RECIPE.changed({"pitch_nm": 130.0, "cd_target_nm": 65.0})
    assert smallest_pitch(recipe) == pytest.approx(193.0 / (1.8 * 0.75))
    assert smallest_pitch(recipe.changed({"mask_type": "alternating"})) == pytest.approx(193.0 / 1.5)
    found = PROCESS.findings(recipe)
    assert [f.blocking for f in found] == [True]
    assert "143" in found[0].fix
    assert "0.825" in found[0].fix
    assert np.isnan(PROCESS.simulate(recipe, wafers.load(1, sites=9))["cd"].values).all()


def test_a_dose_that_washes_the_line_away_is_blocked_and_the_offered_dose_prints_on_target():
    recipe = RECIPE.changed({"dose_mj_cm2": 99.0})
    (finding,) = PROCESS.findings(recipe)
    assert finding.blocking
    offered = float(finding.fix.split("dose_mj_cm2 = ")[1].split()[0])
    mended = recipe.changed({"dose_mj_cm2": offered})
    assert PROCESS.expected(mended, wafers.load(1, sites=9))["cd_mean_nm"] == pytest.approx(100.0, rel=1e-3)


def test_a_line_off_target_is_mentioned_but_not_blocked():
    (finding,) = PROCESS.findings(RECIPE.changed({"dose_mj_cm2": 35.0}))
    assert not finding.blocking
    assert "dose_mj_cm2 = 29.2" in finding.fix


def test_weak_images_tall_lines_and_scalar_limits_are_mentioned():
    def messages(**changes):
        return " ".join(f.message for f in PROCESS.findings(RECIPE.changed(changes)))

    assert "collapse" in messages(resist_thickness_nm=360.0)
    assert "collapse" not in messages(resist_thickness_nm=340.0)
    assert "polarisation" in messages(na=0.85, dose_mj_cm2=28.0)
    assert "polarisation" not in messages(na=0.75)
    weak = RECIPE.changed({"pitch_nm": 160.0, "cd_target_nm": 80.0})
    weak = weak.changed({"dose_mj_cm2": round(dose_to_size(weak), 3)})
    assert any("NILS" in f.message for f in PROCESS.findings(weak))
    assert "NILS" not in messages()


@pytest.mark.parametrize("tone", ["positive", "negative"])
@pytest.mark.parametrize("mask_type", ["binary", "attenuated", "alternating"])
def test_dose_to_size_prints_the_target_for_every_mask_and_tone(mask_type, tone):
    recipe = RECIPE.changed({"mask_type": mask_type, "resist_tone": tone, "source_shape": "conventional", "sigma": 0.4})
    dose = dose_to_size(recipe)
    recipe = recipe.changed({"dose_mj_cm2": dose})
    wafer = wafers.load(1, sites=9)
    assert PROCESS.expected(recipe, wafer)["cd_mean_nm"] == pytest.approx(100.0, rel=1e-6)
    more = PROCESS.expected(recipe.changed({"dose_mj_cm2": 1.02 * dose}), wafer)["cd_mean_nm"]
    assert (more < 100.0) is (tone == "positive")


def test_mask_bias_widens_the_printed_line():
    wafer = wafers.load(1, sites=9)
    assert PROCESS.expected(RECIPE.changed({"mask_bias_nm": 10.0}), wafer)["cd_mean_nm"] > 105.0


def test_knobs_lie_within_the_recipes_own_bounds_and_targets_are_the_tolerance():
    for recipe in RECIPES:
        for knob in PROCESS.knobs(recipe):
            assert knob.low < knob.high
            for end in (knob.low, knob.high):
                recipe.changed({knob.path: end})
    (target,) = PROCESS.targets(RECIPE)
    assert (target.low, target.high) == pytest.approx((90.0, 110.0))


def test_fault_paths_are_fields_of_the_condition_and_titles_are_for_people():
    for mode in PROCESS.fault_modes:
        LithographyCondition().shifted(mode.path, mode.step)
        assert mode.title[0].isupper()
        assert mode.advice


def test_recipes_and_conditions_of_other_processes_are_refused(lot):
    from labkit.core.process import Condition
    from labkit.core.recipe import Recipe

    with pytest.raises(LabkitError, match="LithographyRecipe"):
        PROCESS.simulate(Recipe(name="other"), lot)
    with pytest.raises(LabkitError, match="LithographyCondition"):
        PROCESS.simulate(RECIPE, lot, condition=Condition())
