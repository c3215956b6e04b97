import math

import numpy as np
import pytest
from scipy.special import polygamma

from labkit.control.baseline import Baseline
from labkit.control.moderation import FEWEST_INDICATORS, LONE_DOF, MOST_DOF, _inverse_trigamma, declaration_dof


@pytest.mark.parametrize("x", [0.1, 0.7, 1.0, 3.0, 30.0])
def test_the_inverse_of_trigamma_is_its_inverse(x):
    assert _inverse_trigamma(float(polygamma(1, x))) == pytest.approx(x, rel=1e-7)


def test_trigamma_of_one_is_pi_squared_over_six():
    assert _inverse_trigamma(math.pi**2 / 6) == pytest.approx(1.0, rel=1e-8)


def test_few_indicators_leave_each_declaration_on_its_own():
    assert declaration_dof([1.0] * (FEWEST_INDICATORS - 1), [9.0] * 3, [1.0] * 3) == LONE_DOF


def test_declarations_that_are_right_earn_the_most_that_can_be_earned():
    rng = np.random.default_rng(5)
    declared = rng.uniform(0.01, 10.0, 14) ** 2
    dofs = [declaration_dof(declared * rng.chisquare(9, 14) / 9, [9.0] * 14, declared) for _ in range(200)]
    assert np.median(dofs) == MOST_DOF
    assert max(dofs) <= MOST_DOF


def test_a_common_factor_does_not_cost_the_declarations_their_weight():
    rng = np.random.default_rng(5)
    measured = rng.chisquare(9, 14) / 9
    dofs = [declaration_dof(factor * measured, [9.0] * 14, np.ones(14)) for factor in (0.25, 1.0, 4.0)]
    assert dofs == pytest.approx([dofs[0]] * 3)


def test_declarations_that_are_each_wrong_in_their_own_way_count_for_little():
    rng = np.random.default_rng(6)
    dofs = []
    for _ in range(200):
        truth = np.exp(rng.normal(0.0, 1.5, 14))
        dofs.append(declaration_dof(truth * rng.chisquare(9, 14) / 9, [9.0] * 14, np.ones(14)))
    assert np.median(dofs) < 2.0


def test_known_prior_degrees_of_freedom_are_recovered():
    rng = np.random.default_rng(7)
    truth, count = 6.0, 4000
    variances = truth / rng.chisquare(truth, count)
    dof = declaration_dof(variances * rng.chisquare(9, count) / 9, [9.0] * count, np.ones(count))
    assert dof == pytest.approx(truth, rel=0.15)


def test_a_stuck_indicator_does_not_break_the_others():
    assert declaration_dof([0.0, 1.0, 1.1, 0.9, 1.0], [9.0] * 5, [1.0] * 5) == MOST_DOF


@pytest.mark.parametrize("runs", [5, 10])
def test_charts_on_correlated_indicators_alarm_no_more_often_than_stated(runs):
    rng = np.random.default_rng(8)
    count, trials, stated = 8, 1500, 0.01
    mix = np.linalg.cholesky(0.8 * np.ones((count, count)) + 0.2 * np.eye(count))
    names = [f"i{k}" for k in range(count)]
    alarms = 0
    for _ in range(trials):
        table = rng.normal(size=(runs + 1, count)) @ mix.T
        baseline = Baseline.qualify({n: list(table[:-1, k]) for k, n in enumerate(names)}, dict.fromkeys(names, 1.0))
        z = baseline.standardised({n: table[-1, k] for k, n in enumerate(names)})
        alarms += sum(abs(z[n]) > baseline.shewhart_width(n, stated) for n in names)
    assert alarms / (trials * count) < stated + 3.0 * math.sqrt(stated / trials)
