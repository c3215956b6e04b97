from datetime import UTC, datetime, timedelta

import pytest

from labkit.operations.cost import Rates, run_cost
from labkit.operations.tool_states import EquipmentState, availability, seconds_in, utilisation

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_six_states_partition_the_time():
    line = [
        (T0, EquipmentState.STANDBY),
        (T0 + timedelta(hours=2), EquipmentState.PRODUCTIVE),
        (T0 + timedelta(hours=8), EquipmentState.UNSCHEDULED_DOWN),
    ]
    seconds = seconds_in(line, T0 + timedelta(hours=10))
    assert len(EquipmentState) == 6
    assert sum(seconds.values()) == 10 * 3600
    assert availability(seconds) == pytest.approx(0.8)
    assert utilisation(seconds) == pytest.approx(0.6)


def test_non_scheduled_time_does_not_count_against_availability():
    line = [(T0, EquipmentState.NON_SCHEDULED), (T0 + timedelta(hours=5), EquipmentState.STANDBY)]
    seconds = seconds_in(line, T0 + timedelta(hours=10))
    assert availability(seconds) == 1.0


def test_changes_after_the_end_of_the_window_do_not_count():
    line = [(T0, EquipmentState.STANDBY), (T0 + timedelta(hours=5), EquipmentState.PRODUCTIVE)]
    seconds = seconds_in(line, T0 + timedelta(hours=1))
    assert seconds[EquipmentState.STANDBY] == 3600
    assert seconds[EquipmentState.PRODUCTIVE] == 0


def test_a_run_costs_its_start_its_hours_and_its_wafers():
    rates = Rates(per_hour=120.0, per_wafer=2.0, per_run=10.0)
    assert run_cost(rates, seconds=1800.0, wafers=25) == pytest.approx(10 + 60 + 50)
    assert run_cost(Rates(), seconds=1800.0, wafers=25) == 0.0
