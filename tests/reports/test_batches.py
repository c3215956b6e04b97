"""What a batch report reads from a lab: the first alarm, the chart that shows it, the runs to compare, the cause."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.reports import batches

FIRST_ALARM = 5
RECIPE = registry.process("cvd").example_recipes()[0]
CAUSES = ({"fault": "sih4_mfc", "title": "SiH4 controller is off", "path": "mfc_gain.SiH4", "explained": 0.9},)


def _run(seq: int, *, alarmed: bool) -> Any:
    drift = 2.0 * max(0, seq - FIRST_ALARM + 1) if alarmed else 0.0
    flagged = drift > 0.0
    estimate = SimpleNamespace(value=100.0, low=98.5, high=101.5)
    chart = {
        "thickness_mean_nm": {"high": 0.0, "low": 3.0 * drift, "h": 5.0},
        "insitu_rate_nm_per_min": {"high": 0.0, "low": 4.0 * drift, "h": 5.0},
        "base_pressure_torr": {"high": float("nan"), "low": float("nan"), "h": 5.0},
    }
    diagnosis = SimpleNamespace(verdict="sih4_mfc", candidates=CAUSES) if flagged else None
    thickness = xr.DataArray(
        np.full((3, 9), 100.0 - drift), dims=("slot", "site"), coords={"slot": [1, 2, 3]}, attrs={"units": "nm"}
    )
    step = np.repeat([0, 1, 2], 10)
    telemetry = xr.Dataset(
        {
            name: ("time", np.arange(30.0) + 1.0)
            for name in (
                "gas_flow_N2O_sccm",
                "gas_flow_SiH4_sccm",
                "chamber_pressure_torr",
                "base_gauge_torr",
                "temperature_zone_1_c",
            )
        }
        | {"step": ("time", step)},
        coords={"time": np.arange(30.0)},
    )
    return SimpleNamespace(
        seq=seq,
        recipe=RECIPE,
        verdict="anomaly" if flagged else "pass",
        record={"lot": None, "started": None},
        measured={
            "thickness_mean_nm": 100.0 - drift + 0.1 * (-1) ** seq,
            "thickness_uniformity_pct": 1.0 + 0.01 * (seq % 3),
        },
        prediction=SimpleNamespace(level=0.95, estimate=lambda name: estimate),
        judgement=SimpleNamespace(headline="", charts=chart, diagnosis=diagnosis),
        data=xr.DataTree.from_dict(
            {
                "/measured": xr.Dataset({"thickness": thickness}),
                "/prediction": xr.Dataset({"thickness": thickness + drift}),
                "/telemetry": telemetry,
            }
        ),
    )


class Lab:
    """A lab of eight runs; the fourth was refused and has no verdict."""

    def __init__(self, *, alarmed: bool = True) -> None:
        self.made = {seq: _run(seq, alarmed=alarmed) for seq in (1, 2, 3, 5, 6, 7, 8)}

    def runs(self, *, sort: str = "newest", limit: int = 50, **filters: Any) -> Any:
        if filters.get("tool", "T") != "T" or "state" in filters:
            return []
        rows = [{"seq": seq, "verdict": run.verdict} for seq, run in self.made.items()] + [{"seq": 4, "verdict": None}]
        return sorted(rows, key=lambda row: -row["seq"])[:limit]

    def run(self, run: str | int) -> Any:
        return self.made[int(run)]


def test_the_first_alarm_the_runs_to_compare_and_the_cause_are_found() -> None:
    told = batches.gather(Lab(), "T")
    assert list(told.table["run"]) == [1, 2, 3, 5, 6, 7, 8]
    assert list(told.table.loc[told.table["alarm"], "run"]) == [5]
    assert list(told.table.loc[told.table["out"], "run"]) == [5, 6, 7, 8]
    assert (told.healthy.seq, told.flagged.seq, told.diagnosed.seq) == (3, 8, 8)
    assert told.cause == "SiH4 controller is off"
    assert told.limits == (95.0, 105.0)
    assert told.target == pytest.approx(100.0)


def test_the_chart_shown_is_the_one_that_went_farthest_with_its_own_first_alarm() -> None:
    told = batches.gather(Lab(), "T")
    assert told.charted.name == "insitu_rate_nm_per_min"
    np.testing.assert_allclose(told.chart["cusum_low"], [0, 0, 0, 8, 16, 24, 32])
    assert list(told.chart.loc[told.chart["alarm"], "run"]) == [5]


def test_performance_is_the_distance_to_the_nearer_limit_in_three_overall_sigma() -> None:
    told = batches.gather(Lab(), "T")
    values = told.table["measured"].to_numpy()
    nearer = min(105.0 - values.mean(), values.mean() - 95.0)
    assert told.performance["thickness_mean_nm"] == pytest.approx(nearer / (3 * values.std(ddof=1)))
    assert set(told.performance) == {"thickness_mean_nm", "thickness_uniformity_pct"}


def test_a_healthy_tool_has_no_alarm_and_no_cause() -> None:
    told = batches.gather(Lab(alarmed=False), "T", most=3)
    assert list(told.table["run"]) == [6, 7, 8]
    assert not told.table["alarm"].any()
    assert told.flagged is None
    assert told.cause == ""
    assert not told.chart["alarm"].any()


def test_a_tool_without_runs_is_refused_in_words() -> None:
    with pytest.raises(LabkitError, match=r"'X'.*lab.execute"):
        batches.gather(Lab(), "X")


def test_the_profile_compares_the_last_healthy_with_the_last_flagged_run() -> None:
    boat = batches.along_the_boat(batches.gather(Lab(), "T"))
    assert list(boat["run"].values) == ["Run 3, in control", "Run 8, flagged"]
    assert list(boat["departed"].values) == [False, True]
    np.testing.assert_allclose(boat["measured"].sel(run="Run 8, flagged"), 92.0)
    np.testing.assert_allclose(boat["predicted"], 100.0)
    assert boat["measured"].attrs["units"] == "nm"


def test_the_suspected_channel_comes_first_then_one_of_every_unit() -> None:
    told = batches.gather(Lab(), "T")
    telemetry, healthy, channels = batches.telling_channels(told)
    assert channels == ["gas_flow_SiH4_sccm", "chamber_pressure_torr", "temperature_zone_1_c"]
    assert telemetry["chamber_pressure_torr"].attrs == {"units": "torr", "long_name": "chamber pressure"}
    assert healthy is not None
    steps = batches.steps_of(told.flagged, telemetry)
    assert [(s.start_s, s.end_s) for s in steps] == [(0.0, 10.0), (10.0, 20.0), (20.0, 29.0)]
    assert steps[0].name == RECIPE.recipe_steps[0].name


@pytest.mark.parametrize(
    ("name", "units", "words"),
    [
        ("gas_flow_SiH4_sccm", "sccm", "gas flow SiH4"),
        ("thickness_mean_nm", "nm", "thickness mean"),
        ("insitu_rate_nm_per_min", "nm/min", "insitu rate"),
        ("throttle_valve_pct", "percent", "throttle valve"),
        ("dose_monitor_mj_cm2", "mJ/cm2", "dose monitor"),
        ("refractive_index", "1", "refractive index"),
    ],
)
def test_a_name_in_words_leaves_out_its_unit(name: str, units: str, words: str) -> None:
    assert batches.brief(name, units) == words
