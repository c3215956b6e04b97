"""Pipelines: source-controlled notebooks with a parameters cell, run by Papermill into a page.

The output appears whole or not at all: notebook and page are written aside and renamed.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from labkit.core.errors import LabkitError, NotFound
from labkit.core.resources import resource

if TYPE_CHECKING:
    from nbformat import NotebookNode

_CELL_LIMIT_S = 3600
_START_LIMIT_S = 120
_MESSAGE = 300


class PipelineError(LabkitError):
    """A pipeline was refused, or one of its cells failed."""


def pipelines() -> tuple[str, ...]:
    """Names of the pipelines that labkit carries."""
    return tuple(sorted(path.stem for path in resource("pipelines").glob("*.ipynb")))


def run_pipeline(
    name_or_path: str | Path,
    parameters: Mapping[str, Any] | None = None,
    output_html: str | Path = "report.html",
    *,
    progress: bool = True,
) -> Path:
    """Run a pipeline notebook with *parameters* and write its page.

    The executed notebook is kept beside the page, with the ending ``.ipynb``.

    Parameters
    ----------
    name_or_path : str or Path
        Name of a pipeline that labkit carries, or path of a notebook.
    parameters : mapping
        Values for names of the notebook's parameters cell. Text is read as the type of the default it replaces.
    output_html : str or Path
        Where the page goes; its folder is made if need be.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    NotFound
        If there is no such pipeline.
    PipelineError
        If a parameter is unknown or of the wrong kind, a cell fails, or the page cannot be written.
    """
    notebook = _located(name_or_path)
    target = Path(output_html).absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".labkit-report-", dir=target.parent))
    except OSError as error:
        raise PipelineError(
            f"{target.parent} cannot be written: {error.strerror}", fix="choose another folder"
        ) from None
    try:
        values, title = _checked(notebook, parameters or {})
        executed = _executed(notebook, values, aside, progress=progress)
        _written(executed, title, aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _located(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".ipynb":
        if path.is_file():
            return path.absolute()
    elif str(name_or_path) in pipelines():
        return resource(f"pipelines/{name_or_path}.ipynb")
    raise NotFound(
        f"no pipeline {str(name_or_path)!r}", allowed=f"{', '.join(pipelines())}, or the path of a notebook (.ipynb)"
    )


def _checked(notebook: Path, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """*parameters* as the notebook's parameters cell expects them, and the title of the page."""
    import papermill

    try:
        declared = papermill.inspect_notebook(str(notebook))
    except Exception as error:
        raise PipelineError(f"{notebook} is not a notebook: {_one_line(str(error))}", fix="check the file") from None
    unknown = [name for name in parameters if name not in declared]
    if unknown:
        raise PipelineError(
            f"{notebook.stem} has no parameter {', '.join(map(repr, unknown))}",
            allowed=", ".join(f"{n} (default {d['default']})" for n, d in declared.items()) or "none",
        )
    values = {name: _typed(name, value, declared[name]["default"]) for name, value in parameters.items()}
    default = declared.get("title", {}).get("default", "")
    return values, str(values.get("title") or default.strip("\"'") or notebook.stem.replace("_", " "))


def _typed(name: str, value: Any, default_source: str) -> Any:
    """Text as the type of the default it replaces; paths as text; everything else as it is."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    try:
        default = ast.literal_eval(default_source)
    except (ValueError, SyntaxError):
        return value
    if not isinstance(value, str) or isinstance(default, str) or default is None:
        return value
    kind = type(default)
    try:
        read = ast.literal_eval({"true": "True", "false": "False"}.get(value.lower(), value))
        if kind is float and type(read) is int:
            read = float(read)
        if type(read) is kind:
            return read
    except (ValueError, SyntaxError):
        pass
    raise PipelineError(f"parameter {name} = {value!r} is not of type {kind.__name__}", allowed=f"e.g. {default!r}")


def _executed(notebook: Path, values: dict[str, Any], aside: Path, *, progress: bool) -> NotebookNode:
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from labkit.reports.kernel import ThisPython

    scratch = tempfile.TemporaryDirectory(prefix="labkit-", ignore_cleanup_errors=True)

    class Kernel(ThisPython):
        pass

    Kernel.scratch = Path(scratch.name)
    try:
        executed: NotebookNode = papermill.execute_notebook(
            str(notebook),
            str(aside / "executed.ipynb"),
            values,
            kernel_name="python3",
            language="python",
            kernel_manager_class=Kernel,
            progress_bar=progress,
            log_output=False,
            autosave_cell_every=0,
            start_timeout=_START_LIMIT_S,
            execution_timeout=_CELL_LIMIT_S,
        )
        return executed
    except PapermillExecutionError as error:
        where = _heading(aside / "executed.ipynb", error.exec_count)
        said = f"{error.ename}: {_one_line(error.evalue)}".rstrip(": ")
        raise PipelineError(f"{notebook.stem} failed in cell [{error.exec_count}]{where}: {said}") from None
    except (DeadKernelError, CellTimeoutError, RuntimeError) as error:
        raise PipelineError(
            f"{notebook.stem} did not finish: {_one_line(str(error))}",
            fix="run the notebook in Jupyter to see where it stops",
        ) from None
    finally:
        scratch.cleanup()


def _heading(executed: Path, count: int | None) -> str:
    """Title of the section that cell [*count*] belongs to, as ``" (Wafer map)"``; empty if there is none."""
    import nbformat

    title = ""
    try:
        cells = cast(Any, nbformat).read(executed, as_version=4).cells
    except (OSError, ValueError):
        return ""
    for cell in cells:
        found = re.search(r"^#+ +(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if found and "papermill" not in str(cell.metadata.get("tags", "")):
            title = found[1].strip()
        if cell.cell_type == "code" and cell.get("execution_count") == count:
            break
    return f" ({title})" if title else ""


def _one_line(message: str) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", message)
    flat = " ".join(plain.split())
    return flat if len(flat) <= _MESSAGE else flat[: _MESSAGE - 1] + "…"


def _written(executed: NotebookNode, title: str, aside: Path, target: Path) -> None:
    """Page and notebook, complete, then renamed; the page last, since it is what people wait for."""
    from labkit.reports.html import page

    body = page(executed, title=title)
    aside_page = aside / "page.html"
    try:
        with aside_page.open("w", encoding="utf-8") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside / "executed.ipynb", target.with_suffix(".ipynb"))
        os.replace(aside_page, target)
    except OSError as error:
        raise PipelineError(
            f"{target} cannot be written: {error.strerror}", fix="free some space or choose another folder"
        ) from None
