"""What declarations are worth, from variances whose digamma and trigamma functions are known in closed form.

ψ(1/2) = -γ - 2 ln 2, ψ(1) = -γ, ψ(2) = 1 - γ; ψ′(1/2) = π²/2, ψ′(1) = π²/6, ψ′(2) = π²/6 - 1 (Abramowitz & Stegun
6.3.2, 6.3.3, 6.4.2).
"""

import math

import numpy as np
import pytest

from labkit.control.baseline import Baseline
from labkit.control.moderation import declaration_dof

GAMMA = 0.57721566490153286
CENTRED = {1: -GAMMA - 2.0 * math.log(2.0) + math.log(2.0), 2: -GAMMA, 4: 1.0 - GAMMA - math.log(2.0)}
"""ψ(d/2) - ln(d/2) by degrees of freedom d: the mean logarithm of s²/σ²."""
SPREAD = {1: math.pi**2 / 2.0, 2: math.pi**2 / 6.0, 4: math.pi**2 / 6.0 - 1.0}
"""ψ′(d/2): the variance of that logarithm."""
DOF = (1, 2, 4, 1, 2, 4, 1, 4)
DECLARED = (0.3, 2.0, 5.0, 0.01, 1.0, 7.0, 0.5, 40.0)


def variances(worth: int) -> list[float]:
    """Variances of which the declared ones are worth *worth* degrees of freedom: ln(s²/v) departs from its mean by ±a,
    with a chosen so that the excess of its variance is ψ′(worth/2)."""
    wanted = np.mean([SPREAD[d] for d in DOF]) + SPREAD[worth]
    half = math.sqrt(wanted * (len(DOF) - 1) / len(DOF))
    signs = (1, -1, 1, -1, -1, 1, 1, -1)
    return [v * math.exp(CENTRED[d] + s * half) for v, d, s in zip(DECLARED, DOF, signs, strict=True)]


@pytest.mark.parametrize("worth", [1, 2, 4])
def test_the_worth_of_declarations_solves_the_trigamma_equation_for_unequal_numbers_of_runs(worth):
    assert declaration_dof(variances(worth), DOF, DECLARED) == pytest.approx(worth, rel=1e-9)


@pytest.mark.parametrize("worth", [1, 2, 4])
def test_a_baseline_weighs_its_declarations_by_that_worth(worth):
    residuals, prior = {}, {}
    for number, (d, s2, v) in enumerate(zip(DOF, variances(worth), DECLARED, strict=True)):
        pair = math.sqrt(s2 * d / 2.0)
        runs = [pair, -pair, *[0.0] * (d - 1)]
        residuals[f"i{number}"] = [*runs, *[math.nan] * (5 - len(runs))]
        prior[f"i{number}"] = math.sqrt(v)
    found = Baseline.qualify(residuals, prior)
    assert found.dof == pytest.approx([worth + d for d in DOF], rel=1e-9)
    pooled = [(worth * v + d * s2) / (worth + d) for d, s2, v in zip(DOF, variances(worth), DECLARED, strict=True)]
    assert [s**2 for s in found.sigma] == pytest.approx(pooled, rel=1e-9)
