"""Certified means and standard deviations of NIST StRD."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labkit.numerics.statistics import mean, standard_deviation

# 10000000.2 cannot be stored to better than 1e-9 in binary, which limits NumAcc4 to 8 digits whatever the algorithm.
TOLERANCE = {
    "Lew": 1e-9,
    "Mavro": 1e-9,
    "Michelso": 1e-9,
    "NumAcc1": 1e-12,
    "NumAcc2": 1e-12,
    "NumAcc3": 1e-9,
    "NumAcc4": 2e-8,
}


@pytest.mark.parametrize("name", TOLERANCE)
def test_strd_certified_values_are_reproduced(spc_nist: Path, name: str) -> None:
    head, *rows = (spc_nist / f"nist_strd_{name}.txt").read_text().split("\n")
    certified = re.search(r"mean (\S+) sd (\S+)", head)
    assert certified is not None
    values = [float(r) for r in rows if r.strip()]
    assert mean(values) == pytest.approx(float(certified[1]), rel=1e-14)
    assert standard_deviation(values) == pytest.approx(float(certified[2]), rel=TOLERANCE[name])


def test_a_huge_mean_does_not_drown_the_spread() -> None:
    assert standard_deviation([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]) == pytest.approx(30.0**0.5, rel=1e-12)


def test_too_few_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean([])
    with pytest.raises(ValueError, match="at least 2"):
        standard_deviation([1.0])
