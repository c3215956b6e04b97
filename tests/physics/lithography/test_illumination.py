"""Sources: exact areas, centroids, symmetry, and the convergence of images in their sampling."""

import math

import numpy as np
import pytest

from labkit.core.errors import LabkitError
from labkit.processes.lithography import imaging, mask, source
from labkit.processes.lithography.pupil import Lens, aperture

SHAPES = {
    "conventional": lambda cell: source.conventional(0.7, cell=cell),
    "annular": lambda cell: source.annular(0.5, 0.8, cell=cell),
    "dipole": lambda cell: source.dipole(0.6, 0.9, 40.0, cell=cell),
    "quadrupole": lambda cell: source.quadrupole(0.6, 0.9, 40.0, cell=cell),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_add_to_one_and_points_are_symmetric(shape):
    light = SHAPES[shape](0.06)
    assert float(np.sum(light.weight)) == pytest.approx(1.0, rel=1e-13)
    for moment in (light.x, light.y, light.x * light.y, light.x**3):
        assert float(np.sum(light.weight * moment)) == pytest.approx(0.0, abs=1e-13)
    assert not np.any(light.y == 0.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_cells_tile_the_area_of_the_source(shape):
    area = {
        "conventional": math.pi * 0.49,
        "annular": math.pi * (0.64 - 0.25),
        "dipole": math.pi * (0.81 - 0.36) * 80 / 360,
        "quadrupole": math.pi * (0.81 - 0.36) * 160 / 360,
    }[shape]
    light = SHAPES[shape](0.06)
    assert float(np.sum(light.size**2)) == pytest.approx(area, rel=1e-12)
    assert float(np.max(light.size)) < 0.09


def test_second_moment_converges_to_that_of_a_disc_in_second_order():
    exact = 0.7**2 / 2
    errors = []
    for cell in (0.07, 0.035):
        light = source.conventional(0.7, cell=cell)
        errors.append(abs(float(np.sum(light.weight * (light.x**2 + light.y**2))) - exact))
    assert math.log2(errors[0] / errors[1]) > 1.8


def test_first_moment_of_a_pole_is_exact():
    light = source.dipole(0.6, 0.9, 40.0, cell=0.1)
    right = light.x > 0
    centroid = float(np.sum(light.weight[right] * light.x[right]) / np.sum(light.weight[right]))
    half = math.radians(20)
    assert centroid == pytest.approx(2 / 3 * (0.9**3 - 0.6**3) / (0.9**2 - 0.6**2) * math.sin(half) / half, rel=1e-12)


def test_dipole_lies_on_the_x_axis_and_quadrupole_on_the_diagonals():
    pair, four = SHAPES["dipole"](0.05), SHAPES["quadrupole"](0.05)
    assert float(np.max(np.abs(np.arctan2(pair.y, np.abs(pair.x))))) < math.radians(20)
    turn = np.arctan2(np.abs(four.y), np.abs(four.x))
    assert float(np.min(turn)) > math.radians(25)
    assert float(np.max(turn)) < math.radians(65)


def test_upper_half_gives_the_same_image():
    lens, light = Lens(0.75, 193.0), source.annular(0.5, 0.8)
    grating = mask.line_space(240.0, 100.0, highest=imaging.highest_order(240.0, lens, light.sigma))
    half = source.upper_half(light)
    assert half.x.shape[0] * 2 == light.x.shape[0]
    assert np.allclose(
        imaging.image_series(grating, half, lens, 120.0), imaging.image_series(grating, light, lens, 120.0)
    )


def overlap(separation, radius):
    """Area common to a disc of *radius* and a unit disc whose centres are *separation* apart."""
    d, r = separation, radius
    first = r * r * math.acos((d * d + r * r - 1) / (2 * d * r))
    second = math.acos((d * d + 1 - r * r) / (2 * d))
    return first + second - 0.5 * math.sqrt((-d + r + 1) * (d + r - 1) * (d - r + 1) * (d + r + 1))


def test_default_sampling_meets_the_exact_transmission_cross_coefficient():
    sigma, pitch, na, wavelength = 0.6, 240.0, 0.75, 193.0
    grating = mask.line_space(pitch, 120.0, highest=1)
    series = imaging.image_series(grating, source.conventional(sigma), Lens(na, wavelength))
    exact = overlap(wavelength / (na * pitch), sigma) / (math.pi * sigma**2)
    assert float(np.real(series[1])) == pytest.approx(-2 * 0.5 / math.pi * exact, rel=1e-3)


def test_image_converges_in_source_sampling_faster_than_first_order():
    sigma, pitch, lens = 0.6, 240.0, Lens(0.75, 193.0)
    exact = overlap(193.0 / (0.75 * pitch), sigma) / (math.pi * sigma**2)
    grating = mask.line_space(pitch, 120.0, highest=1)
    cells = np.array([0.2, 0.15, 0.1, 0.08, 0.05, 0.04, 0.02, 0.015])
    errors = np.array(
        [
            abs(
                -math.pi * float(np.real(imaging.image_series(grating, source.conventional(sigma, cell=c), lens)[1]))
                - exact
            )
            for c in cells
        ]
    )
    order = np.polyfit(np.log(cells), np.log(np.maximum(errors, 1e-9)), 1)[0]
    assert order > 1.2


def test_a_cell_on_the_edge_of_the_aperture_counts_by_half_and_a_point_counts_whole():
    lens = Lens(0.6, 193.0)
    fx = np.array([0.946, 0.975, 1.0, 1.025, 1.054]) * lens.cutoff
    fy = np.zeros(5)
    assert np.allclose(aperture(fx, fy, lens, 0.1), [1.0, 0.75, 0.5, 0.25, 0.0])
    assert np.allclose(aperture(fx, fy, lens), [1.0, 1.0, 1.0, 0.0, 0.0])


def test_sources_that_cannot_be_are_refused():
    for call in (
        lambda: source.annular(0.8, 0.5),
        lambda: source.conventional(0.5, cell=0.0),
        lambda: source.points([]),
        lambda: source.dipole(0.5, 0.8, 181.0),
        lambda: source.quadrupole(0.5, 0.8, 91.0),
    ):
        with pytest.raises(LabkitError):
            call()
