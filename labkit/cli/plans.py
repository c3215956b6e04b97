"""``labkit template`` and ``labkit schedule``: work that is handed in again and again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from labkit.core.errors import LabkitError

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
_NAME = click.argument("name")
_TEMPLATE_COLUMNS = ("name", "recipe", "version", "tool", "terms", "author", "changed")
_SCHEDULE_COLUMNS = ("name", "cron", "timezone", "template", "enabled", "next", "run", "problem")


def _lab(context: click.Context, *, create: bool = False) -> Any:
    from labkit.lab import open as open_lab

    return open_lab(context.find_root().obj, create=create)


def _listed(title: str, columns: tuple[str, ...], found: Any, as_json: bool) -> None:
    from labkit.cli.output import emit, table

    if as_json:
        emit([{name: row[name] for name in columns} for row in found])
    else:
        table(title, columns, [[_text(row[name]) for name in columns] for row in found])


def _text(value: Any) -> Any:
    return f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else value


def _done(said: str, document: dict[str, Any], as_json: bool) -> None:
    from labkit.cli.output import emit

    emit(document) if as_json else click.echo(said)


@click.group()
def template() -> None:
    """Keep recipes with their terms under a name, and hand them in."""


@template.command("save")
@_NAME
@click.argument("recipe")
@click.option("--version", type=int, help="Version of the stored recipe; default: the latest one now.")
@click.option("--tool", help="Tool to run on.")
@click.option("--lot", help="Lot the wafers belong to.")
@click.option("--product", help="Product, for limits that depend on it.")
@click.option("--priority", type=int, help="Larger goes first.")
@click.option("--retries", type=int, help="How often a run that could not be started is tried again.")
@click.option("--soft-limit", "soft_limit_s", type=float, metavar="SECONDS", help="Announced as late after this time.")
@click.option("--hard-limit", "hard_limit_s", type=float, metavar="SECONDS", help="Stopped after this time.")
@click.option("--expires", "expires_s", type=float, metavar="SECONDS", help="Cancel if not started in this time.")
@_AS_JSON
@click.pass_context
def save(
    context: click.Context,
    /,
    name: str,
    recipe: str,
    version: int | None,
    expires_s: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Keep RECIPE, a file or the name of a stored recipe, with its terms as NAME."""
    from labkit.lab import load_recipe

    terms = {key: value for key, value in options.items() if value is not None}
    if expires_s is not None:
        terms["expires"] = timedelta(seconds=expires_s)
    is_file = recipe.endswith(".json") or Path(recipe).is_file()
    if is_file and version is not None:
        raise LabkitError("--version is for stored recipes", fix="leave it out, or give the name of a stored recipe")
    with _lab(context, create=is_file) as lab:
        lab.save_template(name, load_recipe(recipe) if is_file else recipe, version=version, **terms)
    _done(f"template {name} is kept", {"template": name}, as_json)


@template.command("list")
@_AS_JSON
@click.pass_context
def list_templates(context: click.Context, as_json: bool) -> None:
    """List the templates."""
    with _lab(context) as lab:
        _listed("templates", _TEMPLATE_COLUMNS, lab.templates(), as_json)


@template.command("submit")
@_NAME
@click.option("--tool", help="Another tool than the template's.")
@click.option("--lot", help="Another lot than the template's.")
@click.option("--priority", type=int, help="Another priority than the template's.")
@_AS_JSON
@click.pass_context
def submit_template(context: click.Context, /, name: str, as_json: bool, **options: Any) -> None:
    """Hand in the job that template NAME describes."""
    with _lab(context) as lab:
        job = lab.submit_template(name, **{key: value for key, value in options.items() if value is not None})
        run = job.run
        _done(repr(job), {"run": run.id, "number": run.seq, "state": run.state}, as_json)
    if run.state in ("REJECTED", "BLOCKED", "FAILED"):
        raise SystemExit(3)


@template.command("delete")
@_NAME
@_AS_JSON
@click.pass_context
def delete_template(context: click.Context, name: str, as_json: bool) -> None:
    """Forget template NAME; refused while a schedule uses it."""
    with _lab(context) as lab:
        lab.delete_template(name)
    _done(f"template {name} is gone", {"template": name}, as_json)


@click.group()
def schedule() -> None:
    """Hand templates in at fixed times."""


@schedule.command("add")
@_NAME
@click.argument("cron")
@click.argument("template_name", metavar="TEMPLATE")
@click.option("--timezone", default="UTC", show_default=True, help="IANA name, such as Europe/Berlin.")
@click.option("--lot", help="Lot of each run, with {date}, {time} or {number}.")
@_AS_JSON
@click.pass_context
def add(
    context: click.Context, name: str, cron: str, template_name: str, timezone: str, lot: str | None, as_json: bool
) -> None:
    """Hand TEMPLATE in whenever CRON says ("0 2 * * *": every night at two)."""
    with _lab(context) as lab:
        first = lab.schedule(name, cron=cron, template=template_name, timezone=timezone, lot=lot)
    said = f"schedule {name}: first at {first:%Y-%m-%d %H:%M %Z}"
    _done(said, {"schedule": name, "next": first.isoformat()}, as_json)


@schedule.command("list")
@_AS_JSON
@click.pass_context
def list_schedules(context: click.Context, as_json: bool) -> None:
    """List the schedules, with when they come next."""
    with _lab(context) as lab:
        found = lab.schedules()
    _listed(found.title, _SCHEDULE_COLUMNS, found, as_json)


def _changing(word: str, method: str, said: str, what: str) -> None:
    @schedule.command(word, help=what)
    @_NAME
    @_AS_JSON
    @click.pass_context
    def command(context: click.Context, name: str, as_json: bool) -> None:
        with _lab(context) as lab:
            getattr(lab, method)(name)
        _done(f"schedule {name} is {said}", {"schedule": name}, as_json)


_changing("remove", "unschedule", "gone", "Forget schedule NAME; what it has handed in goes on.")
_changing("enable", "enable_schedule", "enabled", "Let schedule NAME go on from its next time.")
_changing("disable", "disable_schedule", "disabled", "Let schedule NAME rest; it is kept.")

COMMANDS = (template, schedule)
