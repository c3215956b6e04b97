"""Diffusion between wafers: Bessel functions, the disc's own differential equation, and both limits of Thiele."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest
from scipy.special import i0e, i1e

from labkit.processes.cvd.wafer_stack import (
    bessel_i0_scaled,
    bessel_i1_scaled,
    effectiveness,
    radial_profile,
    thiele_modulus,
)

X = np.concatenate([[0.0, 1e-9], np.linspace(0.01, 60.0, 400), [14.999, 15.001, 200.0, 1e4]])


def test_bessel_functions_agree_with_an_independent_library() -> None:
    assert bessel_i0_scaled(X) == pytest.approx(i0e(X), rel=1e-10)
    assert bessel_i1_scaled(X) == pytest.approx(i1e(X), rel=1e-10, abs=1e-300)


def test_bessel_functions_agree_with_the_printed_tables() -> None:
    one = np.array([1.0, 2.0])
    assert bessel_i0_scaled(one) * np.exp(one) == pytest.approx([1.2660658778, 2.2795853023], rel=1e-10)
    assert bessel_i1_scaled(one) * np.exp(one) == pytest.approx([0.5651591040, 1.5906368546], rel=1e-10)


def test_small_modulus_is_uniform_and_effective() -> None:
    modulus = np.array([0.0, 0.05])
    assert effectiveness(modulus) == pytest.approx([1.0, 1.0 - 0.05**2 / 8.0], abs=1e-6)
    assert radial_profile(np.array([0.0]), np.linspace(0, 1, 5)) == pytest.approx(np.ones(5))


def test_large_modulus_deposits_at_the_edge_only() -> None:
    assert float(effectiveness(np.array(200.0))) == pytest.approx(2.0 / 200.0, rel=5e-3)
    profile = radial_profile(np.array(50.0), np.array([0.0, 0.5, 0.9, 1.0]))
    assert profile[-1] == 1.0
    assert profile[0] < 1e-15
    assert profile[2] == pytest.approx(np.exp(-5.0) / np.sqrt(0.9), rel=0.01)


def test_effectiveness_is_the_mean_of_the_profile_over_the_disc() -> None:
    radius = (np.arange(4000) + 0.5) / 4000
    for modulus in (0.3, 1.0, 4.0):
        mean = np.mean(2.0 * radius * radial_profile(np.array(modulus), radius))
        assert float(effectiveness(np.array(modulus))) == pytest.approx(mean, rel=1e-6)


def test_profile_solves_the_balance_in_a_gap_between_two_reacting_faces() -> None:
    radius, gap, diffusivity, reaction, cells = 0.075, 0.0088, 0.13, 2.5, 400
    edges = np.linspace(0.0, radius, cells + 1)
    step = edges[1]
    matrix = np.zeros((cells, cells))
    source = np.zeros(cells)
    for i in range(cells):
        volume = np.pi * (edges[i + 1] ** 2 - edges[i] ** 2)
        matrix[i, i] -= 2.0 * reaction * volume
        for j, edge in ((i - 1, edges[i]), (i + 1, edges[i + 1])):
            exchange = diffusivity * gap * 2.0 * np.pi * edge / step
            if j == cells:
                matrix[i, i] -= 2.0 * exchange
                source[i] -= 2.0 * exchange
            elif j >= 0:
                matrix[i, i] -= exchange
                matrix[i, j] += exchange
    solved = np.linalg.solve(matrix, source)
    modulus = thiele_modulus(np.array(reaction), radius, np.array(diffusivity), gap)
    centres = 0.5 * (edges[1:] + edges[:-1]) / radius
    assert radial_profile(modulus, centres) == pytest.approx(solved, rel=2e-4)


def test_kernels_run_on_any_array_library() -> None:
    modulus = array_api_strict.asarray([0.0, 0.5, 30.0])
    assert np.asarray(effectiveness(modulus)) == pytest.approx(effectiveness(np.array([0.0, 0.5, 30.0])))
