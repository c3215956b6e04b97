"""Every picture can also be shown on a screen, by bokeh."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("holoviews", reason="needs the extra labkit[lab]")
pytest.importorskip("bokeh", reason="needs the extra labkit[lab]")

SCRIPT = """
import warnings
warnings.simplefilter("error")
import holoviews as hv, numpy as np, pandas as pd, xarray as xr
from labkit import plots
from labkit.materials.wafers import load
plots.use("bokeh")
run = np.arange(1, 5)
table = pd.DataFrame({"run": run, "measured": run, "predicted": run, "low": run - 1, "high": run + 1, "out": run > 3})
table["alarm"] = table["out"]
wafer = load(2)
wafer["thickness"] = ("slot", "site"), np.stack([100 + wafer.x, 100 + wafer.y])
boat = xr.Dataset({"measured": (("run", "slot"), np.ones((1, 2)))}, {"run": ["a"], "slot": [1, 2]})
telemetry = xr.Dataset({"flow": ("time", np.arange(9.0), {"units": "sccm"})}, {"time": np.arange(9.0)})
dose, focus = np.linspace(20, 30, 5), np.linspace(-100, 100, 5)
cd = 150 - 2 * dose[:, None] - (focus / 40) ** 2
fem = xr.Dataset({"cd": (("dose", "focus"), cd)}, {"dose": dose, "focus": focus})
for picture in (
    plots.prediction_chart(table, target=2.0, limits=(0.0, 5.0)), plots.profile(boat),
    plots.wafer_map(wafer, "thickness", 1), plots.bossung(fem, target=100.0),
    plots.control_chart(pd.DataFrame({"run": run, "cusum_high": run, "cusum_low": 0 * run, "h": 3.0})),
    plots.strip_charts(telemetry, steps=[plots.Step("a", 0, 4), plots.Step("b", 4, 8)]),
    plots.process_window(fem, target=100.0), plots.diagnosis_bar([{"fault": "leak", "explained": 0.5}]),
):
    hv.render(picture, backend="bokeh")
    print("drawn")
"""


@pytest.mark.slow
def test_every_picture_is_drawn_by_bokeh_without_a_warning() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.count("drawn") == 8
