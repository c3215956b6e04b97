"""The command as a process: interrupted, with nobody reading, on a full disk, in a terminal that knows ASCII only."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import labkit
from labkit.core.tool import Clock
from labkit.lab import load_recipe

Command = tuple[list[str], Mapping[str, str]]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")


def _state(lab: Path) -> str:
    if not (lab / "catalogue.db").exists():
        return ""
    with sqlite3.connect(f"file:{lab / 'catalogue.db'}?mode=ro", uri=True) as connection:
        try:
            found = connection.execute("select state from runs order by seq desc").fetchone()
        except sqlite3.OperationalError:
            return ""
    connection.close()
    return found[0] if found else ""


def test_an_interrupted_run_is_cancelled_and_its_tool_free(
    command: Command, tool_processes: None, tmp_path: Path, oxide: Path
) -> None:
    call, environment = command
    lab = tmp_path / "lab"
    with labkit.open(lab) as opened:
        opened.add_tool("TUBE", "cvd", clock=Clock(mode="paced", scale=60.0))
    process = subprocess.Popen(
        [*call, "--lab", str(lab), "run", str(oxide)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    deadline = time.monotonic() + 60.0
    while _state(lab) != "RUNNING" and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, err.strip()) == ("", "labkit: interrupted")
    with labkit.open(lab) as opened:
        assert [run["state"] for run in opened.runs()] == ["CANCELLED"]
        assert opened.run(1).reason == "interrupted"
        assert [tool["state"] for tool in opened.tools()] == ["standby"]
        assert opened.tool("TUBE").executions(opened.run(1).id) <= 1
        opened.add_tool("TUBE-2", "cvd")
        assert opened.execute(load_recipe(oxide), tool="TUBE-2", progress=False).state == "COMPLETED"
        assert len(opened.verify()) == 0


@pytest.mark.parametrize("arguments", [("show", "1", "--json")])
def test_nobody_reading_the_output_is_no_error(command: Command, lab: Path, arguments: tuple[str, ...]) -> None:
    call, environment = command
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*call, "--lab", str(lab), *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        timeout=60,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_one_line(command: Command, lab: Path) -> None:
    call, environment = command
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*call, "--lab", str(lab), "runs", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "labkit: output: No space left on device\n")


def test_a_terminal_that_knows_ascii_only_gets_everything_that_it_can_show(
    command: Command, lab: Path, oxide: Path, tmp_path: Path
) -> None:
    call, environment = command
    recipe = tmp_path / "r.json"
    recipe.write_text(json.dumps({**json.loads(oxide.read_text(encoding="utf-8")), "name": "Öxid"}), encoding="utf-8")
    plain = {**environment, "PYTHONIOENCODING": "ascii", "COLUMNS": "200"}
    done = subprocess.run(
        [*call, "--lab", str(lab), "show", "1"], capture_output=True, text=True, env=plain, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "thickness_mean_nm" in done.stdout
    done = subprocess.run(
        [*call, "--lab", str(tmp_path / "lab"), "run", str(recipe), "--json"],
        capture_output=True,
        text=True,
        env=plain,
        timeout=60,
    )
    assert json.loads(done.stdout)["recipe_name"] == "Öxid"


def test_a_file_name_that_is_not_utf8_is_refused_in_one_line(command: Command, lab: Path, tmp_path: Path) -> None:
    call, environment = command
    name = os.fsencode(tmp_path) + b"/\xff\xfe.json"
    with open(name, "wb") as file:
        file.write(b"{")
    done = subprocess.run(
        [*(os.fsencode(part) for part in call), b"--lab", os.fsencode(lab), b"run", name],
        capture_output=True,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"not JSON" in done.stderr
