"""The commands. Each one opens the lab, calls it, and prints; no command knows more than the Lab does."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labkit.cli import jobs, plans
from labkit.cli.lab_commands import lab
from labkit.cli.tools import tool
from labkit.core.errors import LabkitError
from labkit.runs.lifecycle import RunState

if TYPE_CHECKING:
    from labkit.lab import Lab

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
_LONGEST_NUMBER = 18
"""Digits that a database's integer holds; more than that can only be a name."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--lab",
    "folder",
    envvar="LABKIT_LAB",
    default="mylab",
    show_default=True,
    metavar="FOLDER",
    help="Folder of the lab (or set LABKIT_LAB).",
)
@click.version_option(package_name="labkit")
@click.pass_context
def cli(context: click.Context, folder: str) -> None:
    """Predict, run, judge and learn from semiconductor processes."""
    context.obj = Path(folder)


def _open(context: click.Context, *, create: bool = False) -> Lab:
    from labkit.lab import open as open_lab

    return open_lab(context.find_root().obj, create=create)


@cli.command()
@click.option(
    "--folder", default="demo-lab", show_default=True, help="Folder for the demonstration lab; must not exist yet."
)
@click.option("--batches", default=20, show_default=True, type=click.IntRange(12, 200), help="Batches of 25 wafers.")
@click.option(
    "--fault-batch", default=12, show_default=True, type=click.IntRange(1, 200), help="Batch at which the drift starts."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Seed of every noise sample.")
@click.option("--report/--no-report", default=True, show_default=True, help="Write the HTML report.")
@_AS_JSON
def demo(folder: str, batches: int, fault_batch: int, seed: int, report: bool, as_json: bool) -> None:
    """The whole story: twenty batches, a drifting flow controller found and named, a process window, a report."""
    from labkit.cli.demo import run_demo

    run_demo(Path(folder), batches=batches, fault_batch=fault_batch, seed=seed, report=report, as_json=as_json)


@cli.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--tool", help="Tool to run on; default: the lab's only tool for the recipe's process, or a new simulated one."
)
@click.option("--lot", help="Lot the wafers belong to.")
@click.option("--product", help="Product, for limits that depend on it.")
@click.option("--dry-run", is_flag=True, help="Predict and check only.")
@_AS_JSON
@click.pass_context
def run(
    context: click.Context,
    recipe: Path,
    tool: str | None,
    lot: str | None,
    product: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Predict RECIPE, run it if pre-flight allows, judge it and learn from it."""
    from labkit.cli.show import show_prediction, show_run
    from labkit.lab import load_recipe

    parsed = load_recipe(recipe)
    with _open(context, create=True) as lab:
        if dry_run:
            gate = lab.preflight(parsed, tool=tool, product=product)
            show_prediction(lab.predict(parsed, tool=tool), gate, as_json=as_json)
            raise SystemExit(0 if gate.allowed else 3)
        done = lab.execute(parsed, tool=tool, lot=lot, product=product, progress=not as_json and sys.stderr.isatty())
        show_run(done, as_json=as_json)
    if done.state in ("REJECTED", "BLOCKED", "FAILED"):
        raise SystemExit(3)


@cli.command()
@click.option(
    "--state",
    type=click.Choice([state.value for state in RunState], case_sensitive=False),
    metavar="STATE",
    help="Only runs in this state, e.g. COMPLETED.",
)
@click.option("--verdict", type=click.Choice(["pass", "fail", "anomaly"]), help="Only runs with this verdict.")
@click.option("--process", help="Only runs of this process.")
@click.option("--tool", help="Only runs on this tool.")
@click.option("--lot", help="Only runs of this lot.")
@click.option("--product", help="Only runs of this product.")
@click.option("--sort", default="newest", show_default=True, help="Order.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Rows.")
@_AS_JSON
@click.pass_context
def runs(context: click.Context, /, sort: str, limit: int, as_json: bool, **filters: str | None) -> None:
    """List runs."""
    from labkit.cli.show import show_runs

    with _open(context) as lab:
        show_runs(
            lab.runs(sort=sort, limit=limit, **{k: v for k, v in filters.items() if v is not None}), as_json=as_json
        )


@cli.command()
@click.argument("run_id", metavar="RUN")
@_AS_JSON
@click.pass_context
def show(context: click.Context, run_id: str, as_json: bool) -> None:
    """Show one RUN (its number or id): recipe, prediction, result, judgement."""
    from labkit.cli.show import show_run

    with _open(context) as lab:
        show_run(
            lab.run(int(run_id) if run_id.isdecimal() and len(run_id) <= _LONGEST_NUMBER else run_id), as_json=as_json
        )


@cli.command()
@click.argument("name")
@click.option(
    "-p", "--parameter", "parameters", nargs=2, multiple=True, metavar="KEY VALUE", help="Notebook parameter."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="HTML file; default: in the lab's reports folder."
)
@_AS_JSON
@click.pass_context
def pipeline(
    context: click.Context, name: str, parameters: tuple[tuple[str, str], ...], output: Path | None, as_json: bool
) -> None:
    """Run the pipeline notebook NAME and write its HTML report."""
    from labkit.cli.output import emit
    from labkit.cli.pipelines import run_named

    written = run_named(name, dict(parameters), folder=context.find_root().obj, output=output, progress=not as_json)
    emit({"html": str(written)}) if as_json else click.echo(str(written))


@cli.command()
@click.argument("suite")
@_AS_JSON
@click.option("--only", multiple=True, help="Only figures whose name contains this.")
def bench(suite: str, as_json: bool, only: tuple[str, ...]) -> None:
    """Measure the figures of SUITE (foundation …); needs a checkout."""
    from labkit.cli.benchmark import run_suite

    run_suite(suite, only=only, as_json=as_json)


@cli.command()
@_AS_JSON
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say what is installed, what can be used, where the lab is, what is missing and how to get it."""
    from labkit.cli.doctor import examine

    examine(context.find_root().obj, as_json=as_json)


@cli.command()
@click.argument("archive", type=click.Path(path_type=Path))
@_AS_JSON
@click.pass_context
def backup(context: click.Context, archive: Path, as_json: bool) -> None:
    """Write the lab into one ARCHIVE file."""
    from labkit.cli.output import emit

    with _open(context) as lab:
        written = lab.backup(archive)
    emit({"archive": str(written), "bytes": written.stat().st_size}) if as_json else click.echo(str(written))


@cli.command()
@click.argument("archive", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def restore(archive: Path, folder: Path) -> None:
    """Restore ARCHIVE into a new FOLDER."""
    from labkit.lab import restore as restore_lab

    with restore_lab(archive, folder) as lab:
        click.echo(str(lab.folder))


for _command in (*jobs.COMMANDS, *plans.COMMANDS, tool, lab):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run a command; a user's mistake is one line and exit status 1 or 2, never a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    raise SystemExit(_guarded(lambda: cli.main(args=given or ["--help"], prog_name="labkit", standalone_mode=False)))


def _guarded(command: Callable[[], Any]) -> int:
    try:
        result = command()
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        hint = f" (see {where.command_path} --help)" if where is not None else ""
        _complain(error.format_message() + hint)
        return 2
    except LabkitError as error:
        _complain(str(error))
        return 1
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted")
        return 130
    except OSError as error:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0
        _complain(f"{str(error.filename or 'output')[:200]}: {error.strerror or error}")
        return 1
    except Exception as error:
        if os.environ.get("LABKIT_DEBUG"):
            raise
        _complain(f"internal error: {type(error).__name__}: {error} (LABKIT_DEBUG=1 shows where; please report it)")
        return 70
    return result if isinstance(result, int) else 0


def _complain(message: str) -> None:
    """Say what was wrong; what paints it is loaded only now, so that a stop at a tool waits for nothing."""
    from labkit.cli.output import complain

    complain(message)
