"""Images of gratings against closed forms, conservation laws and band limits."""

import math

import numpy as np
import pytest

from labkit.core.errors import LabkitError
from labkit.processes.lithography import cd, imaging, mask, source
from labkit.processes.lithography.mask import Grating
from labkit.processes.lithography.pupil import Lens, phase_factor, wavefront

PITCH = 500.0
LENS = Lens(na=0.6, wavelength=193.0)


def image_of(grating, light, lens=LENS, defocus=0.0):
    return imaging.image_series(grating, light, lens, defocus)


def lines(line_amplitude=0.0, pitch=PITCH, lens=LENS, sigma=0.0, duty=0.5):
    highest = imaging.highest_order(pitch, lens, sigma)
    return mask.line_space(pitch, duty * pitch, line_amplitude=line_amplitude, highest=highest)


def at(series, x, period=PITCH):
    return float(imaging.intensity(series, period, np.asarray(x)))


def test_three_beam_image_of_equal_lines_has_its_published_values():
    series = image_of(lines(), source.coherent())
    assert at(series, PITCH / 4) == pytest.approx(0.25, abs=1e-12)
    assert at(series, PITCH / 2) == pytest.approx((0.5 + 2 / math.pi) ** 2, rel=1e-12)
    assert at(series, 0.0) == pytest.approx(0.0187, abs=1e-4)
    high, low = at(series, PITCH / 2), at(series, 0.0)
    assert (high - low) / (high + low) == pytest.approx(0.9715, abs=1e-4)
    # The amplitude passes through zero on either side of the line's centre, so over the whole period contrast is 1.
    assert float(cd.contrast(series, PITCH)) == pytest.approx(1.0, abs=2e-3)
    nils = cd.normalised_log_slope(series, PITCH, np.asarray(PITCH / 4), PITCH / 2)
    assert float(nils) == pytest.approx(8.0, rel=1e-12)


def test_attenuated_mask_of_six_per_cent_has_its_published_edge_and_log_slope():
    series = image_of(lines(mask.shifter(0.06, 180.0)), source.coherent())
    assert at(series, PITCH / 4) == pytest.approx(0.1425, abs=5e-5)
    nils = cd.normalised_log_slope(series, PITCH, np.asarray(PITCH / 4), PITCH / 2)
    assert float(nils) == pytest.approx(13.19, abs=5e-3)


def test_ideal_off_axis_two_beam_image_has_its_published_values():
    pitch = 200.0
    half = 193.0 / (2 * pitch) / 0.6
    series = image_of(lines(pitch=pitch, sigma=half), source.points([(half, 0.0), (-half, 0.0)]))
    assert at(series, pitch / 4, pitch) == pytest.approx(0.3513, abs=5e-5)
    assert float(cd.contrast(series, pitch)) == pytest.approx(0.9061, abs=1e-4)
    nils = cd.normalised_log_slope(series, pitch, np.asarray(pitch / 4), pitch / 2)
    assert float(nils) == pytest.approx(2.846, abs=5e-4)
    through_focus = image_of(
        lines(pitch=pitch, sigma=half), source.points([(half, 0.0)]), defocus=np.array([0.0, 700.0])
    )
    assert np.allclose(through_focus[0], through_focus[1], atol=1e-12)


def test_alternating_mask_has_unit_contrast_a_log_slope_of_pi_and_no_focus_limit():
    pitch = 250.0
    grating = mask.alternating(pitch, pitch / 2, highest=1)
    series = image_of(grating, source.coherent(), defocus=np.array([0.0, 1e4]))
    assert at(series[0], pitch / 2, 2 * pitch) == pytest.approx(0.8106, abs=5e-5)
    assert at(series[0], 0.0, 2 * pitch) == pytest.approx(0.0, abs=1e-12)
    assert at(series[0], pitch / 4, 2 * pitch) == pytest.approx(0.8106 / 2, abs=5e-5)
    nils = cd.normalised_log_slope(series[0], 2 * pitch, np.asarray(pitch / 4), pitch / 2)
    assert float(nils) == pytest.approx(math.pi, rel=1e-12)
    assert np.allclose(series[0], series[1], atol=1e-12)


def test_bright_alternating_lines_are_openings_of_opposite_phase():
    grating = mask.alternating(250.0, 100.0, bright_line=True, highest=3)
    series = image_of(grating, source.coherent())
    assert at(series, 0.0, 500.0) > 0.5
    assert at(series, 125.0, 500.0) == pytest.approx(0.0, abs=1e-12)
    assert at(series, 250.0, 500.0) == pytest.approx(at(series, 0.0, 500.0), rel=1e-9)


@pytest.mark.parametrize("index", [1.0, 1.436])
def test_three_beam_modulation_vanishes_where_the_defocus_phase_is_a_quarter_wave(index):
    lens = Lens(0.6, 193.0, index)
    path = index - math.sqrt(index**2 - (193.0 / PITCH) ** 2)
    quarter = 193.0 / (4 * path)
    series = image_of(lines(), source.coherent(), lens, np.array([0.0, quarter, 2 * quarter]))
    fundamental = np.real(series[:, 1])
    assert fundamental[0] == pytest.approx(-1 / math.pi, rel=1e-12)
    assert fundamental[1] == pytest.approx(0.0, abs=1e-12)
    assert fundamental[2] == pytest.approx(1 / math.pi, rel=1e-9)
    assert np.allclose(series[:, 2], 1 / math.pi**2)


def test_defocused_field_is_the_sum_of_plane_waves_travelling_on_to_the_wafer():
    lens = Lens(0.9, 193.0)
    orders = np.array([0.2j, 0.5 + 0.1j, 0.8, 0.3 - 0.4j, 0.1])
    tilt, defocus, x = 0.31, 140.0, np.linspace(-250.0, 250.0, 41)
    series = image_of(Grating(PITCH, orders), source.points([(tilt, 0.2)]), lens, defocus)
    k = 2 * math.pi / 193.0
    field = np.zeros_like(x, dtype=complex)
    for m, amplitude in zip(range(-2, 3), orders, strict=True):
        kx, ky = 2 * math.pi * m / PITCH + tilt * 0.9 * k, 0.2 * 0.9 * k
        if math.hypot(kx, ky) <= 0.9 * k:
            field += amplitude * np.exp(1j * (kx * x + math.sqrt(k**2 - kx**2 - ky**2) * defocus))
    assert np.allclose(imaging.intensity(series, PITCH, x), np.abs(field) ** 2, atol=1e-12)


def test_wavefront_tilt_moves_the_image_by_its_gradient_and_is_not_lost():
    series = image_of(lines(duty=0.4), source.coherent(), Lens(0.6, 193.0, zernikes=((2, 0.05),)))
    left, right = cd.edges(series, PITCH, 0.3)
    assert float(left + right) / 2 == pytest.approx(-0.05 * 193.0 / 0.6, rel=1e-9)


def test_coma_moves_a_three_beam_image_as_its_phase_difference_says():
    series = image_of(lines(), source.coherent(), Lens(0.6, 193.0, zernikes=((7, 0.05),)))
    rho = 193.0 / PITCH / 0.6
    shift = -0.05 * (3 * rho**2 - 2) * rho * PITCH
    left, right = cd.edges(series, PITCH, 0.25)
    assert float(left + right) / 2 == pytest.approx(shift, rel=1e-9)


@pytest.mark.parametrize(("term", "difference"), [(4, 2.0), (5, 1.0), (9, None)])
def test_even_aberrations_act_on_three_beams_as_their_phase_against_the_centre(term, difference):
    rho2 = (193.0 / PITCH / 0.6) ** 2
    waves = 6 * rho2**2 - 6 * rho2 if difference is None else difference * rho2
    series = image_of(lines(), source.coherent(), Lens(0.6, 193.0, zernikes=((term, 0.11),)))
    assert float(np.real(series[1])) == pytest.approx(-math.cos(2 * math.pi * 0.11 * waves) / math.pi, rel=1e-12)


@pytest.mark.parametrize(("term", "turned"), [(3, 2), (6, 5), (8, 7)])
def test_turned_aberrations_act_along_y_as_their_partners_do_along_x(term, turned):
    lens, angle = LENS, math.pi / 4 if term == 6 else math.pi / 2
    fx, fy = np.array([0.5, 0.2]) * lens.cutoff, np.array([0.1, 0.6]) * lens.cutoff
    rotated = (math.cos(angle) * fx - math.sin(angle) * fy, math.sin(angle) * fx + math.cos(angle) * fy)
    first = phase_factor(fx, fy, Lens(0.6, 193.0, zernikes=((turned, 0.07),)), 0.0)
    second = phase_factor(*rotated, Lens(0.6, 193.0, zernikes=((term, 0.07),)), 0.0)
    assert np.allclose(first, second, atol=1e-12)


def test_fringe_defocus_balances_paraxial_defocus_at_low_aperture():
    lens = Lens(0.05, 193.0, zernikes=((4, 0.2),))
    pitch = 193.0 / 0.05 * 1.3
    defocus = 4 * 0.2 * 193.0 / 0.05**2
    series = image_of(lines(pitch=pitch, lens=lens), source.coherent(), lens, defocus)
    assert float(np.real(series[1])) == pytest.approx(-1 / math.pi, rel=1e-5)


def test_partially_coherent_cutoff_is_one_plus_sigma_times_the_aperture():
    sigma = 0.5
    cutoff = 193.0 / ((1 + sigma) * 0.6)
    light = source.conventional(sigma, cell=0.02)
    for pitch, passes in ((cutoff * 1.06, True), (cutoff * 0.97, False)):
        grating = mask.line_space(pitch, pitch / 2, highest=2)
        assert bool(abs(image_of(grating, light)[1]) > 1e-6) is passes
    assert imaging.highest_order(cutoff, LENS, sigma) == 1
    assert imaging.highest_order(cutoff * 0.999, LENS, sigma) == 0


@pytest.mark.parametrize(("k1", "points"), [(0.5, [(0.0, 0.0)]), (0.25, [(1.0, 0.0), (-1.0, 0.0)])])
def test_half_pitch_limit_of_k1_is_a_half_on_axis_and_a_quarter_off_axis(k1, points):
    pitch = 2 * k1 * 193.0 / 0.6
    for factor, resolved in ((1.0, True), (1.001, True), (0.999, False)):
        grating = mask.line_space(pitch * factor, pitch * factor / 2, highest=3)
        series = image_of(grating, source.points(points))
        modulated = series.shape[-1] > 1 and abs(series[1]) > 0.1
        assert modulated == resolved


@pytest.mark.parametrize(("fraction", "transfer"), [(0.25, 0.685), (0.5, 0.391), (0.75, 0.1443)])
def test_a_source_much_larger_than_the_lens_gives_the_incoherent_transfer_function(fraction, transfer):
    pitch = 193.0 / (2 * 0.6 * fraction)
    grating = Grating(pitch, np.array([0.1 + 0j, 0.5, 0.1]))
    series = image_of(grating, source.conventional(5.0, cell=0.03))
    squared = (0.5 * 0.1 * 2) / (0.5**2 + 2 * 0.1**2)
    assert float(np.real(series[1] / series[0])) / squared == pytest.approx(transfer, abs=1.5e-3)


def test_mask_orders_carry_the_light_that_the_mask_transmits():
    grating = mask.piecewise(600.0, [(10.0, 200.0, 0.3j), (250.0, 100.0, -0.5)], background=0.8, highest=4000)
    transmitted = (200 * 0.09 + 100 * 0.25 + 300 * 0.64) / 600
    assert float(np.sum(np.abs(grating.orders) ** 2)) == pytest.approx(transmitted, rel=2e-4)


def test_mean_intensity_is_the_light_in_the_orders_that_pass():
    series = image_of(lines(duty=0.3), source.coherent())
    passed = 0.7**2 + 2 * (0.3 * np.sinc(0.3)) ** 2
    assert float(np.real(series[0])) == pytest.approx(passed, rel=1e-12)


def test_a_mask_shifted_sideways_shifts_its_image_alike():
    grating = mask.piecewise(PITCH, [(40.0, 200.0, 0.0)], background=1.0, highest=2)
    series = image_of(grating, source.conventional(0.4))
    left, right = cd.edges(series, PITCH, 0.3)
    assert float(left + right) / 2 == pytest.approx(40.0, abs=1e-9)


def test_open_frame_has_unit_intensity_for_every_source():
    clear = Grating(PITCH, np.array([0j, 1.0, 0j]))
    for light in (
        source.conventional(0.7),
        source.annular(0.5, 0.8),
        source.dipole(0.6, 0.9, 40.0),
        source.quadrupole(0.6, 0.9, 30.0),
    ):
        assert float(np.real(image_of(clear, light)[0])) == pytest.approx(1.0, rel=1e-12)


def test_babinet_dark_lines_and_bright_lines_share_all_but_the_zero_order():
    dark = mask.line_space(PITCH, 180.0, highest=3)
    bright = mask.line_space(PITCH, 180.0, line_amplitude=1.0, space_amplitude=0.0, highest=3)
    total = dark.orders + bright.orders
    assert np.allclose(total, [0, 0, 0, 1, 0, 0, 0], atol=1e-15)


def test_flare_keeps_the_mean_and_takes_its_part_of_the_modulation():
    series = image_of(lines(), source.coherent())
    spoiled = imaging.flared(series, 0.1)
    assert float(np.real(spoiled[0])) == pytest.approx(float(np.real(series[0])))
    mean = float(np.real(series[0]))
    for x in (0.0, 90.0, 250.0):
        assert at(spoiled, x) == pytest.approx(0.9 * at(series, x) + 0.1 * mean, rel=1e-12)


def test_blur_is_a_convolution_with_a_gaussian():
    series = image_of(lines(duty=0.4), source.conventional(0.3))
    sigma, x = 35.0, 77.0
    step = np.linspace(-8 * sigma, 8 * sigma, 4001)
    kernel = np.exp(-(step**2) / (2 * sigma**2))
    expected = np.sum(kernel * imaging.intensity(series, PITCH, x - step)) / kernel.sum()
    assert at(imaging.blurred(series, PITCH, sigma), x) == pytest.approx(expected, rel=1e-9)


def test_slope_is_the_derivative_of_the_intensity_and_sampled_is_the_intensity():
    series = image_of(lines(duty=0.3), source.conventional(0.5), Lens(0.6, 193.0, zernikes=((7, 0.05),)))
    x = np.array([-60.0, 11.0, 140.0])
    centred = (imaging.intensity(series, PITCH, x + 1e-3) - imaging.intensity(series, PITCH, x - 1e-3)) / 2e-3
    assert np.allclose(imaging.slope(series, PITCH, x), centred, rtol=1e-6)
    assert np.allclose(imaging.sampled(series, PITCH, x), imaging.intensity(series, PITCH, x), atol=1e-14)


def test_line_width_at_a_threshold_solves_the_three_beam_equation():
    series = image_of(lines(), source.coherent())
    for level in (0.1, 0.25, 0.6):
        width = PITCH / math.pi * math.acos((0.5 - math.sqrt(level)) * math.pi / 2)
        assert float(cd.critical_dimension(series, PITCH, level)) == pytest.approx(width, abs=1e-9)
        bright = cd.critical_dimension(
            image_of(
                mask.line_space(PITCH, 250.0, line_amplitude=1.0, space_amplitude=0.0, highest=1), source.coherent()
            ),
            PITCH,
            level,
            bright=True,
        )
        assert float(bright) == pytest.approx(PITCH - width, abs=1e-9)


def test_no_width_is_reported_where_the_line_is_washed_away_or_never_clears():
    series = image_of(lines(), source.coherent())
    assert math.isnan(float(cd.critical_dimension(series, PITCH, 0.01)))
    assert math.isnan(float(cd.critical_dimension(series, PITCH, 1.5)))
    assert math.isnan(float(cd.critical_dimension(series, PITCH, 0.5, bright=True)))


def test_width_falls_with_dose_by_twice_the_width_over_the_log_slope():
    series = image_of(lines(duty=0.45), source.annular(0.3, 0.7))
    level, step = 0.28, 1e-4
    widths = cd.critical_dimension(series[None, :], PITCH, level / np.array([1 - step, 1.0, 1 + step]))
    _, right = cd.edges(series, PITCH, level)
    nils = cd.normalised_log_slope(series, PITCH, right, float(widths[1]))
    assert (widths[2] - widths[0]) / (2 * step) == pytest.approx(-2 * widths[1] / nils, rel=1e-5)


def test_focus_and_threshold_broadcast_to_a_matrix():
    series = image_of(lines(duty=0.4), source.conventional(0.5), defocus=np.array([0.0, 100.0, 200.0]))
    matrix = cd.critical_dimension(series[:, None, :], PITCH, np.array([0.25, 0.3]))
    assert matrix.shape == (3, 2)
    assert matrix[2, 1] == pytest.approx(float(cd.critical_dimension(series[2], PITCH, 0.3)), rel=1e-12)


def test_focus_monitor_line_moves_oddly_in_defocus_and_its_neighbour_the_other_way():
    period = 4 * 193.0 / 0.6
    grating = mask.phase_shift_focus_monitor(period, 160.0, highest=imaging.highest_order(period, LENS, 0.3))
    series = image_of(grating, source.conventional(0.3), defocus=np.array([-50.0, 0.0, 50.0]))
    left, right = cd.edges(series, period, 0.3)
    shift = (left + right) / 2
    assert shift[1] == pytest.approx(0.0, abs=1e-9)
    assert shift[2] == pytest.approx(-shift[0], rel=1e-9)
    assert abs(shift[2]) > 1.0
    harmonics = np.arange(series.shape[-1])
    neighbour = series * (-1.0) ** harmonics
    other = sum(cd.edges(neighbour, period, 0.3)) / 2
    assert np.allclose(other, -shift, atol=1e-9)


def test_focus_monitor_moves_towards_the_leading_side_when_the_wafer_lies_beyond_focus():
    """Two half-planes in phase quadrature: light diffracted at the step interferes constructively on one side only."""
    grating = Grating(1000.0, np.array([1j * 0.2, 1.0, -1j * 0.2]) * (1 + 0j))
    series = image_of(grating, source.coherent(), defocus=np.array([0.0, 200.0]))
    phase = 2 * math.pi * 200.0 / 193.0 * (1 - math.sqrt(1 - 0.193**2))
    # The field is 1 + 0.4 sin(2πx/P) exp(−iφ): the intensity holds 0.8 cos φ sin(…), in quadrature sin φ.
    assert float(np.imag(series[1, 1])) == pytest.approx(-0.4 * math.cos(phase), rel=1e-9)
    turned = Grating(1000.0, np.array([-0.2, 1.0, 0.2]) * (1 + 0j))
    quadrature = image_of(turned, source.coherent(), defocus=np.array([0.0, 200.0]))
    assert abs(quadrature[0, 1]) == pytest.approx(0.0, abs=1e-12)
    assert float(np.imag(quadrature[1, 1])) == pytest.approx(-0.4 * math.sin(phase), rel=1e-9)


def test_focus_monitor_sides_are_in_quadrature_unless_told_otherwise():
    orders = mask.phase_shift_focus_monitor(1000.0, 200.0, highest=1).orders
    assert abs(orders[1]) ** 2 == pytest.approx(2 * 0.3**2, rel=1e-12)
    opposite = mask.phase_shift_focus_monitor(1000.0, 200.0, phase_deg=180.0, highest=1).orders
    assert abs(opposite[1]) == pytest.approx(0.0, abs=1e-12)


def test_fringe_polynomials_have_their_values_at_the_centre_and_the_edge():
    x, y = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    table = {
        2: (0, 1, 0),
        3: (0, 0, 1),
        4: (-1, 1, 1),
        5: (0, 1, -1),
        6: (0, 0, 0),
        7: (0, 1, 0),
        8: (0, 0, 1),
        9: (1, 1, 1),
    }
    for term, values in table.items():
        assert wavefront(x, y, Lens(0.6, 193.0, zernikes=((term, 0.5),))) == pytest.approx(0.5 * np.array(values))


def test_masks_and_lenses_that_cannot_be_are_refused():
    with pytest.raises(LabkitError, match="line of 500"):
        mask.line_space(PITCH, 500.0, highest=1)
    with pytest.raises(LabkitError, match="do not fit"):
        mask.piecewise(100.0, [(0.0, 101.0, 1.0)], background=0.0, highest=1)
    with pytest.raises(LabkitError, match="numerical aperture"):
        Lens(1.1, 193.0)
    with pytest.raises(LabkitError, match="Zernike"):
        Lens(0.5, 193.0, zernikes=((10, 0.1),))
