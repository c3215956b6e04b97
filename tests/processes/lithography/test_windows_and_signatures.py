"""Numbers of a window and of a wafer's signature where the surfaces are given in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from labkit.processes.lithography import Lithography, LithographyCondition, bossung, process_window
from labkit.processes.lithography import mask as masks
from labkit.processes.lithography.exposure import image, optics, printed_line
from labkit.processes.lithography.imaging import image_series, intensity
from labkit.processes.lithography.printed_wafer import wafer_signature

RECIPE = Lithography().example_recipes()[0]
PERFECT = LithographyCondition(flare=0.0, stage_vibration_nm=0.0)


def _matrix(cd: np.ndarray, focus: np.ndarray, dose: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {"cd": (("focus", "dose"), cd)},
        coords={"focus": focus, "dose": dose},
        attrs={"cd_target_nm": 100.0, "cd_tolerance_pct": 10.0},
    )


@pytest.mark.parametrize("wanted", [1.0, 4.0, 7.0, 13.0])
def test_depth_of_focus_is_where_the_latitude_falls_to_what_is_wanted(wanted: float) -> None:
    """Width 100 (E/E₀)^-s with E₀ = 30 e^(k f): windows of equal log width move through dose with focus, so that a
    rectangle over focus f₁ … f₂ has log dose width W - k (f₂ - f₁)."""
    slope, drift, base = 1.0, 6e-4, 30.0
    focus = np.linspace(-200.0, 200.0, 41)
    dose = np.geomspace(15.0, 60.0, 401)
    best = base * np.exp(drift * focus)
    cd = 100.0 * (dose[None, :] / best[:, None]) ** -slope
    found = process_window(_matrix(cd, focus, dose), latitude_pct=wanted)
    width = math.log(1.1 / 0.9) / slope
    log_width = 2.0 * math.atanh(wanted / 200.0)
    assert float(found["depth_of_focus"]) == pytest.approx((width - log_width) / drift, abs=0.5)
    assert not bool(found["truncated"])


def test_three_focus_values_are_enough_for_a_bossung_curve_and_two_are_not() -> None:
    focus = np.array([-100.0, 0.0, 50.0, 200.0])
    curve = 90.0 + 3e-4 * (focus - 20.0) ** 2
    cd = np.stack([np.where(focus < 150.0, curve, np.nan), np.where(focus < 25.0, curve, np.nan)], axis=1)
    found = bossung(_matrix(cd, focus, np.array([29.0, 30.0])))
    assert float(found["best_focus"][0]) == pytest.approx(20.0, rel=1e-9)
    assert float(found["cd_best"][0]) == pytest.approx(90.0, rel=1e-9)
    assert float(found["curvature"][0]) == pytest.approx(3e-4, rel=1e-9)
    assert np.isnan(found["best_focus"][1])
    assert np.isnan(found["curvature"][1])


def test_a_signature_gives_back_tilt_per_100_mm_and_bow_from_centre_to_edge() -> None:
    angle = np.linspace(0.0, 2.0 * math.pi, 12, endpoint=False)
    x = np.concatenate([[0.0], 70.0 * np.cos(angle), 140.0 * np.cos(angle)])
    y = np.concatenate([[0.0], 70.0 * np.sin(angle), 140.0 * np.sin(angle)])
    field = 5.0 + 0.03 * x - 0.07 * y + 1.5 * (x**2 + y**2) / 150.0**2
    array = xr.DataArray(field[None, :], dims=("slot", "site"), coords={"x": ("site", x), "y": ("site", y)})
    found = wafer_signature(array, 150.0)
    assert found["tilt_x"] == pytest.approx(3.0, rel=1e-9), "0.03 per mm is 3 per 100 mm"
    assert found["bow"] == pytest.approx(1.5, rel=1e-9)


@pytest.mark.parametrize("tone", ["positive", "negative"])
def test_a_wide_clear_area_has_the_intensity_of_the_open_field(tone: str) -> None:
    line = 300.0 if tone == "positive" else 3700.0
    recipe = RECIPE.changed({"pitch_nm": 4000.0, "cd_target_nm": line, "mask_bias_nm": 0.0, "resist_tone": tone})
    made = optics(recipe)
    series = image(made, np.zeros(1), PERFECT)
    middle = 0.0 if tone == "negative" else 2000.0
    clear = float(np.asarray(intensity(series, made.mask.period, np.array([middle]))).ravel()[0])
    assert clear == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("pitch", [160.0, 230.0, 320.0, 390.0])
def test_an_alternating_mask_has_every_order_that_the_lens_can_take(pitch: float) -> None:
    recipe = RECIPE.changed({"pitch_nm": pitch, "cd_target_nm": 80.0, "mask_bias_nm": 0.0, "mask_type": "alternating"})
    made = optics(recipe)
    everything = masks.alternating(
        pitch, 80.0, bright_line=recipe.resist_tone == "negative", phase_deg=recipe.mask_phase_deg, highest=40
    )
    x = np.linspace(0.0, 2.0 * pitch, 33)
    ours = np.asarray(intensity(image(made, np.zeros(1), PERFECT), made.mask.period, x)).ravel()
    whole = np.asarray(intensity(image_series(everything, made.source, made.lens), everything.period, x)).ravel()
    assert ours == pytest.approx(whole, abs=1e-9)


def test_log_slope_at_the_edges_is_how_fast_the_width_follows_the_dose() -> None:
    """At the edge I(x) E = E₀, so that d ln E = - d ln I = -(d ln I/dx) dx: NILS = -w d ln E/dx, and the width changes
    by dw = -2 dx/… on both sides: |dw/d ln E| = 2 w/NILS for a symmetric image (Mack 2007, section 8.2)."""
    step = 1e-4
    dose = RECIPE.dose_mj_cm2 * np.exp(np.array([-step, 0.0, step]))
    width, nils = printed_line(RECIPE, np.zeros(3), dose, PERFECT)
    follows = abs(width[2] - width[0]) / (2.0 * step)
    assert nils[1] == pytest.approx(2.0 * RECIPE.cd_target_nm / follows, rel=1e-5)
