"""Faults of simulated equipment against what the judge calls them: seeds, channels, signs, sizes, and unseen causes."""

from __future__ import annotations

import pytest

from labkit.core import registry
from labkit.core.tool import Fault
from tests.runs.rehearsal import Physics, Rehearsal, call

CVD = Physics(registry.process("cvd"))
LITHOGRAPHY = Physics(registry.process("lithography"))


@pytest.fixture(scope="module")
def tube():
    life = Rehearsal.of(CVD, seed=71, predicting=False)
    life.play(10)
    return life.charts


@pytest.fixture(scope="module")
def scanner():
    life = Rehearsal.of(LITHOGRAPHY, seed=72, predicting=False)
    life.play(10)
    return life.charts


@pytest.mark.parametrize(("per_run", "latest"), [(-0.005, 8), (-0.01, 5), (0.01, 5), (0.02, 3)])
def test_a_silane_controller_that_drifts_is_found_and_named(tube, per_run: float, latest: int) -> None:
    drift = (Fault(mode="sih4_mfc", per_run=per_run, magnitude=per_run),)
    called = call(CVD, tube, seed=int(1e4 * abs(per_run)) + 5, faults=drift, batches=10)
    assert called.delay <= latest
    assert called.settled == "sih4_mfc"


@pytest.mark.parametrize("mode", LITHOGRAPHY.process.fault_modes, ids=lambda mode: mode.name)
def test_every_fault_of_a_scanner_is_named_whichever_its_sign(scanner, mode) -> None:
    for sign in (1.0, -1.0) if mode.opposite else (1.0,):
        called = call(
            LITHOGRAPHY, scanner, seed=17, faults=(Fault(mode=mode.name, magnitude=2.0 * sign * mode.step),), batches=6
        )
        assert called.delay <= 3
        assert called.settled == mode.name


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("zone_2_thermocouple", 8.0),
        ("zone_1_thermocouple", -8.0),
        ("leak", 6.0),
        ("pump", 5.0),
        ("pressure_gauge", -6.0),
    ],
)
def test_a_large_fault_is_named_although_physics_bends(tube, mode: str, size: float) -> None:
    step = next(m.step for m in CVD.process.fault_modes if m.name == mode)
    called = call(CVD, tube, seed=9, faults=(Fault(mode=mode, magnitude=size * step),), batches=4)
    assert called.settled == mode


def test_an_active_surface_and_low_thermocouples_are_not_told_apart_when_they_look_alike(tube) -> None:
    called = call(CVD, tube, seed=4, faults=(Fault(path="rate_gain", magnitude=0.03),), batches=3)
    assert set(called.settled.removeprefix("ambiguous: ").split(" | ")) == {"surface_activity", "thermocouple_all"}


@pytest.mark.parametrize(
    "faults",
    [
        (Fault(path="insitu_gain", magnitude=0.06),),
        (Fault(path="insitu_gain", magnitude=-0.06),),
        (Fault(mode="sih4_mfc", magnitude=-0.04), Fault(mode="zone_2_heater", magnitude=-0.06)),
        (Fault(mode="leak", magnitude=0.4), Fault(mode="zone_1_thermocouple", magnitude=1.0)),
    ],
    ids=str,
)
def test_what_no_known_fault_explains_is_called_unknown(tube, faults: tuple[Fault, ...]) -> None:
    assert call(CVD, tube, seed=12, faults=faults, batches=5).settled == "unknown"
