"""``labkit tool`` on a lab with real tool processes: what is listed, started, stopped, injected, reset, recorded."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from labkit.cli.main import cli
from labkit.cli.tools import folder_of, tool
from labkit.core import registry
from labkit.core.identity import Principal
from labkit.core.tool import Clock, LedgerState, ToolState
from labkit.devices import launch
from labkit.devices.definition import Definition, build, install
from labkit.devices.handle import ToolHandle
from labkit.devices.remote import RemoteTool
from labkit.store import audit, tools
from labkit.store.catalogue import Catalogue

from .conftest import Labkit

SCANNER = registry.process("lithography")
RECIPE = SCANNER.example_recipes()[0]
NAME = "Scanner 1/a"

if "tool" not in cli.commands:
    cli.add_command(tool)


@pytest.fixture
def tool_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lab with a slow scanner and a tube, no process running; whatever a test starts is ended."""
    monkeypatch.setenv("LABKIT_TOOLS", "process")
    root = tmp_path / "lab ü"
    root.mkdir()
    (root / "labkit.toml").write_text("", encoding="utf-8")
    catalogue = Catalogue(root / "catalogue.db", Principal("ada"), folder=root)
    with catalogue.begin() as tx:
        tools.register(tx, NAME, process="lithography", config={})
        tools.register(tx, "TUBE", process="cvd", config={})
    catalogue.close()
    slow = Clock(mode="paced", scale=0.2)
    install(folder_of(root, NAME), Definition(name=NAME, process="lithography", clock=slow))
    install(folder_of(root, "TUBE"), Definition(name="TUBE", process="cvd"))
    yield root
    for name in (NAME, "TUBE"):
        launch.shut_down(folder_of(root, name))


@pytest.fixture
def scanner(tool_lab: Path) -> Iterator[ToolHandle]:
    """The slow scanner, running run r1 in its own process."""
    handle = ToolHandle(RemoteTool(folder_of(tool_lab, NAME)))
    handle.connect()
    handle.configure(RECIPE)
    handle.load(SCANNER.incoming_wafers(RECIPE))
    handle.start("r1", RECIPE.content_hash, 1)
    yield handle
    handle.disconnect()


def recorded(root: Path) -> list[tuple[str, str]]:
    """Actions and subjects of the audit log."""
    catalogue = Catalogue(root / "catalogue.db", Principal("ada"), folder=root)
    try:
        with catalogue.read() as tx:
            return [(row["action"], row["subject"]) for row in audit.records(tx)]
    finally:
        catalogue.close()


def test_a_list_starts_nothing_and_shows_every_tool(labkit: Labkit, tool_lab: Path) -> None:
    said = labkit("--lab", tool_lab, "tool", "list", "--json")
    assert (said.status, said.err) == (0, "")
    found = {one["name"]: one for one in said.document["tools"]}
    assert set(found) == {NAME, "TUBE"}
    assert (found["TUBE"]["process"], found["TUBE"]["mode"], found["TUBE"]["host"]) == ("cvd", "process", None)
    assert (found["TUBE"]["e10"], found["TUBE"]["latched"], found["TUBE"]["run"]) == ("standby", False, None)
    assert not launch.is_running(folder_of(tool_lab, "TUBE"))
    assert "TUBE" in labkit("--lab", tool_lab, "tool", "list").out


def test_a_tool_is_started_seen_and_shut_down(labkit: Labkit, tool_lab: Path) -> None:
    started = labkit("--lab", tool_lab, "tool", "start", "TUBE", "--json").document
    assert launch.is_running(folder_of(tool_lab, "TUBE"))
    seen = labkit("--lab", tool_lab, "tool", "status", "TUBE", "--json").document
    assert seen["host"] == f"process {started['pid']}"
    assert (seen["state"], seen["latched"]) == ("idle", False)
    assert set(seen["interlocks"]) == set(registry.process("cvd").interlocks)
    assert "all closed" in labkit("--lab", tool_lab, "tool", "status", "TUBE").out
    again = labkit("--lab", tool_lab, "tool", "start", "TUBE", "--json").document
    assert again["pid"] == started["pid"]
    ended = labkit("--lab", tool_lab, "tool", "stop", "TUBE", "--shut-down", "--json").document
    assert ended["shut_down"]
    assert not launch.is_running(folder_of(tool_lab, "TUBE"))


def test_a_run_in_progress_is_listed_and_stopped(labkit: Labkit, tool_lab: Path, scanner: ToolHandle) -> None:
    listed = labkit("--lab", tool_lab, "tool", "list", "--json").document["tools"]
    assert [(one["state"], one["run"]) for one in listed if one["name"] == NAME] == [("running", "r1")]
    said = labkit("--lab", tool_lab, "tool", "stop", NAME, "--json").document
    assert (said["emergency"], said["recorded"]) == (False, True)
    entry = scanner.ledger("r1")
    assert entry is not None
    assert entry.state is LedgerState.STOPPED
    assert (scanner.status().state, scanner.status().latched) == (ToolState.STOPPED, False)
    assert ("tool.stop", NAME) in recorded(tool_lab)


def test_an_emergency_stop_latches_until_it_is_reset(labkit: Labkit, tool_lab: Path, scanner: ToolHandle) -> None:
    said = labkit("--lab", tool_lab, "tool", "stop", NAME, "--emergency")
    assert said.status == 0
    assert "latched" in said.out
    assert scanner.status().latched
    assert "emergency" in labkit("--lab", tool_lab, "tool", "status", NAME).out
    assert labkit("--lab", tool_lab, "tool", "reset", NAME, "--json").document["was_latched"]
    assert not scanner.status().latched
    assert recorded(tool_lab)[-2:] == [("tool.emergency", NAME), ("tool.reset", NAME)]


def test_an_emergency_stop_latches_a_tool_that_is_switched_off(labkit: Labkit, tool_lab: Path) -> None:
    assert labkit("--lab", tool_lab, "tool", "stop", "TUBE", "--emergency").status == 0
    assert labkit("--lab", tool_lab, "tool", "status", "TUBE", "--json").document["latched"]
    assert labkit("--lab", tool_lab, "tool", "reset", "TUBE").status == 0
    assert not labkit("--lab", tool_lab, "tool", "status", "TUBE", "--json").document["latched"]


def test_a_stop_is_not_kept_waiting_by_a_locked_catalogue(
    labkit: Labkit, tool_lab: Path, scanner: ToolHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.cli.tools._RECORDING_S", 0.5)
    blocker = sqlite3.connect(tool_lab / "catalogue.db", isolation_level=None)
    try:
        blocker.execute("BEGIN IMMEDIATE")
        said = labkit("--lab", tool_lab, "tool", "stop", NAME, "--emergency", "--json")
        assert (said.status, said.document["recorded"]) == (0, False)
        assert "audit log" in said.err
        assert scanner.status().latched
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()


def test_a_stop_as_a_process_of_its_own_imports_neither_arrays_nor_database_before_the_tool_stands(
    command: tuple[list[str], Mapping[str, str]], tool_lab: Path, scanner: ToolHandle
) -> None:
    program = (
        "import sys\n"
        "from labkit.cli.main import cli\n"
        "from labkit.cli.tools import tool\n"
        "cli.commands.setdefault('tool', tool)\n"
        "import labkit.cli.tools as commands\n"
        "heavy = {'numpy', 'xarray', 'pandas', 'sqlalchemy', 'scipy', 'pydantic'}\n"
        "def look(*a): print('came along:', sorted(heavy & set(sys.modules))); return True\n"
        "commands._record = look\n"
        "cli.main(standalone_mode=False)\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [command[0][0], "-c", program, "--lab", str(tool_lab), "tool", "stop", NAME],
        env=dict(command[1]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "came along: []" in done.stdout, f"{done.stdout} after {time.monotonic() - began:.2f} s"
    entry = scanner.ledger("r1")
    assert entry is not None
    assert entry.state is LedgerState.STOPPED


def test_faults_are_injected_by_mode_and_by_path_and_taken_back(labkit: Labkit, tool_lab: Path) -> None:
    by_mode = labkit("--lab", tool_lab, "tool", "fault", "TUBE", "sih4_mfc", "0.02", "--per-run", "0.01",
                     "--first-run", "3", "--json").document  # fmt: skip
    assert by_mode["fault"] == {"mode": "sih4_mfc", "magnitude": 0.02, "per_run": 0.01, "first_run": 3}
    by_path = labkit("--lab", tool_lab, "tool", "fault", "TUBE", "heater_gain.2", "-1", "--json").document
    assert by_path["fault"] == {"path": "heater_gain.2", "magnitude": -1.0}
    assert labkit("--lab", tool_lab, "tool", "fault", "TUBE", "hang", "0.5").status == 0
    launch.shut_down(folder_of(tool_lab, "TUBE"))
    with build(folder_of(tool_lab, "TUBE"), Definition(name="TUBE", process="cvd")) as kept:
        assert kept.condition_at(3).value("mfc_gain.SiH4") == pytest.approx(1.02)
        assert kept.condition_at(1).value("heater_gain.2") < 1e-3
    assert labkit("--lab", tool_lab, "tool", "fault", "TUBE", "--clear").status == 0
    launch.shut_down(folder_of(tool_lab, "TUBE"))
    with build(folder_of(tool_lab, "TUBE"), Definition(name="TUBE", process="cvd")) as kept:
        assert kept.condition_at(3) == registry.process("cvd").condition_type()
    assert recorded(tool_lab).count(("tool.fault", "TUBE")) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "nobody"], f"no tool 'nobody'.*{NAME}"),
        (["stop", "nobody"], "no tool 'nobody'"),
        (["stop", "TUBE"], "not running"),
        (["fault", "TUBE", "gremlins", "1"], "gremlins.*sih4_mfc"),
        (["fault", "TUBE", "leak"], "MAGNITUDE"),
        (["fault", "TUBE", "hang", "2"], "fraction"),
        (["fault", "TUBE", "mfc_gain.SiH4", "99"], "99"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line(labkit: Labkit, tool_lab: Path, arguments: list[str], words: str) -> None:
    import re

    assert re.search(words, labkit("--lab", tool_lab, "tool", *arguments).complaint)


def test_a_list_of_no_lab_says_so(labkit: Labkit, tmp_path: Path) -> None:
    assert "no lab" in labkit("--lab", tmp_path / "none", "tool", "list").complaint
    assert not (tmp_path / "none").exists()


def test_a_tool_inside_another_process_is_seen_and_says_where_to_stop_it(labkit: Labkit, tool_lab: Path) -> None:
    with build(folder_of(tool_lab, "TUBE"), Definition(name="TUBE", process="cvd")):
        seen = labkit("--lab", tool_lab, "tool", "status", "TUBE", "--json").document
        assert (seen["host"], seen["state"]) == ("inside another process", "unknown")
        assert "inside another process" in labkit("--lab", tool_lab, "tool", "stop", "TUBE", "--emergency").complaint


def test_what_the_commands_print_for_scripts_is_json(labkit: Labkit, tool_lab: Path) -> None:
    out = labkit("--lab", tool_lab, "tool", "start", "TUBE", "--json").out
    assert set(json.loads(out)) == {"tool", "pid", "port", "stop_port"}
