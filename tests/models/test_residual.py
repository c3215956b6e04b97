"""The residual model: honest intervals from no run to many, novelty, storage, speed."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from scipy import stats

from labkit.core.errors import LabkitError
from labkit.core.process import Knob
from labkit.models import residual
from labkit.models.residual import ResidualModel
from labkit.numerics.student_process import predictive

KNOBS = (Knob("temperature", 600.0, 700.0, "degC"), Knob("pressure", 0.1, 10.0, "torr", log=True))


def _coverage(runs: int, seeds: int, sigma_of: float | None, bias: float | None = None) -> float:
    """Share of 95 % intervals that hold the next residual; sigma and bias from the prior where not given."""
    rng = np.random.default_rng(runs)
    hits = 0
    for _ in range(seeds):
        sigma = 0.02 * (np.sqrt(3.0 / rng.chisquare(3.0)) if sigma_of is None else sigma_of)
        offset = rng.normal(0.0, 3.0 * sigma) if bias is None else bias
        y = offset + sigma * rng.normal(size=runs + 1)
        found = ResidualModel.fit(np.zeros((runs, 0)), y[:-1], prior_sigma=0.02).predict(())
        hits += found.low <= y[-1] <= found.high
    return hits / seeds


@pytest.mark.parametrize("runs", [0, 1, 2, 3, 5, 10, 20])
def test_interval_covers_what_it_says_for_any_number_of_runs(runs: int) -> None:
    seeds = 1500
    assert abs(_coverage(runs, seeds, None) - 0.95) < 3.3 * np.sqrt(0.95 * 0.05 / seeds)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_interval_covers_although_the_declared_sigma_is_wrong_by_two(factor: float) -> None:
    assert 0.92 <= _coverage(20, 1500, factor, bias=0.03) <= 0.985


def test_interval_covers_over_knobs_when_the_function_is_of_the_prior() -> None:
    rng = np.random.default_rng(3)
    hits, seeds, n = 0, 600, 12
    for _ in range(seeds):
        u = rng.random((n + 1, 2))
        distance = ((u[:, None] - u[None]) ** 2).sum(-1)
        sigma = 0.02 * np.sqrt(3.0 / rng.chisquare(3.0))
        covariance = 9.0 + np.exp(-distance / 0.5) + np.eye(n + 1)
        y = sigma * np.linalg.cholesky(covariance) @ rng.normal(size=n + 1)
        x = np.stack([600.0 + 100.0 * u[:, 0], 0.1 * 100.0 ** u[:, 1]], axis=1)
        found = ResidualModel.fit(x[:-1], y[:-1], prior_sigma=0.02, knobs=KNOBS).predict(x[-1])
        hits += found.low <= y[-1] <= found.high
    assert abs(hits / seeds - 0.95) < 3.3 * np.sqrt(0.95 * 0.05 / seeds)


def test_first_interval_is_student_with_three_degrees_around_zero() -> None:
    found = ResidualModel.fit([], [], prior_sigma=0.01).predict(())
    assert (found.mean, found.dof, found.covered, found.distance) == (0.0, 3.0, False, None)
    assert found.high == pytest.approx(3.1824463 * 0.01 * 10.0**0.5)
    assert found.low == -found.high


def test_first_interval_over_knobs_adds_a_noise_variance_for_the_function() -> None:
    found = ResidualModel.fit([], [], prior_sigma=0.01, knobs=KNOBS).predict([650.0, 1.0])
    assert found.high == pytest.approx(3.1824463 * 0.01 * 11.0**0.5)


def test_a_run_one_length_away_says_less_than_one_at_the_spot_by_the_correlation() -> None:
    """One run y = 0.1: mean = (9 + ρ)/(9 + 1 + 1) y with ρ = 1 at the spot and exp(−1/2) half a range away."""
    model = ResidualModel.fit([[650.0, 1.0]], [0.1], prior_sigma=0.01, knobs=KNOBS)
    assert model.predict([650.0, 1.0]).mean == pytest.approx(0.1 * 10.0 / 11.0)
    assert model.predict([600.0, 1.0]).mean == pytest.approx(0.1 * 9.60653066 / 11.0)


def test_bias_is_learned_with_its_sign_and_the_interval_shrinks() -> None:
    rng = np.random.default_rng(0)
    y = -0.05 + 0.01 * rng.normal(size=30)
    few, many = (ResidualModel.fit(np.zeros((n, 0)), y[:n], prior_sigma=0.01).predict(()) for n in (2, 30))
    assert many.mean == pytest.approx(-0.05, abs=0.006)
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_novelty_is_distance_to_the_nearest_run_in_half_ranges() -> None:
    model = ResidualModel.fit([[650.0, 1.0]], [0.01], prior_sigma=0.01, knobs=KNOBS)
    inside, edge = model.predict([690.0, 1.0]), model.predict([650.0, 10.0])
    outside = model.predict([705.0, 1.0])
    assert inside.distance == pytest.approx(0.8)
    assert inside.covered
    assert edge.distance == pytest.approx(1.0)
    assert outside.distance == pytest.approx(1.1)
    assert not outside.covered
    assert outside.high - outside.low > inside.high - inside.low > 0.0


def test_only_the_newest_rows_are_kept() -> None:
    model = ResidualModel.fit(np.zeros((250, 0)), [9.0] * 50 + [0.5] * 200, prior_sigma=0.1)
    assert len(model.residuals) == 200
    assert set(model.residuals) == {0.5}


def test_unmeasured_runs_are_dropped() -> None:
    model = ResidualModel.fit([[600.0, 1.0], [610.0, 1.0]], [np.nan, 0.2], prior_sigma=0.1, knobs=KNOBS)
    assert model.inputs == ((610.0, 1.0),)


def test_two_hundred_rows_fit_and_predict_within_milliseconds() -> None:
    rng = np.random.default_rng(1)
    x, y = np.stack([rng.uniform(600, 700, 200), rng.uniform(0.1, 10, 200)], axis=1), rng.normal(size=200)
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        ResidualModel.fit(x, y, prior_sigma=1.0, knobs=KNOBS).predict(x[0])
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.1  # the figure is 5 ms; a busy machine must not fail a test


@pytest.mark.parametrize("runs", [1, 2, 17, 200])
@pytest.mark.parametrize("missing", [False, True])
def test_a_prediction_is_the_student_process_of_the_rows_that_were_measured(runs: int, missing: bool) -> None:
    """Against the kernel itself, which factorises the covariance anew for every indicator."""
    rng = np.random.default_rng(runs)
    x = np.stack([rng.uniform(600, 700, runs), 10.0 ** rng.uniform(-1, 1, runs)], axis=1)
    history, point = tuple(map(tuple, x.tolist())), (655.0, 0.3)
    for sigma in (0.01, 1.0, 30.0):
        y = sigma * (rng.normal(size=runs) + 2.0)
        y[: runs // 3 if missing else 0] = np.nan
        kept = np.isfinite(y)
        unit = np.stack([(x[kept, 0] - 600.0) / 100.0, (np.log10(x[kept, 1]) + 1.0) / 2.0], axis=1)
        query = np.array([[0.55, (np.log10(0.3) + 1.0) / 2.0]])
        mean, scale, dof = predictive(
            unit, y[kept], query, lengthscale=0.5, bias_ratio=3.0, function_ratio=1.0, prior_scale=sigma, prior_dof=3.0
        )
        found = ResidualModel.fit(history, tuple(y), prior_sigma=sigma, knobs=KNOBS).predict(point, 0.9)
        assert found.mean == pytest.approx(mean[0], rel=1e-11)
        assert found.dof == dof
        half = stats.t.ppf(0.95, dof) * scale[0]
        assert (found.low, found.high) == pytest.approx((mean[0] - half, mean[0] + half), rel=1e-10)
        assert found == ResidualModel.fit(x, y, prior_sigma=sigma, knobs=KNOBS).predict(point, 0.9)


def test_json_round_trip_predicts_the_same() -> None:
    model = ResidualModel.fit([[650.0, 1.0], [660.0, 2.0]], [0.01, -0.02], prior_sigma=0.01, knobs=KNOBS)
    restored = ResidualModel.from_dict(json.loads(json.dumps(model.to_dict(), allow_nan=False)))
    assert restored == model
    assert restored.predict([655.0, 1.5]) == model.predict([655.0, 1.5])
    empty = ResidualModel.fit([], [], prior_sigma=0.01, knobs=KNOBS)
    assert ResidualModel.from_dict(json.loads(json.dumps(empty.to_dict()))) == empty


@pytest.mark.parametrize(
    ("inputs", "residuals", "sigma"),
    [([[650.0]], [0.1], 0.01), ([[650.0, 1.0]], [0.1], 0.0), ([[np.nan, 1.0]], [0.1], 0.01), ([[1.0, 1.0]], [], 0.01)],
)
def test_unusable_training_rows_are_refused(inputs: list[list[float]], residuals: list[float], sigma: float) -> None:
    with pytest.raises(LabkitError):
        ResidualModel.fit(inputs, residuals, prior_sigma=sigma, knobs=KNOBS)


def test_a_logarithmic_knob_below_zero_and_a_short_point_are_refused() -> None:
    model = ResidualModel.fit([[650.0, 1.0]], [0.1], prior_sigma=0.1, knobs=KNOBS)
    with pytest.raises(LabkitError, match="logarithmic"):
        model.predict([650.0, -1.0])
    with pytest.raises(LabkitError, match="1 knob"):
        model.predict([650.0])
    with pytest.raises(LabkitError, match="cannot be read"):
        ResidualModel.from_dict({"inputs": []})


def test_documented_reach_is_a_correlation_of_sixty_one_percent() -> None:
    assert np.exp(-0.5 * residual.REACH**2) == pytest.approx(0.61, abs=0.005)
