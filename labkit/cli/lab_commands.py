"""``labkit lab``: what is done to a lab as a whole."""

from __future__ import annotations

from typing import Any

import click


@click.group()
def lab() -> None:
    """Move a lab as a whole."""


@lab.command()
@click.argument("url")
@click.option("--dry-run", is_flag=True, help="Check everything and count the rows, but move nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
@click.pass_context
def migrate(context: click.Context, url: str, dry_run: bool, as_json: bool) -> None:
    """Move the lab's catalogue to the empty PostgreSQL database at URL (postgresql://user@host/name)."""
    from labkit.cli.output import emit
    from labkit.lab import open as open_lab
    from labkit.lab.opening import CATALOGUE
    from labkit.runs.lifecycle import FINAL, RunState
    from labkit.store.catalogue import Catalogue
    from labkit.store.transfer import transfer

    waiting_for_people = {RunState.ANOMALY_FLAGGED, RunState.ENGINEER_REVIEW, RunState.ESCALATED}
    unsettled = [state.value for state in RunState if state not in FINAL | waiting_for_people]
    with open_lab(context.find_root().obj, create=False) as opened:
        folder, principal = opened.folder, opened.principal
        location = opened.settings.database_url or folder / CATALOGUE
    with Catalogue(location, principal, folder=folder) as source:
        done = transfer(source, url, folder, unsettled=unsettled, dry_run=dry_run)
    document = {
        "lab": str(folder),
        "url": done.url,
        "moved": done.moved,
        "retired": None if done.retired is None else str(done.retired),
        "tables": done.rows,
    }
    emit(document) if as_json else _show(document)


def _show(document: dict[str, Any]) -> None:
    from labkit.cli.output import table

    rows = [*document["tables"].items(), ("in all", sum(document["tables"].values()))]
    title = "The lab has moved" if document["moved"] else "The lab can move: nothing was changed"
    table(f"{title} ({document['url']})", ("table", "rows"), rows, right=("rows",))
    if document["retired"]:
        click.echo(f"The SQLite catalogue is kept, read-only: {document['retired']}")
