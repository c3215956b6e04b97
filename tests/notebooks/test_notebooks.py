"""Every notebook for people runs from top to bottom as it stands."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
nbformat = pytest.importorskip("nbformat", reason="needs the 'lab' extra")
kernel = pytest.importorskip("labkit.reports.kernel", reason="needs the 'lab' extra")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    assert all(
        not cell.get("outputs") and cell.get("execution_count") is None
        for cell in notebook.cells
        if cell.cell_type == "code"
    )


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path_factory):
    from nbclient import NotebookClient

    scratch = tmp_path_factory.mktemp("k")
    manager = type("Kernel", (kernel.ThisPython,), {"scratch": scratch})
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=90, kernel_manager_class=manager, resources={"metadata": {"path": str(scratch)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    text = "".join(output.get("text", "") for output in outputs)
    assert "Zone 3 thermocouple reads low" in text
