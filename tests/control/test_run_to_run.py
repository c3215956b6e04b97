"""Run-to-run controllers against published and closed-form mean squared errors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from labkit.control.run_to_run import ControllerState, EwmaController
from labkit.core.errors import LabkitError

THETA = 0.6


def _disturbance(runs: int, drift: float, seed: int) -> list[float]:
    """IMA(1,1): η_t = η_{t−1} + a_t − θ a_{t−1}, plus a drift."""
    shocks = np.random.default_rng(seed).normal(size=runs + 1)
    return (np.cumsum(shocks[1:] - THETA * shocks[:-1]) + drift * np.arange(runs)).tolist()


def _error(
    controller: EwmaController, *, drift: float = 0.0, runs: int = 12_000, skip: int = 200, gain: float | None = None
) -> float:
    true_gain = controller.gain if gain is None else gain
    state = controller.start(controller.target / true_gain)
    total = 0.0
    for index, noise in enumerate(_disturbance(runs, drift, seed=4)):
        y = true_gain * state.action + noise
        total += (y - controller.target) ** 2 if index >= skip else 0.0
        state, _ = controller.update(state, y)
    return total / (runs - skip)


@pytest.mark.parametrize(("weight", "published"), [(0.2, 1.10), (0.4, 1.00), (0.7, 1.10)])
def test_error_under_ima_noise_is_the_published_one(weight: float, published: float) -> None:
    """Closed form 1 + (λ − 1 + θ)²/(λ(2 − λ)); Box and Luceño, Statistical Control by Monitoring (1997)."""
    assert _error(EwmaController(10.0, 2.0, weight)) == pytest.approx(published, abs=0.045)


def test_without_control_the_error_is_many_times_larger() -> None:
    """No control over 225 runs: published 18.9 (closed form 1 + (1 − θ)²·112)."""
    errors = [np.mean(np.square(_disturbance(225, 0.0, seed))) for seed in range(1500)]
    assert np.mean(errors) == pytest.approx(18.9, rel=0.1)


@pytest.mark.parametrize(("weight", "published"), [(0.2, 3.30), (0.4, 1.55), (0.7, 1.28)])
def test_drift_costs_the_square_of_drift_over_weight(weight: float, published: float) -> None:
    assert _error(EwmaController(0.0, -3.0, weight), drift=0.3) == pytest.approx(published, rel=0.05)


def test_double_ewma_removes_the_lag() -> None:
    assert _error(EwmaController(0.0, 1.0, 0.4, 0.1), drift=0.3) == pytest.approx(1.12, abs=0.045)


def test_action_moves_against_the_error() -> None:
    controller = EwmaController(target=100.0, gain=5.0, weight=0.5)
    state, action = controller.update(controller.start(20.0), 110.0)
    assert action == pytest.approx(19.0)
    assert (state.offset, state.action, state.runs) == (pytest.approx(5.0), action, 1)


def test_wrong_gain_up_to_twice_over_weight_is_stable() -> None:
    assert _error(EwmaController(10.0, 1.0, 0.4), gain=4.5) < 20.0
    assert _error(EwmaController(10.0, 1.0, 0.4), gain=5.5, runs=400, skip=100) > 1e3


def test_deadband_keeps_the_action_for_small_errors_only() -> None:
    controller = EwmaController(0.0, 1.0, 0.5, deadband=1.0)
    assert controller.update(controller.start(3.0), 2.0)[1] == 3.0
    assert controller.update(controller.start(3.0), 2.1)[1] == pytest.approx(1.95)


def test_bounds_hold_and_do_not_wind_up() -> None:
    controller = EwmaController(0.0, 1.0, 0.5, low=-2.0, high=2.0)
    state = controller.start(0.0)
    for _ in range(50):
        state, action = controller.update(state, state.action + 10.0)
        assert -2.0 <= action <= 2.0
    assert action == -2.0
    for _ in range(6):
        state, action = controller.update(state, state.action)
    assert action == pytest.approx(-10.0 / 64.0, rel=0.01)
    assert controller.update(ControllerState(), -50.0)[1] == 2.0


def test_one_move_is_limited() -> None:
    controller = EwmaController(0.0, 1.0, 1.0, largest_move=0.25)
    assert controller.update(controller.start(1.0), 8.0)[1] == 0.75
    assert controller.update(controller.start(1.0), -8.0)[1] == 1.25


def test_a_suggestion_that_nobody_approved_is_not_taken_as_done() -> None:
    controller = EwmaController(0.0, 2.0, 1.0)
    state = ControllerState(offset=0.0, action=5.0)
    assert controller.update(state, 3.0, action=1.0)[0].offset == pytest.approx(1.0)


def test_a_missing_measurement_only_moves_the_forecast_on() -> None:
    controller = EwmaController(0.0, 1.0, 0.4, 0.1)
    state, action = controller.update(ControllerState(offset=1.0, drift=0.5, action=-1.5), math.nan)
    assert (state.offset, state.drift, action) == (1.5, 0.5, -2.0)


def test_controller_and_state_survive_json() -> None:
    for thing in (EwmaController(1.0, 2.0, high=3.0), ControllerState(0.5, 0.1, 2.0, 7)):
        assert type(thing).from_dict(json.loads(json.dumps(thing.to_dict(), allow_nan=False))) == thing


@pytest.mark.parametrize(
    "arguments",
    [
        {"gain": 0.0},
        {"gain": math.inf},
        {"weight": 0.0},
        {"weight": 1.1},
        {"weight": 0.3, "drift_weight": 0.4},
        {"deadband": -1.0},
        {"low": 2.0, "high": 1.0},
    ],
)
def test_impossible_controllers_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(LabkitError):
        EwmaController(**{"target": 0.0, "gain": 1.0, **arguments})
