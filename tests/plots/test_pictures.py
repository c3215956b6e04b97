"""Every picture has units on its axes, shows the values it was given, and is drawn without a warning."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

hv = pytest.importorskip("holoviews", reason="needs the extra labkit[lab]")
matplotlib = pytest.importorskip("matplotlib", reason="needs the extra labkit[lab]")

from labkit import plots  # noqa: E402
from labkit.core.errors import LabkitError  # noqa: E402
from labkit.materials.wafers import load  # noqa: E402

RUNS = np.arange(1, 7)


@pytest.fixture(scope="module", autouse=True)
def _drawn_on_no_screen() -> None:
    matplotlib.use("agg")
    plots.use("matplotlib")


def runs() -> pd.DataFrame:
    predicted = np.array([100.0, 100.2, 99.9, 100.1, 100.0, 100.0])
    measured = np.array([100.1, 99.9, 100.2, 99.0, 97.5, 95.5])
    return pd.DataFrame(
        {
            "run": RUNS,
            "measured": measured,
            "predicted": predicted,
            "low": predicted - 1.2,
            "high": predicted + 1.2,
            "out": RUNS >= 5,
            "alarm": RUNS == 5,
        }
    )


def cusum() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": RUNS,
            "cusum_high": [0.0, 0.4, 0.0, 0.0, 0.0, 0.0],
            "alarm": RUNS == 5,
            "cusum_low": [0.1, 0.0, 0.2, 2.0, 6.0, 11.0],
            "h": 5.0,
        }
    )


def boat() -> xr.Dataset:
    slots = np.arange(1, 26)
    predicted = np.stack([100.0 - 0.1 * slots, 100.1 - 0.1 * slots])
    return xr.Dataset(
        {
            "measured": (("run", "slot"), predicted - [[0.1], [3.0]], {"units": "nm", "long_name": "wafer mean"}),
            "predicted": (("run", "slot"), predicted, {"units": "nm"}),
        },
        coords={"run": ["run 4", "run 6"], "slot": slots, "departed": ("run", [False, True])},
    )


def wafers() -> xr.Dataset:
    made = load(3, diameter_mm=150.0)
    tilt = 100.0 * (1.0 + 0.01 * made["x"] / 75.0)
    return made.assign(thickness=(("slot", "site"), np.stack([tilt, 2.0 * tilt, 3.0 * tilt]), {"units": "nm"}))


def telemetry(samples: int = 900) -> xr.Dataset:
    time = np.arange(samples, dtype=float)
    return xr.Dataset(
        {
            "pressure_torr": ("time", 0.5 + 0.1 * np.sin(time / 40.0), {"units": "torr", "long_name": "pressure"}),
            "zone_c": ("time", 600.0 + time / 100.0, {"units": "degC"}),
            "step": ("time", time > 400.0),
        },
        coords={"time": ("time", time, {"units": "s"})},
    )


def fem() -> xr.Dataset:
    focus, dose = np.linspace(-200.0, 200.0, 9), np.linspace(20.0, 30.0, 11)
    cd = 100.0 - 3.0 * (dose[:, None] - 25.0) - 1e-4 * focus**2
    return xr.Dataset(
        {"cd": (("dose", "focus"), cd, {"units": "nm"})},
        coords={"dose": ("dose", dose, {"units": "mJ/cm2"}), "focus": ("focus", focus, {"units": "nm"})},
    )


CAUSES = [
    {"fault": "b", "title": "Pump is worn", "explained": 0.2},
    {"fault": "a", "title": "Flow drifts", "explained": 0.9},
]
PICTURES: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "prediction": (
        lambda: plots.prediction_chart(runs(), quantity="thickness", units="nm", target=100.0, limits=(94.0, 106.0)),
        ("Batch", "Thickness (nm)"),
    ),
    "one run": (lambda: plots.prediction_chart(runs().head(1), units="nm"), ("Batch", "Measured value (nm)")),
    "cusum": (lambda: plots.control_chart(cusum(), quantity="CUSUM", units="nm"), ("Batch", "CUSUM (nm)")),
    "individuals": (
        lambda: plots.control_chart(
            pd.DataFrame({"run": RUNS, "value": RUNS * 1.0, "centre": 3.0, "low": 0.5, "high": 5.5}),
            quantity="x",
            units="degC",
        ),
        ("Batch", "X (°C)"),
    ),
    "boat": (lambda: plots.profile(boat()), ("Slot", "Wafer mean (nm)")),
    "wafer": (lambda: plots.wafer_map(wafers(), "thickness", 2), ("x (mm)", "y (mm)", "Deviation from mean (%)")),
    "strips": (
        lambda: plots.strip_charts(
            telemetry(),
            steps=[plots.Step("heat", 0, 400), plots.Step("hold", 400, 899)],
            reference=telemetry(),
            reference_label="run 1",
        ),
        ("Time (min); dashed: run 1", "Pressure\n(Torr)", "Zone_c\n(°C)"),
    ),
    "bossung": (lambda: plots.bossung(fem(), target=100.0), ("Focus (nm)", "CD (nm)")),
    "window": (
        lambda: plots.process_window(fem(), target=100.0, rectangle=(-100.0, 24.0, 100.0, 26.0)),
        ("Focus (nm)", "Dose (mJ/cm²)"),
    ),
    "diagnosis": (lambda: plots.diagnosis_bar(CAUSES), ("Departure explained (%)",)),
}


def scattered(element: Any, label: str) -> Any:
    return next(e for e in element.traverse(lambda e: e, [hv.Scatter]) if e.label == label)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_with_units_on_every_axis(name: str) -> None:
    make, labels = PICTURES[name]
    element = make()
    assert isinstance(element, hv.Overlay | hv.Layout)
    figure = hv.render(element, backend="matplotlib")
    figure.canvas.draw()
    shown = {text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel()) if text}
    matplotlib.pyplot.close(figure)
    assert shown == set(labels)


def test_the_prediction_chart_shows_the_measured_and_predicted_values() -> None:
    chart, table = plots.prediction_chart(runs(), units="nm"), runs()
    inside, outside = scattered(chart, "Measured"), scattered(chart, "Measured, out of control")
    np.testing.assert_array_equal(inside.dimension_values(1), table["measured"][:4])
    np.testing.assert_array_equal(outside.dimension_values(0), [5, 6])
    np.testing.assert_array_equal(outside.dimension_values(1), table["measured"][4:])
    band = chart.traverse(lambda e: e, [hv.Area])[0]
    np.testing.assert_array_equal(band.dimension_values(1), table["low"])
    np.testing.assert_array_equal(band.dimension_values(2), table["high"])
    assert "Alarm at 5" in [e.data[2] for e in chart.traverse(lambda e: e, [hv.Text])]


def test_a_limit_far_from_the_data_is_named_and_not_drawn() -> None:
    chart = plots.prediction_chart(runs(), units="nm", limits=(0.0, 106.0))
    assert [e.data for e in chart.traverse(lambda e: e, [hv.HLine])] == [106.0]
    assert "LSL 0 nm ↓" in [e.data[2] for e in chart.traverse(lambda e: e, [hv.Text])]


def test_the_lower_cusum_is_drawn_below_zero_and_marked_beyond_its_limit() -> None:
    chart = plots.control_chart(cusum())
    np.testing.assert_array_equal(scattered(chart, "Lower sum").dimension_values(1), [-0.1, 0.0, -0.2, -2.0])
    np.testing.assert_array_equal(scattered(chart, "Lower sum, out of control").dimension_values(1), [-6.0, -11.0])
    np.testing.assert_array_equal(scattered(chart, "Upper sum").dimension_values(1), cusum()["cusum_high"])


def test_the_profile_shows_each_run_at_its_slots() -> None:
    chart = plots.profile(boat())
    flagged = scattered(chart, "run 6")
    np.testing.assert_array_equal(flagged.dimension_values(0), np.arange(1, 26))
    np.testing.assert_allclose(flagged.dimension_values(1), 97.1 - 0.1 * np.arange(1, 26))


def test_the_wafer_map_goes_through_its_sites_as_deviation_from_the_mean() -> None:
    data = wafers()
    chart = plots.wafer_map(data, "thickness", 2)
    marked = np.concatenate([p.dimension_values(2) for p in chart.traverse(lambda e: e, [hv.Points])])
    expected = 100.0 * 0.01 * data["x"].to_numpy() / 75.0
    np.testing.assert_allclose(np.sort(marked), np.sort(expected), atol=1e-9)
    image = chart.traverse(lambda e: e, [hv.Image])[0]
    assert image[30.0, 0.0] == pytest.approx(0.4, abs=0.01)
    assert image[0.0, 30.0] == pytest.approx(0.0, abs=0.01)
    assert np.isnan(image[70.0, 70.0])
    assert "mean 200.0 nm" in hv.Store.lookup_options("matplotlib", chart, "plot").kwargs["title"]


def test_no_map_is_drawn_beyond_the_flat() -> None:
    image = plots.wafer_map(wafers(), "thickness", 1).traverse(lambda e: e, [hv.Image])[0]
    # a flat of 57.5 mm on 150 mm lies sqrt(75² − 28.75²) = 69.27 mm from the centre
    assert np.isnan(image[0.0, -70.0])
    assert np.isfinite(image[0.0, 70.0])


def test_strip_charts_keep_every_extreme_of_a_long_channel() -> None:
    long = telemetry(20_000)
    long["pressure_torr"][12_345] = 9.0
    curve = plots.strip_charts(long, ["pressure_torr"]).traverse(lambda e: e, [hv.Curve])[0]
    assert curve.dimension_values(1).max() == 9.0
    assert curve.dimension_values(0)[np.argmax(curve.dimension_values(1))] == pytest.approx(12_345 / 60.0)
    assert len(curve) < 2_000


def test_the_bossung_curves_show_cd_through_focus() -> None:
    data = fem()
    curves = {c.label: c for c in plots.bossung(data).traverse(lambda e: e, [hv.Curve])}
    np.testing.assert_allclose(curves["25 mJ/cm²"].dimension_values(1), data["cd"].sel(dose=25.0))


def test_the_process_window_reaches_the_doses_where_cd_leaves_its_tolerance() -> None:
    # at best focus CD = 100 − 3 (dose − 25), so ±6 % is reached at 25 ∓ 2 mJ/cm²
    region = plots.process_window(fem(), target=100.0, tolerance=0.06).traverse(lambda e: e, [hv.Polygons])[0]
    x, y = region.dimension_values(0), region.dimension_values(1)
    at_best = y[np.abs(x) < 1e-9]
    assert (at_best.min(), at_best.max()) == pytest.approx((23.0, 27.0), abs=1e-6)


def test_causes_are_ranked_by_what_they_explain() -> None:
    bars = plots.diagnosis_bar(CAUSES).traverse(lambda e: e, [hv.Rectangles])
    assert [bar.dimension_values(2)[0] for bar in bars] == pytest.approx([90.0, 20.0])
    assert bars[0].dimension_values(1)[0] > bars[1].dimension_values(1)[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.prediction_chart(runs().drop(columns="low")), "lacks low"),
        (lambda: plots.control_chart(cusum().head(0)), "no rows"),
        (lambda: plots.wafer_map(wafers(), "thickness", 9), "slot 9"),
        (lambda: plots.wafer_map(wafers(), "index", 1), "'index'"),
        (lambda: plots.strip_charts(telemetry(), ["flow"]), "'flow'.*pressure_torr"),
        (lambda: plots.process_window(fem().isel(dose=[0]), target=100.0), "at least two"),
        (lambda: plots.bossung(fem().rename(dose="energy")), "dose and focus"),
        (lambda: plots.diagnosis_bar([]), "at least one"),
        (lambda: plots.profile(boat().isel(run=[0] * 9)), "at most"),
        (lambda: plots.use("plotly"), "matplotlib, bokeh"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(LabkitError, match=words):
        call()


def test_a_picture_for_a_page_follows_its_colours_and_asks_no_other_host() -> None:
    drawing = plots.svg(plots.control_chart(cusum()), prefix="one")
    assert drawing.startswith("<svg viewBox=")
    assert "var(--plot-vermilion, #d55e00)" in drawing
    assert "http" not in drawing
    assert 'id="one-' in drawing
    assert plots.svg(plots.control_chart(cusum()), prefix="one") == drawing


def test_a_picture_for_print_is_a_png(tmp_path: Any) -> None:
    image = plots.png(plots.diagnosis_bar(CAUSES), tmp_path / "causes.png")
    assert image.startswith(b"\x89PNG")
    assert (tmp_path / "causes.png").read_bytes() == image


def test_importing_the_plots_loads_no_plotting_library() -> None:
    heavy = ("holoviews", "matplotlib", "papermill", "panel")
    code = f"import sys, labkit.plots, labkit.reports; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
