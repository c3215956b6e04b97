"""Commands around the queue: hand a recipe in, see and change what waits, and be a worker."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from labkit.core.errors import StoreError

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
_RUN = click.argument("run_id", metavar="RUN")


def _lab(context: click.Context, *, create: bool = False, start_worker: bool = True) -> Any:
    from labkit.lab import open as open_lab

    return open_lab(context.find_root().obj, create=create, start_worker=start_worker)


def number_or_id(text: str) -> int | str:
    """A run's running number, or its id."""
    return int(text) if text.isdecimal() and len(text) <= 18 else text


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--tool", help="Tool to run on.")
@click.option("--lot", help="Lot the wafers belong to.")
@click.option("--product", help="Product, for limits that depend on it.")
@click.option("--priority", default=0, show_default=True, type=int, help="Larger goes first.")
@click.option("--after", multiple=True, metavar="RUN", help="Run that must complete first; may be repeated.")
@click.option("--in", "delay_s", type=float, metavar="SECONDS", help="Start no earlier than this from now.")
@click.option("--expires", "expires_s", type=float, metavar="SECONDS", help="Cancel if not started by this from now.")
@click.option("--wait", "waiting", is_flag=True, help="Wait until the run is over and show it.")
@_AS_JSON
@click.pass_context
def submit(
    context: click.Context,
    /,
    recipe: Path,
    after: tuple[str, ...],
    delay_s: float | None,
    expires_s: float | None,
    waiting: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Hand RECIPE in; a worker runs it."""
    from labkit.cli.output import emit
    from labkit.cli.show import show_run
    from labkit.lab import load_recipe

    parsed = load_recipe(recipe)
    with _lab(context, create=True) as lab:
        job = lab.submit(
            parsed,
            after=[number_or_id(run) for run in after],
            not_before=None if delay_s is None else timedelta(seconds=delay_s),
            expires=None if expires_s is None else timedelta(seconds=expires_s),
            **options,
        )
        run = job.result() if waiting else job.run
        if waiting:
            show_run(run, as_json=as_json)
        else:
            emit({"run": run.id, "number": run.seq, "state": run.state}) if as_json else click.echo(repr(job))
    if run.state in ("REJECTED", "BLOCKED", "FAILED"):
        raise SystemExit(3)


@click.command()
@_AS_JSON
@click.pass_context
def jobs(context: click.Context, as_json: bool) -> None:
    """List the jobs that are not over, in the order in which they would start."""
    from labkit.cli.output import emit, table

    columns = ("seq", "type", "shown", "progress", "priority", "recipe", "tool")
    with _lab(context) as lab:
        found = lab.jobs()
        rows = [[row[name] for name in columns] for row in found]
    if as_json:
        emit([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        heads = ("run", "type", "state", "%", "priority", "recipe", "tool")
        table("jobs", heads, [["" if v is None else str(v) for v in row] for row in rows], right=("run", "%"))


def _asking(word: str, what: str) -> click.Command:
    @click.command(word, help=what)
    @_RUN
    @_AS_JSON
    @click.pass_context
    def command(context: click.Context, run_id: str, as_json: bool) -> None:
        from labkit.cli.output import emit

        with _lab(context) as lab:
            job = lab.job(number_or_id(run_id))
            getattr(job, word)()
            emit({"run": job.id, "state": job.state}) if as_json else click.echo(repr(job))

    return command


cancel = _asking("cancel", "Cancel RUN: at once if it has not started, else its tool is stopped.")
pause = _asking("pause", "Hold RUN, in the queue or at its tool.")
resume = _asking("resume", "Let RUN go on.")


@click.command()
@click.option("--queue", "queues", multiple=True, metavar="PROCESS", help="Only jobs of this process; repeatable.")
@click.option("--slots", type=click.IntRange(1, 256), help="Runs at a time; default: the lab's settings.")
@click.option("--gpus", type=click.FloatRange(0, 64), help="GPUs to share out; default: the lab's settings.")
@click.option("--idle", "idle_s", type=click.FloatRange(0), metavar="SECONDS", help="End after this time without work.")
@click.option("--keep", is_flag=True, help="Stay even without work.")
@click.option("--on-demand", is_flag=True, help="Say nothing and end if the lab has a worker already.")
@click.pass_context
def worker(
    context: click.Context,
    queues: tuple[str, ...],
    slots: int | None,
    gpus: float | None,
    idle_s: float | None,
    keep: bool,
    on_demand: bool,
) -> None:
    """Work on the lab's queue until it is empty for a while, or Ctrl-C."""
    from labkit.lab.working import work_in

    try:
        with _handlers_kept(), _lab(context, start_worker=False) as lab:
            settings = lab.settings
            end = None if keep else settings.worker_idle_s if idle_s is None else idle_s
            work_in(
                lab,
                queues=queues or None,
                slots=slots or settings.worker_slots,
                gpus=settings.gpus if gpus is None else gpus,
                idle_s=end,
                say=lambda line: click.echo(line, err=False),
                on_stop=_on_signals,
            )
            if on_demand:
                lab.start_worker_if_needed()
    except StoreError as error:
        if on_demand and "has a worker already" in error.what:
            return
        raise


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Give signals back the meaning they had, once the worker is done with them."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _on_signals(stop: Callable[[], None]) -> None:
    """The first Ctrl-C or termination ends the worker when its runs are at rest; the next one at once."""

    def first(number: int, frame: object) -> None:
        click.echo("finishing the runs in hand; once more to leave them to the next worker", err=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, first)


COMMANDS = (submit, jobs, cancel, pause, resume, worker)
