"""Running a pipeline: parameters are checked, a failing cell is named, and nothing half-written is left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("papermill", reason="needs the extra labkit[lab]")
nbformat = pytest.importorskip("nbformat", reason="needs the extra labkit[lab]")

from labkit.core.errors import NotFound  # noqa: E402
from labkit.reports import PipelineError, external_references, run_pipeline  # noqa: E402
from labkit.reports.pipeline import _typed, pipelines  # noqa: E402

Write = Callable[..., Path]


@pytest.fixture
def notebook(tmp_path: Path) -> Write:
    """Writes a notebook with a parameters cell and the given code cells, each under a heading."""

    def write(*cells: str, parameters: str = 'title = "Small"\ncount = 2\nshare = 0.5') -> Path:
        made = nbformat.v4.new_notebook()
        made.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        first = nbformat.v4.new_code_cell(parameters)
        first.metadata["tags"] = ["parameters"]
        made.cells = [first]
        for number, source in enumerate(cells, start=1):
            made.cells += [nbformat.v4.new_markdown_cell(f"## Part {number}"), nbformat.v4.new_code_cell(source)]
        path = tmp_path / "small.ipynb"
        nbformat.write(made, path)
        return path

    return write


def test_a_pipeline_runs_on_this_python_and_writes_page_and_notebook(notebook: Write, tmp_path: Path) -> None:
    path = notebook("import sys\nprint('count is', count + 1)\nprint(sys.executable)", "secret_source = 1\n'shown <b>'")
    page = run_pipeline(path, {"count": 41}, tmp_path / "out" / "small.html", progress=False)
    text = page.read_text(encoding="utf-8")
    assert "count is 42" in text
    assert sys.executable in text
    assert "<title>Small</title>" in text
    assert "secret_source" not in text
    assert "shown &lt;b&gt;" in text
    assert external_references(text) == []
    assert sorted(p.name for p in page.parent.iterdir()) == ["small.html", "small.ipynb"]


def test_a_failing_cell_is_named_in_one_line_and_leaves_the_old_page_alone(notebook: Write, tmp_path: Path) -> None:
    page = tmp_path / "small.html"
    page.write_text("the page of yesterday", encoding="utf-8")
    with pytest.raises(PipelineError) as caught:
        run_pipeline(notebook("x = 1", "raise ValueError('no such\\nboat')"), {}, page, progress=False)
    said = str(caught.value)
    assert "\n" not in said
    assert "Part 2" in said
    assert "ValueError: no such boat" in said
    assert page.read_text(encoding="utf-8") == "the page of yesterday"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.html", "small.ipynb"]


def test_an_unknown_parameter_is_refused_with_the_allowed_ones(notebook: Write, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"no parameter 'colour'.*title.*count.*share"):
        run_pipeline(notebook("x = 1"), {"colour": "red"}, tmp_path / "small.html", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["small.ipynb"]


def test_an_unknown_pipeline_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="batch_report"):
        run_pipeline("batch_rapport", {}, tmp_path / "page.html", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_notebook_is_refused_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(PipelineError, match="not a notebook") as caught:
        run_pipeline(broken, {}, tmp_path / "page.html", progress=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "default", "read"),
    [
        ("3", "2", 3),
        ("3", "2.5", 3.0),
        ("true", "False", True),
        ("7", '"text"', "7"),
        (4, "2", 4),
        ("[1, 2]", "[]", [1, 2]),
    ],
)
def test_text_is_read_as_the_type_of_the_default(given: object, default: str, read: object) -> None:
    found = _typed("p", given, default)
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize(("given", "default"), [("many", "2"), ("2.5", "2"), ("yes", "True"), ("1", "[]")])
def test_text_of_another_type_is_refused(given: str, default: str) -> None:
    with pytest.raises(PipelineError, match="not of type"):
        _typed("p", given, default)


def test_pipelines_are_kept_without_outputs_and_begin_with_their_parameters(checkout: Path) -> None:
    assert "batch_report" in pipelines()
    for path in (checkout / "pipelines").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert "parameters" in cells[0].metadata.get("tags", [])
        assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")
