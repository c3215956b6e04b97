"""Focus–exposure matrix, Bossung curves and the process window against closed forms."""

import math

import numpy as np
import pytest
import xarray as xr

from labkit.core.errors import LabkitError
from labkit.processes.lithography import (
    Lithography,
    LithographyCondition,
    bossung,
    dose_to_size,
    focus_exposure_matrix,
    process_window,
)
from labkit.processes.lithography.focus_exposure import rayleigh_unit

RECIPE = Lithography().example_recipes()[0]
PERFECT = LithographyCondition(flare=0.0, stage_vibration_nm=0.0)


def matrix(cd, focus, dose, target=100.0, tolerance=10.0):
    return xr.Dataset(
        {"cd": (("focus", "dose"), cd)},
        coords={"focus": focus, "dose": dose},
        attrs={"cd_target_nm": target, "cd_tolerance_pct": tolerance},
    )


def test_matrix_has_units_and_agrees_with_the_simulation_at_the_recipes_own_point():
    process = Lithography()
    fem = focus_exposure_matrix(RECIPE, [0.0, 50.0], [RECIPE.dose_mj_cm2, 31.0])
    assert fem["cd"].dims == ("focus", "dose")
    assert fem["cd"].attrs["units"] == fem["focus"].attrs["units"] == "nm"
    assert fem["dose"].attrs["units"] == "mJ/cm2"
    assert "illustrative" in fem.attrs
    expected = process.expected(RECIPE, process.incoming_wafers(RECIPE))
    assert float(fem["cd"][0, 0]) == pytest.approx(expected["cd_mean_nm"], rel=1e-12)


def test_line_narrows_with_dose_and_the_matrix_is_even_in_focus():
    fem = focus_exposure_matrix(RECIPE)
    assert fem.sizes == {"focus": 41, "dose": 25}
    assert float(fem["focus"][-1]) == pytest.approx(2.5 * rayleigh_unit(RECIPE))
    assert float(fem["dose"][0]) == pytest.approx(0.75 * RECIPE.dose_mj_cm2)
    assert float(fem["dose"][-1]) == pytest.approx(1.25 * RECIPE.dose_mj_cm2)
    narrowing = fem["cd"].diff("dose").values
    assert np.all(narrowing[np.isfinite(narrowing)] < 0)
    assert np.allclose(fem["cd"].values, fem["cd"].values[::-1], equal_nan=True)


def test_equal_lines_and_spaces_are_isofocal_at_half_the_pitch():
    """With only orders −1, 0, 1 passing the edge at p/4 does not move through focus."""
    fem = focus_exposure_matrix(RECIPE, np.linspace(-80.0, 80.0, 9), np.geomspace(20.0, 32.0, 25), condition=PERFECT)
    curves = bossung(fem)
    assert float(curves["isofocal_cd"]) == pytest.approx(RECIPE.pitch_nm / 2, rel=1e-3)
    assert float(curves["isofocal_dose"]) == pytest.approx(
        dose_to_size(RECIPE.changed({"cd_target_nm": 120.0, "mask_bias_nm": -20.0}), PERFECT), rel=2e-3
    )


def test_bossung_recovers_the_parabolas_it_is_given():
    focus, dose = np.linspace(-100.0, 140.0, 13), np.array([20.0, 25.0, 30.0])
    curvature = np.array([2e-3, 1e-3, -1e-3])
    cd = np.array([110.0, 100.0, 90.0]) + curvature * (focus[:, None] - 30.0) ** 2
    curves = bossung(matrix(cd, focus, dose))
    assert curves["best_focus"].values == pytest.approx([30.0] * 3)
    assert curves["cd_best"].values == pytest.approx([110.0, 100.0, 90.0])
    assert curves["curvature"].values == pytest.approx(curvature)
    assert float(curves["isofocal_dose"]) == pytest.approx(math.sqrt(25.0 * 30.0))
    assert float(curves["isofocal_cd"]) == pytest.approx(95.0)


def test_window_of_a_width_that_ignores_focus_is_its_dose_interval_at_every_depth():
    focus, dose = np.linspace(-100.0, 100.0, 5), np.geomspace(20.0, 40.0, 801)
    cd = np.broadcast_to(100.0 - 120.0 * np.log(dose / 28.0), (5, 801))
    window = process_window(matrix(cd, focus, dose))
    low, high = 28.0 * math.exp(-10 / 120), 28.0 * math.exp(10 / 120)
    assert window["dose_low"].values == pytest.approx([low] * 5, rel=1e-6)
    assert window["dose_high"].values == pytest.approx([high] * 5, rel=1e-6)
    assert window["latitude"].values == pytest.approx([200 * (high - low) / (high + low)] * 5, rel=1e-5)
    assert float(window["best_dose"]) == pytest.approx((low + high) / 2, rel=1e-6)
    assert float(window["depth_of_focus"]) == pytest.approx(200.0)
    assert bool(window["truncated"])


def test_depth_of_focus_of_parabolic_curves_solves_the_rectangle_in_closed_form():
    """CD = 100 − 100 ln(E/E₀) − k (δ − δ₀)² shifts the dose interval by the parabola: ln high falls, ln low stays."""
    focus, dose, k = np.linspace(-180.0, 220.0, 161), np.geomspace(15.0, 45.0, 2001), 5e-4
    cd = 100.0 - 100.0 * np.log(dose / 28.0) - k * (focus[:, None] - 20.0) ** 2
    window = process_window(matrix(cd, focus, dose))
    spread = 0.2 - 2 * math.atanh(0.05)
    assert float(window["depth_of_focus"]) == pytest.approx(2 * math.sqrt(spread * 100.0 / k), rel=0.01)
    assert float(window["best_focus"]) == pytest.approx(20.0, abs=2.6)
    assert float(window["exposure_latitude"]) == pytest.approx(200 * math.tanh(0.1), rel=1e-4)
    assert not bool(window["truncated"])
    tighter = process_window(matrix(cd, focus, dose), tolerance_pct=6.0)
    assert float(tighter["depth_of_focus"]) < float(window["depth_of_focus"])


def test_alternating_mask_latitude_is_the_closed_form_of_its_sine_squared_image():
    recipe = RECIPE.changed(
        {
            "mask_type": "alternating",
            "pitch_nm": 180.0,
            "cd_target_nm": 90.0,
            "source_shape": "conventional",
            "sigma": 0.1,
        }
    )
    fem = focus_exposure_matrix(recipe, [-200.0, 0.0, 200.0], np.geomspace(15.0, 45.0, 1501), condition=PERFECT)
    window = process_window(fem)
    small, large = (math.sin(math.pi * 90.0 * f / 360.0) ** 2 for f in (0.9, 1.1))
    assert float(window["exposure_latitude"]) == pytest.approx(200 * (large - small) / (large + small), rel=1e-3)
    assert bool(window["truncated"])


def test_no_window_is_reported_where_no_dose_serves():
    focus, dose = np.array([-10.0, 0.0, 10.0]), np.array([20.0, 25.0, 30.0])
    window = process_window(matrix(np.full((3, 3), 150.0) - dose, focus, dose))
    assert np.isnan(window["dose_low"]).all()
    assert math.isnan(float(window["depth_of_focus"]))
    assert float(window["exposure_latitude"]) == 0.0
    assert math.isnan(float(window["best_dose"]))


def test_washed_away_lines_do_not_spoil_the_window():
    fem = focus_exposure_matrix(RECIPE, dose_mj_cm2=np.geomspace(15.0, 90.0, 60))
    assert bool(fem["cd"].isnull().any())
    assert float(process_window(fem)["exposure_latitude"]) == pytest.approx(19.0, abs=0.6)


def test_rayleigh_unit_is_half_a_wavelength_over_aperture_squared_at_low_aperture():
    recipe = RECIPE.changed({"na": 0.1, "wavelength_nm": 365.0, "pitch_nm": 4000.0, "cd_target_nm": 2000.0})
    assert rayleigh_unit(recipe) == pytest.approx(365.0 / (2 * 0.01), rel=0.003)


@pytest.mark.parametrize(
    ("focus", "dose"),
    [([], [20.0]), ([1.0, 0.0], [20.0]), ([0.0], [20.0, 20.0]), ([0.0], [-1.0, 1.0]), ([float("nan")], [20.0])],
)
def test_axes_that_make_no_matrix_are_refused(focus, dose):
    with pytest.raises(LabkitError):
        focus_exposure_matrix(RECIPE, focus, dose)


def test_a_dataset_that_is_no_matrix_is_refused():
    with pytest.raises(LabkitError, match="not a focus"):
        process_window(xr.Dataset())
    focus, dose = np.array([0.0, 1.0]), np.array([30.0, 20.0])
    with pytest.raises(LabkitError, match="ascend"):
        process_window(matrix(np.ones((2, 2)), focus, dose))
