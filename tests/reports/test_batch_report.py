"""The batch report of a real lab, from its folder to the page."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("papermill", reason="needs the extra labkit[lab]")
pytest.importorskip("holoviews", reason="needs the extra labkit[lab]")

import labkit
from labkit.reports import PipelineError, external_references, run_pipeline


@pytest.mark.slow
def test_a_lab_becomes_a_page_that_stands_alone(tmp_path: Path) -> None:
    folder, layer = tmp_path / "lab", tmp_path / "layer.json"
    with labkit.open(folder) as lab:
        recipe = lab.process("cvd").example_recipes()[0]
        layer.write_text(lab.process("lithography").example_recipes()[0].to_json(), encoding="utf-8")
        lab.add_tool("TUBE-1", "cvd", seed=3)
        thickness = [lab.execute(recipe, tool="TUBE-1", progress=False).measured["thickness_mean_nm"] for _ in range(3)]
        refused = lab.execute(recipe.changed({"name": "too long", "recipe_steps.3.duration_s": 2400.0}), progress=False)
        assert refused.state == "BLOCKED"
    page = run_pipeline(
        "batch_report",
        {"lab_folder": str(folder), "title": "Tube <1>", "fem_recipe": str(layer)},
        tmp_path / "report.html",
        progress=False,
    )
    text = page.read_text(encoding="utf-8")
    assert external_references(text) == []
    assert "<h1>Tube &lt;1&gt;</h1>" in text
    assert "All 3 runs are in control." in text
    assert all(f"{value:.2f}" in text for value in thickness[:1])
    assert "too long) was stopped before the start" in text
    assert text.count("<figure>") == 6
    assert text.count("<svg") == 6
    assert "import labkit" not in text


def test_a_lab_that_is_not_there_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no lab in .*nowhere") as caught:
        run_pipeline(
            "batch_report", {"lab_folder": str(tmp_path / "nowhere")}, tmp_path / "report.html", progress=False
        )
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
