"""The Student-t process against conjugate closed forms and textbook geometry."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest

from labkit.numerics.student_process import predictive, squared_exponential

SETTINGS = {"lengthscale": 0.5, "bias_ratio": 3.0, "function_ratio": 1.0, "prior_scale": 0.2, "prior_dof": 4.0}


def test_squared_exponential_is_one_at_zero_and_exp_minus_half_at_one_length() -> None:
    found = squared_exponential(np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [0.3, 0.4], [1.0, 0.0]]), 0.5)
    assert found[0] == pytest.approx([1.0, 0.60653066, 0.13533528], rel=1e-7)


def test_bias_alone_is_the_conjugate_normal_inverse_gamma_model() -> None:
    """Murphy, Conjugate Bayesian analysis of the Gaussian distribution (2007), eqs. 85 to 89 and 110."""
    y = np.array([1.3, 0.7, 1.1, 1.9, 1.4])
    kappa0, alpha0, beta0 = 1.0 / 9.0, 2.0, 2.0 * 0.04
    kappa, alpha = kappa0 + 5.0, alpha0 + 2.5
    beta = beta0 + 0.5 * ((y - y.mean()) ** 2).sum() + kappa0 * 5.0 * y.mean() ** 2 / (2.0 * kappa)
    mean, scale, dof = predictive(np.zeros((5, 1)), y, np.zeros((1, 1)), **{**SETTINGS, "function_ratio": 0.0})
    assert dof == 2.0 * alpha
    assert mean[0] == pytest.approx(5.0 * y.mean() / kappa, rel=1e-12)
    assert scale[0] == pytest.approx((beta * (kappa + 1.0) / (alpha * kappa)) ** 0.5, rel=1e-12)


def test_vague_bias_gives_the_prediction_interval_of_a_sample_mean() -> None:
    y = np.array([1.3, 0.7, 1.1, 1.9, 1.4, 0.8])
    vague = {**SETTINGS, "function_ratio": 0.0, "bias_ratio": 1e4, "prior_dof": 1e-9}
    mean, scale, dof = predictive(np.zeros((6, 1)), y, np.zeros((1, 1)), **vague)
    assert mean[0] == pytest.approx(1.2, rel=1e-6)
    assert scale[0] ** 2 * dof / 5.0 == pytest.approx(y.var(ddof=1) * (1.0 + 1.0 / 6.0), rel=1e-5)


def test_without_data_the_scale_is_the_sum_of_the_prior_variances() -> None:
    mean, scale, dof = predictive(np.zeros((0, 1)), np.zeros(0), np.zeros((1, 1)), **SETTINGS)
    assert (float(mean[0]), dof) == (0.0, 4.0)
    assert scale[0] == pytest.approx(0.2 * 11.0**0.5)


def test_far_from_the_data_only_the_bias_is_remembered() -> None:
    x, y = np.zeros((40, 1)), np.full(40, 0.6)
    near, near_scale, _ = predictive(x, y, np.array([[0.0]]), **SETTINGS)
    far, far_scale, _ = predictive(x, y, np.array([[50.0]]), **SETTINGS)
    assert near[0] == pytest.approx(0.6, rel=0.01)
    assert far[0] == pytest.approx(0.6 * 9.0 / 10.0, rel=0.01)
    assert far_scale[0] > 1.3 * near_scale[0]


def test_a_smooth_function_is_learned() -> None:
    x = np.linspace(0.0, 1.0, 60)[:, None]
    y = 0.3 * np.sin(4.0 * x[:, 0])
    mean, _, _ = predictive(x, y, np.array([[0.37]]), **SETTINGS)
    assert mean[0] == pytest.approx(0.3 * np.sin(4.0 * 0.37), abs=0.05)


def test_any_array_library_gives_the_same_answer() -> None:
    x, y, q = np.array([[0.0], [0.4], [0.9]]), np.array([0.1, 0.3, -0.2]), np.array([[0.2], [2.0]])
    expected = predictive(x, y, q, **SETTINGS)
    found = predictive(strict.asarray(x), strict.asarray(y), strict.asarray(q), **SETTINGS)
    assert np.asarray(found[0]) == pytest.approx(expected[0], rel=1e-12)
    assert np.asarray(found[1]) == pytest.approx(expected[1], rel=1e-12)


@pytest.mark.parametrize(("bias", "function"), [(0.5, 2.0), (2.0, 0.5)])
def test_prediction_is_the_conditional_of_the_joint_distribution(bias: float, function: float) -> None:
    """Two observations of one value, two-by-two algebra by hand: b + f has variance b² + f² where inputs agree."""
    shared = bias**2 + function**2
    settings = {**SETTINGS, "bias_ratio": bias, "function_ratio": function}
    mean, scale, dof = predictive(np.zeros((1, 1)), np.array([0.7]), np.zeros((1, 1)), **settings)
    assert mean[0] == pytest.approx(0.7 * shared / (shared + 1.0), rel=1e-12)
    variance = (4.0 * 0.2**2 + 0.7**2 / (shared + 1.0)) / 5.0
    assert scale[0] == pytest.approx((variance * (1.0 + shared - shared**2 / (shared + 1.0))) ** 0.5, rel=1e-12)
    assert dof == 5.0
    empty = predictive(np.zeros((0, 1)), np.zeros(0), np.zeros((1, 1)), **settings)
    assert empty[1][0] == pytest.approx(0.2 * (1.0 + bias * bias + function * function) ** 0.5, rel=1e-12)


@pytest.mark.parametrize(("bias", "function"), [(0.5, 2.0), (2.0, 0.5)])
def test_distant_data_share_the_bias_alone(bias: float, function: float) -> None:
    settings = {**SETTINGS, "bias_ratio": bias, "function_ratio": function}
    mean, _, _ = predictive(np.zeros((1, 1)), np.array([0.7]), np.full((1, 1), 99.0), **settings)
    assert mean[0] == pytest.approx(0.7 * bias * bias / (bias * bias + function * function + 1.0), rel=1e-12)
