"""``labkit tool``: the equipment of a lab, straight from its folders. A stop needs nothing but the tool's folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import click

from labkit.cli.tool_sight import hold, hosted_elsewhere, seen
from labkit.core.errors import LabkitError, NotFound, ToolError

if TYPE_CHECKING:
    from labkit.store.catalogue import Catalogue

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
_RECORDING_S = 5.0
"""How long a command waits for the catalogue to take its audit record, s; the tool's own ledger has it anyway."""


@click.group()
def tool() -> None:
    """List, start, watch and stop the lab's tools."""


@tool.command("list")
@_AS_JSON
@click.pass_context
def list_tools(context: click.Context, as_json: bool) -> None:
    """List the lab's tools; starts none."""
    from labkit.cli.output import emit, table
    from labkit.core.settings import load_settings
    from labkit.store import tools

    root = _root(context)
    mode = load_settings(root).tools
    with _catalogue(root) as catalogue, catalogue.read() as tx:
        rows = tools.listing(tx)
    found = [
        {**seen(folder_of(root, row["id"]), row["id"], row["process"]), "mode": mode, "e10": row["state"]}
        for row in rows
    ]
    if as_json:
        emit({"tools": found})
        return
    columns = ("name", "process", "mode", "host", "state", "run", "latched", "e10")
    shown = [[one[c] if c != "latched" else ("yes" if one[c] else "no") for c in columns] for one in found]
    table(f"tools ({len(found)})", columns, shown)


@tool.command()
@click.argument("name")
@_AS_JSON
@click.pass_context
def start(context: click.Context, name: str, as_json: bool) -> None:
    """Start the process of tool NAME, if it is not running."""
    from labkit.devices import launch

    folder = _folder(context, name)
    found = launch.ensure_running(folder)
    said = {"tool": name, "pid": found.pid, "port": found.port, "stop_port": found.stop_port}
    _say(said, f"{name}: process {found.pid} listens on port {found.port}, for stops on {found.stop_port}", as_json)


@tool.command()
@click.argument("name")
@_AS_JSON
@click.pass_context
def status(context: click.Context, name: str, as_json: bool) -> None:
    """Show what tool NAME is doing; starts nothing."""
    from labkit.cli.output import emit, facts

    found = seen(_folder(context, name), name)
    if as_json:
        emit(found)
        return
    open_ones = [interlock for interlock, closed in found["interlocks"].items() if not closed]
    shown = {key: value for key, value in found.items() if key not in ("name", "interlocks") and value is not None}
    if found["interlocks"]:
        shown["interlocks"] = f"open: {', '.join(open_ones)}" if open_ones else "all closed"
    facts(name, shown)


@tool.command()
@click.argument("name")
@click.option("--emergency", is_flag=True, help="Latch: nothing starts until the tool is reset.")
@click.option("--shut-down", is_flag=True, help="End the tool's process afterwards.")
@_AS_JSON
@click.pass_context
def stop(context: click.Context, name: str, emergency: bool, shut_down: bool, as_json: bool) -> None:
    """Stop tool NAME, now: straight at its process, whatever the lab is doing."""
    from labkit.devices.stop_channel import stop_now

    root, folder = _root(context), _folder(context, name)
    try:
        took = stop_now(folder, emergency)
    except ToolError:
        if hosted_elsewhere(folder):
            raise ToolError(
                f"{name} lives inside another process, where no other one can stop it",
                fix=f'stop it there: lab.tool("{name}").stop(), or end that process',
            ) from None
        raise
    what = "emergency stop, latched" if emergency else "stopped"
    if not as_json:
        click.echo(f"{name}: {what} after {1e3 * took:.0f} ms")
    ended = _shut_down(folder) if shut_down else False
    recorded = _record(root, "tool.emergency" if emergency else "tool.stop", name, {"took_s": took})
    if as_json:
        said = {"tool": name, "emergency": emergency, "took_s": took, "shut_down": ended, "recorded": recorded}
        click.echo(json.dumps(said))
    elif ended:
        click.echo(f"{name}: process ended")


@tool.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("what", metavar="[MODE|PATH]", required=False)
@click.argument("magnitude", type=float, required=False)
@click.option("--per-run", type=float, default=0.0, help="Growth of the magnitude from run to run.")
@click.option("--first-run", type=click.IntRange(1), default=1, help="First run affected, in the tool's own count.")
@click.option("--last-run", type=click.IntRange(1), help="Last run affected.")
@click.option("--clear", is_flag=True, help="Take all injected faults back first.")
@_AS_JSON
@click.pass_context
def fault(
    context: click.Context,
    name: str,
    what: str | None,
    magnitude: float | None,
    per_run: float,
    first_run: int,
    last_run: int | None,
    clear: bool,
    as_json: bool,
) -> None:
    """Make simulated tool NAME depart from nominal: by a fault MODE of its process or of tools (hang, crash,
    lost_telemetry), or a PATH into its condition, shifted by MAGNITUDE."""
    from labkit.core import registry
    from labkit.core.tool import TOOL_FAULTS, Fault

    if (what is None or magnitude is None) and not (clear and what is None):
        raise click.UsageError("say MODE or PATH and MAGNITUDE, or --clear", context)
    with hold(_folder(context, name)) as handle:
        if clear:
            handle.clear_faults()
        injected: dict[str, Any] = {}
        if what is not None and magnitude is not None:
            modes = [mode.name for mode in registry.process(handle.process).fault_modes]
            place = {"mode": what} if what in (*modes, *TOOL_FAULTS) else {"path": what}
            meant = Fault(magnitude=magnitude, per_run=per_run, first_run=first_run, last_run=last_run, **place)
            try:
                handle.inject(meant)
            except LabkitError as error:
                raise ToolError(
                    error.what, allowed=f"{error.allowed or ''}; modes: {', '.join((*modes, *TOOL_FAULTS))}"
                ) from None
            injected = meant.model_dump(mode="json", exclude_defaults=True)
    recorded = _record(_root(context), "tool.fault", name, {"cleared": clear, **injected})
    words = " and ".join([*(["faults cleared"] if clear else []), *([f"{what} by {magnitude:g}"] if injected else [])])
    _say({"tool": name, "cleared": clear, "fault": injected or None, "recorded": recorded}, f"{name}: {words}", as_json)


@tool.command()
@click.argument("name")
@_AS_JSON
@click.pass_context
def reset(context: click.Context, name: str, as_json: bool) -> None:
    """Release a latched emergency stop of tool NAME, once it is safe to go on."""
    from labkit.lab import open as open_lab

    _folder(context, name)
    with open_lab(_root(context), create=False) as lab:
        latched = lab.reset_tool(name)
    recorded = _record(_root(context), "tool.reset", name, {"was_latched": latched})
    said = {"tool": name, "was_latched": latched, "recorded": recorded}
    _say(said, f"{name}: {'reset' if latched else 'was not latched'}", as_json)


def folder_of(root: Path, name: str) -> Path:
    """The folder of tool *name* in the lab at *root*."""
    return root / "tools" / quote(name, safe=" ")


def _root(context: click.Context) -> Path:
    root: Path = context.find_root().obj
    return root.expanduser()


def _folder(context: click.Context, name: str) -> Path:
    root = _root(context)
    found = folder_of(root, name)
    if not found.is_dir():
        known = sorted(unquote(folder.name) for folder in (root / "tools").glob("*") if folder.is_dir())
        raise NotFound(f"no tool {name!r} in {root}", allowed=", ".join(known) or "the lab has none yet")
    return found


def _say(document: Mapping[str, Any], line: str, as_json: bool) -> None:
    click.echo(json.dumps(document) if as_json else line)


def _shut_down(folder: Path) -> bool:
    from labkit.devices.launch import shut_down

    return shut_down(folder)


def _record(root: Path, action: str, name: str, detail: Mapping[str, Any]) -> bool:
    """Put *action* on tool *name* into the audit log; False, said on standard error, if the catalogue does not take
    it in time: then the tool's own ledger alone has it."""
    done: list[bool] = []

    def recording() -> None:
        from labkit.store import audit

        try:
            with _catalogue(root) as catalogue, catalogue.begin() as tx:
                audit.append(tx, action, name, {**detail, "by": "labkit tool"})
            done.append(True)
        except LabkitError:
            return

    thread = threading.Thread(target=recording, daemon=True)
    thread.start()
    thread.join(_RECORDING_S)
    if not done:
        click.echo(f"labkit: {action} of {name} is in the tool's ledger but not in the lab's audit log", err=True)
    return bool(done)


@contextmanager
def _catalogue(root: Path) -> Iterator[Catalogue]:
    """The lab's catalogue alone: no lab is opened, nothing recovered."""
    from labkit.core.identity import Principal
    from labkit.core.settings import load_settings
    from labkit.store.catalogue import Catalogue

    settings = load_settings(root)
    location = settings.database_url or root / "catalogue.db"
    if isinstance(location, Path) and not location.exists():
        raise NotFound(f"no lab in {root}", fix="say which: labkit --lab FOLDER tool …")
    catalogue = Catalogue(location, Principal.local(settings.organisation), folder=root)
    try:
        yield catalogue
    finally:
        catalogue.close()
