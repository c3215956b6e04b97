"""Band limits, bounds and book-keeping of images, masks, sources and windows."""

import math

import numpy as np
import pytest
import xarray as xr

from labkit.core.errors import LabkitError
from labkit.materials import wafers
from labkit.processes.lithography import Lithography, imaging, mask, process_window, source
from labkit.processes.lithography.printed_wafer import printed_wafer, wafer_radius, wafer_signature
from labkit.processes.lithography.pupil import Lens
from labkit.processes.lithography.scanner import LithographyCondition, field_errors

LENS = Lens(na=0.6, wavelength=193.0)


@pytest.mark.parametrize("beats", [3.1, 3.9])
def test_an_image_holds_frequencies_up_to_twice_the_aperture_and_none_beyond(beats):
    pitch = beats * 193.0 / (2 * 0.6)
    series = imaging.image_series(mask.line_space(pitch, pitch / 2, highest=6), source.conventional(0.8), LENS)
    assert series.shape[-1] - 1 == 3
    few = imaging.image_series(mask.line_space(pitch, pitch / 2, highest=1), source.conventional(0.8), LENS)
    assert few.shape[-1] - 1 == 2


def test_segments_may_fill_the_period_but_not_overflow_it():
    full = mask.piecewise(100.0, [(0.0, 50.0, 1.0), (50.0, 50.0, 1.0)], background=0.0, highest=2)
    assert np.allclose(full.orders, [0, 0, 1, 0, 0], atol=1e-12)
    with pytest.raises(LabkitError, match="do not fit"):
        mask.piecewise(100.0, [(0.0, 60.0, 1.0), (50.0, 41.0, 1.0)], background=0.0, highest=2)


def test_the_monitors_line_is_narrower_than_half_its_period():
    assert mask.phase_shift_focus_monitor(1000.0, 480.0, highest=1).period == 1000.0
    with pytest.raises(LabkitError, match="line of 520"):
        mask.phase_shift_focus_monitor(1000.0, 520.0, highest=1)


def test_default_cells_are_six_hundredths_of_the_aperture_wide():
    light = source.conventional(0.63)
    rings = np.unique(np.round(np.hypot(light.x, light.y), 9))
    assert rings.size == math.ceil(0.63 / 0.06)
    assert source.annular(0.3, 0.65).size.shape == source.annular(0.3, 0.65, cell=0.06).size.shape


def test_a_source_lies_within_its_sigma():
    light = source.conventional(0.7)
    assert 0.7 < light.sigma < 0.7 + 0.06


def test_poles_may_touch_but_not_overlap():
    ring, half = source.annular(0.5, 0.8), math.pi * (0.8**2 - 0.5**2)
    for touching in (source.dipole(0.5, 0.8, 180.0), source.quadrupole(0.5, 0.8, 90.0)):
        assert float(np.sum(touching.size**2)) == pytest.approx(half) == pytest.approx(float(np.sum(ring.size**2)))
    for call in (lambda: source.dipole(0.5, 0.8, 180.5), lambda: source.quadrupole(0.5, 0.8, 90.5)):
        with pytest.raises(LabkitError, match="opening"):
            call()


def test_noise_adds_to_what_the_condition_does():
    recipe, wafer = Lithography().example_recipes()[0], wafers.load(1, diameter_mm=300.0, sites=9)
    state = LithographyCondition(focus_offset_nm=10.0, dose_gain=1.02)
    found = printed_wafer(recipe, wafer, state, focus_noise=np.full((1, 9), 4.0), dose_noise=np.full((1, 9), 0.01))
    assert np.allclose(found["focus_error"], 14.0)
    assert np.allclose(found["dose_error"], 100.0 * (1.02 * 1.01 - 1.0))
    assert np.allclose(found["dose_monitor"], recipe.dose_mj_cm2 * 1.02 * 1.01)


def test_points_share_the_light_equally():
    light = source.points([(0.1, 0.0), (-0.1, 0.0), (0.0, 0.3), (0.0, -0.3)])
    assert np.allclose(light.weight, 0.25)
    assert np.all(light.size == 0.0)


def test_quadrupole_poles_stand_at_45_degrees_and_dipole_poles_on_the_axis():
    four, two = source.quadrupole(0.6, 0.9, 20.0), source.dipole(0.6, 0.9, 20.0)
    for sx, sy in ((1, 1), (-1, 1), (-1, -1), (1, -1)):
        pole = (np.sign(four.x) == sx) & (np.sign(four.y) == sy)
        assert float(np.sum(four.weight[pole])) == pytest.approx(0.25)
        assert abs(float(np.sum(four.weight[pole] * four.x[pole]))) == pytest.approx(
            abs(float(np.sum(four.weight[pole] * four.y[pole])))
        )
    for side in (1, -1):
        pole = np.sign(two.x) == side
        assert float(np.sum(two.weight[pole])) == pytest.approx(0.5)
        assert float(np.sum(two.weight[pole] * two.y[pole])) == pytest.approx(0.0, abs=1e-12)


def test_best_focus_is_the_middle_of_the_window_wherever_that_lies():
    focus, dose = np.linspace(800.0, 1200.0, 81), np.geomspace(15.0, 45.0, 501)
    cd = 100.0 - 100.0 * np.log(dose / 28.0) - 5e-4 * (focus[:, None] - 1000.0) ** 2
    matrix = xr.Dataset(
        {"cd": (("focus", "dose"), cd)},
        coords={"focus": focus, "dose": dose},
        attrs={"cd_target_nm": 100.0, "cd_tolerance_pct": 10.0},
    )
    window = process_window(matrix)
    assert float(window["best_focus"]) == pytest.approx(1000.0, abs=5.1)
    # The rectangle of 10 % latitude is bounded below at best focus and above at its ends: 90 < CD < 110.
    reach = float(window["depth_of_focus"]) / 2
    low, high = 28.0 * math.exp(-0.1), 28.0 * math.exp(0.1 - 5e-6 * reach**2)
    assert high / low - 1.0 == pytest.approx(0.10 * (high / low + 1.0) / 2.0, rel=0.02)
    assert float(window["best_dose"]) == pytest.approx((low + high) / 2.0, rel=0.003)
    modest = process_window(matrix, latitude_pct=5.0)
    assert float(modest["depth_of_focus"]) > float(window["depth_of_focus"])


def test_two_doses_that_print_make_a_window():
    cd = np.array([[np.nan, 110.0, 90.0], [np.nan, 110.0, np.nan]])
    matrix = xr.Dataset(
        {"cd": (("focus", "dose"), cd)},
        coords={"focus": [0.0, 10.0], "dose": [20.0, 25.0, 30.0]},
        attrs={"cd_target_nm": 100.0, "cd_tolerance_pct": 5.0},
    )
    window = process_window(matrix)
    assert window["dose_low"].values == pytest.approx([25.0 * (30 / 25) ** 0.25, math.nan], nan_ok=True)
    assert window["dose_high"].values == pytest.approx([25.0 * (30 / 25) ** 0.75, math.nan], nan_ok=True)


def test_a_wafer_without_diameter_reaches_to_its_outermost_site_but_no_less_than_a_millimetre():
    def sites(*x):
        return xr.Dataset(coords={"x": ("site", list(x)), "y": ("site", [0.0] * len(x))})

    assert wafer_radius(sites(0.0, 3.0, -4.0)) == 4.0
    assert wafer_radius(sites(0.0)) == 1.0
    assert wafer_radius(wafers.load(1, diameter_mm=300.0)) == 150.0


def test_tilt_is_per_100_mm_and_bow_from_centre_to_edge():
    wafer = wafers.load(2, diameter_mm=300.0, sites=49)
    x, y = wafer["x"].values, wafer["y"].values
    field = xr.DataArray(
        np.tile(5.0 + 0.02 * x - 0.07 * y + 3.0 * (x**2 + y**2) / 150.0**2, (2, 1)),
        dims=("slot", "site"),
        coords={"x": wafer["x"], "y": wafer["y"]},
    )
    found = wafer_signature(field, 150.0)
    assert found["tilt_x"] == pytest.approx(2.0)
    assert found["bow"] == pytest.approx(3.0)


def test_a_tenth_of_a_kelvin_of_lens_heating_is_twenty_nanometres_of_focus():
    here = field_errors(LithographyCondition(lens_heating_k=0.1), np.zeros(1), np.zeros(1), 150.0)
    assert here.focus == pytest.approx([20.0])
    edge = field_errors(
        LithographyCondition(dose_bow_pct=2.0, wafer_bow_nm=8.0, focus_tilt_x_nm_per_100mm=-6.0),
        np.array([150.0, 0.0]),
        np.array([0.0, -75.0]),
        150.0,
    )
    assert edge.dose == pytest.approx([1.02, 1.005])
    assert edge.focus == pytest.approx([8.0 - 9.0, 2.0])
