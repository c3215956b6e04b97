"""Diagnosis by fault signature on synthetic tools: levels, confusion, unknown directions, collinear faults."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from labkit.control.baseline import Baseline
from labkit.control.diagnosis import Diagnosis, diagnose
from labkit.core.errors import LabkitError

NAMES = ("rate", "uniformity", "index", "stress", "particles")
SIGMA = np.array([0.01, 0.2, 0.003, 5.0, 1.0])
ORTHOGONAL = {"flow": (1, 0, 0, 0, 0), "heat": (0, 1, 0, 0, 0), "leak": (0, 0, 1, 0, 0), "tilt": (0, 0, 0, 1, 0)}
OVERLAPPING = {
    "flow": (-1, -0.2, 0.5, 0, 0),
    "heat": (0.9, 0.4, 0, 0.6, 0),
    "leak": (0, 0, 0.8, 0, 1),
    "tilt": (0, 0.1, 0, 1, -0.2),
}
STRANGE = (0.2, 1, -0.3, -0.5, 0.6)


def _signatures(units: dict[str, tuple[float, ...]]) -> dict[str, dict[str, float]]:
    return {fault: dict(zip(NAMES, SIGMA * np.array(v, dtype=float), strict=True)) for fault, v in units.items()}


def _runs(z: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip(NAMES, SIGMA * row, strict=True)) for row in z]


def _verdicts(
    direction: tuple[float, ...],
    amplitude: float,
    *,
    signatures: dict[str, tuple[float, ...]] = OVERLAPPING,
    shape: str = "step",
    runs: int = 8,
    qualification: int = 10,
    correlation: float = 0.3,
    trials: int = 60,
    level: float = 0.01,
    missing: float = 0.0,
) -> list[Diagnosis]:
    rng = np.random.default_rng(int(10 * amplitude) + runs + qualification)
    root = np.linalg.cholesky((1 - correlation) * np.eye(5) + correlation)
    growth = np.ones(runs) if shape == "step" else np.arange(1, runs + 1) / runs
    found = []
    for _ in range(trials):
        healthy = SIGMA * (rng.normal(size=(qualification, 5)) @ root.T)
        baseline = Baseline.qualify(
            {n: healthy[:, j].tolist() for j, n in enumerate(NAMES)}, dict(zip(NAMES, SIGMA, strict=True))
        )
        z = rng.normal(size=(runs, 5)) @ root.T + amplitude * np.outer(growth, direction)
        z[rng.random(z.shape) < missing] = np.nan
        found.append(diagnose(_runs(z), _signatures(signatures), baseline, level=level))
    return found


def _long_baseline() -> Baseline:
    return Baseline(NAMES, (0.0,) * 5, tuple(SIGMA), (1000,) * 5, (1000.0,) * 5, tuple(map(tuple, np.eye(5).tolist())))


@pytest.mark.parametrize(
    ("qualification", "correlation", "runs"), [(5, 0.0, 6), (10, 0.5, 1), (20, 0.0, 10), (60, 0.0, 20)]
)
def test_healthy_tools_are_called_faulty_no_more_often_than_stated(
    qualification: int, correlation: float, runs: int
) -> None:
    trials, level = 300, 0.05
    found = _verdicts(
        (0,) * 5, 0.0, qualification=qualification, correlation=correlation, runs=runs, trials=trials, level=level
    )
    wrong = sum(d.verdict != "healthy" for d in found)
    assert wrong <= trials * level + 2.6 * np.sqrt(trials * level)


def test_level_is_used_up_when_the_baseline_is_known() -> None:
    rng, wrong, trials = np.random.default_rng(0), 0, 600
    for _ in range(trials):
        found = diagnose(_runs(rng.normal(size=(4, 5))), _signatures(ORTHOGONAL), _long_baseline(), level=0.2)
        wrong += found.verdict != "healthy"
    assert 0.06 * trials < wrong < 0.2 * trials + 3.0 * np.sqrt(0.2 * trials)


@pytest.mark.parametrize("signatures", [ORTHOGONAL, OVERLAPPING])
@pytest.mark.parametrize("shape", ["step", "drift"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_confusion_matrix_is_diagonal_for_clear_faults(
    signatures: dict[str, tuple[float, ...]], shape: str, sign: float
) -> None:
    for fault, direction in signatures.items():
        found = _verdicts(tuple(sign * v for v in direction), 8.0, signatures=signatures, shape=shape, trials=25)
        counts = Counter(d.verdict for d in found)
        assert counts[fault] >= 24, counts
        amplitudes = [d.candidates[0].amplitude for d in found]
        assert np.mean(amplitudes) == pytest.approx(8.0 * sign, rel=0.15)


@pytest.mark.parametrize("amplitude", [6.0, 40.0])
def test_a_direction_that_no_signature_explains_is_unknown(amplitude: float) -> None:
    found = _verdicts(STRANGE, amplitude, trials=40)
    assert Counter(d.verdict for d in found)["unknown"] >= 39
    assert found[0].faults == ()


def test_two_faults_at_once_are_not_pinned_on_one() -> None:
    both = tuple(a + b for a, b in zip(ORTHOGONAL["flow"], ORTHOGONAL["heat"], strict=True))
    assert all(d.verdict == "unknown" for d in _verdicts(both, 10.0, signatures=ORTHOGONAL, trials=20))


def test_collinear_signatures_are_ambiguous_and_both_are_named() -> None:
    twins = {**OVERLAPPING, "valve": (-1, -0.17, 0.5, 0, 0)}
    for found in _verdicts(OVERLAPPING["flow"], 10.0, signatures=twins, trials=20):
        assert found.verdict.startswith("ambiguous: ")
        assert set(found.faults) == {"flow", "valve"}


def test_a_signature_wrong_by_ten_percent_is_still_recognised_however_large() -> None:
    bent = tuple(v * f for v, f in zip(OVERLAPPING["flow"], (1.1, 0.9, 0.9, 1, 1), strict=True))
    assert all(d.verdict == "flow" for d in _verdicts(bent, 40.0, trials=20))
    exact = _runs(40.0 * np.outer(np.ones(8), bent))
    rigid = diagnose(exact, _signatures(OVERLAPPING), _long_baseline(), tolerance=0.0)
    assert rigid.verdict == "unknown"


def test_missing_measurements_are_tolerated() -> None:
    assert Counter(d.verdict for d in _verdicts(OVERLAPPING["flow"], 8.0, missing=0.4, trials=30))["flow"] >= 29


def test_an_indicator_never_measured_is_left_out() -> None:
    z = np.outer(np.ones(6), 6.0 * np.array(OVERLAPPING["flow"]))
    z[:, 4] = np.nan
    assert diagnose(_runs(z), _signatures(OVERLAPPING), _long_baseline()).verdict == "flow"


@pytest.mark.parametrize("shape", ["step", "drift"])
def test_shape_is_told_apart(shape: str) -> None:
    found = _verdicts(OVERLAPPING["leak"], 10.0, shape=shape, runs=10, trials=20)
    assert Counter(d.candidates[0].shape for d in found)[shape] >= 19


def test_amplitude_of_a_known_baseline_is_least_squares_with_its_interval() -> None:
    """One indicator, four runs at 2, 3, 2, 3 σ: mean 2.5, standard error sqrt(1/4 + 1/1000), no model error."""
    z = np.zeros((4, 5))
    z[:, 0] = [2.0, 3.0, 2.0, 3.0]
    best = diagnose(_runs(z), _signatures({"flow": (1, 0, 0, 0, 0)}), _long_baseline(), tolerance=0.0).candidates[0]
    assert (best.fault, best.shape) == ("flow", "step")
    assert best.amplitude == pytest.approx(2.5)
    assert best.high - best.amplitude == pytest.approx(1.9623 * np.sqrt(0.251), rel=0.003)
    assert best.low == pytest.approx(2.0 * best.amplitude - best.high)
    assert best.explained == pytest.approx(1.0)


def test_significance_is_student_t_corrected_for_every_test_made() -> None:
    """Student t table: 3.1693 is beyond both 0.5 % tails for 10 degrees of freedom.

    Variance of one run against 9 qualification runs is 1 + 1/9; the estimated correlation of 5 indicators costs
    sqrt(14/10). One fault and one shape make one fault test and one overall test, hence twice the smaller.
    """
    short = Baseline(NAMES, (0.0,) * 5, tuple(SIGMA), (9,) * 5, (10.0,) * 5, tuple(map(tuple, np.eye(5).tolist())))
    z = np.zeros((1, 5))
    z[0, 0] = 3.1693 * (10.0 / 9.0 * 1.4**0.5) ** 0.5
    found = diagnose(_runs(z), _signatures({"flow": (1, 0, 0, 0, 0)}), short)
    assert found.candidates[0].significance == pytest.approx(0.01, rel=1e-3)
    assert found.significance == pytest.approx(0.02, rel=1e-3)


def test_an_exact_signature_leaves_no_misfit_and_a_vague_one_is_believed_less() -> None:
    z = _runs(3.0 * np.outer(np.ones(4), OVERLAPPING["flow"]))
    sharp, vague = (
        next(
            c
            for c in diagnose(z, _signatures(OVERLAPPING), _long_baseline(), tolerance=t).candidates
            if c.fault == "flow"
        )
        for t in (0.0, 3.0)
    )
    assert sharp.misfit == pytest.approx(1.0)
    assert sharp.amplitude == pytest.approx(3.0)
    only = {"flow": _signatures(OVERLAPPING)["flow"]}
    weights = [diagnose(z, only, _long_baseline(), tolerance=t).candidates[0].weight for t in (0.0, 3.0)]
    healthy_odds = [1.0 / weight - 1.0 for weight in weights]
    assert healthy_odds[1] > 2.0 * healthy_odds[0] > 0.0
    assert vague.high - vague.low > sharp.high - sharp.low


def test_interval_covers_the_true_amplitude() -> None:
    found = _verdicts(OVERLAPPING["heat"], 5.0, trials=300, qualification=20)
    hits = sum(next(c.low <= 5.0 <= c.high for c in d.candidates if c.fault == "heat") for d in found)
    assert hits >= 0.92 * 300


def test_one_run_cannot_drift_and_weights_sum_to_one_with_healthy() -> None:
    found = diagnose(_runs(8.0 * np.array([OVERLAPPING["tilt"]])), _signatures(OVERLAPPING), _long_baseline())
    assert {c.shape for c in found.candidates} == {"step"}
    assert found.verdict == "tilt"
    weights = [c.weight for c in found.candidates]
    assert weights == sorted(weights, reverse=True)
    assert 0.99 < sum(weights) <= 1.0
    healthy = diagnose(_runs(np.zeros((1, 5))), _signatures(OVERLAPPING), _long_baseline())
    assert healthy.verdict == "healthy"
    assert sum(c.weight for c in healthy.candidates) < 0.7


def test_a_baseline_of_few_runs_makes_the_same_departure_less_significant() -> None:
    z = _runs(np.outer(np.ones(30), 1.2 * np.array(ORTHOGONAL["flow"])))
    short = Baseline(NAMES, (0.0,) * 5, tuple(SIGMA), (4,) * 5, (5.0,) * 5, tuple(map(tuple, np.eye(5).tolist())))
    assert diagnose(z, _signatures(ORTHOGONAL), _long_baseline()).verdict == "flow"
    assert diagnose(z, _signatures(ORTHOGONAL), short).verdict == "healthy"


def test_faults_that_move_nothing_are_named_undetectable() -> None:
    found = diagnose(_runs(np.zeros((2, 5))), _signatures({**ORTHOGONAL, "clock": (0, 0, 0, 0, 0)}), _long_baseline())
    assert found.undetectable == ("clock",)
    assert {c.fault for c in found.candidates} == set(ORTHOGONAL)


def test_no_signatures_at_all_leave_only_unknown() -> None:
    assert diagnose(_runs(np.full((5, 5), 6.0)), {}, _long_baseline()).verdict == "unknown"


def test_nothing_measured_and_broken_signatures_are_refused() -> None:
    with pytest.raises(LabkitError, match="nothing to diagnose"):
        diagnose([], {}, _long_baseline())
    with pytest.raises(LabkitError, match="nothing to diagnose"):
        diagnose([{"rate": float("nan")}], {}, _long_baseline())
    with pytest.raises(LabkitError, match="'flow' is not finite"):
        diagnose([{"rate": 0.0}], {"flow": {"rate": float("inf")}}, _long_baseline())
