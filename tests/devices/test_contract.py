"""Every simulated tool keeps the tool contract, hosted by whoever uses it or by a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

import pytest

from labkit.core import registry
from labkit.core.tool import Clock, Tool
from labkit.devices import endpoint, launch
from labkit.devices.definition import Definition, build, install
from labkit.devices.remote import RemoteTool
from labkit.devices.simulated import SimulatedTool
from labkit.testing import DeviceTests
from labkit.testing.device_subject import patiently, wait


class Simulated(DeviceTests):
    """A simulated tool; ``pace``: seconds of process per second, such that a slow run lasts more than a minute."""

    pace: ClassVar[float]

    def definition(self, quick: bool) -> Definition:
        clock = Clock() if quick else Clock(mode="paced", scale=self.pace)
        return Definition(name="T 1", process=self.process_name, seed=1, block=50, clock=clock)

    def open_interlock(self, tool: Tool, name: str) -> None:
        # The interlocks of a simulated tool open together, when somebody presses its emergency stop.
        wait(tool.stop(emergency=True))

    def close_interlock(self, tool: Tool, name: str) -> None:
        wait(tool.reset())


class Inside(Simulated):
    def open_tool(self, folder: Path, *, quick: bool) -> SimulatedTool:
        return build(folder, self.definition(quick))

    def close_tool(self, tool: Tool) -> None:
        assert isinstance(tool, SimulatedTool)
        tool.close()


class InItsOwnProcess(Simulated):
    def open_tool(self, folder: Path, *, quick: bool) -> RemoteTool:
        install(folder, self.definition(quick))
        return RemoteTool(folder, timeout_s=60.0)

    def close_tool(self, tool: Tool) -> None:
        assert isinstance(tool, RemoteTool)
        wait(tool.disconnect())
        launch.shut_down(tool.folder)

    def kill_tool(self, tool: Tool) -> None:
        assert isinstance(tool, RemoteTool)
        found = endpoint.find(tool.folder)
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
        patiently(lambda: not launch.is_running(tool.folder), "a killed process still answers")
        wait(tool.disconnect())


class TestTubeInside(Inside):
    process_name = "cvd"
    pace = 40.0


class TestTubeInItsOwnProcess(InItsOwnProcess):
    process_name = "cvd"
    pace = 40.0


class TestScannerInside(Inside):
    process_name = "lithography"
    pace = 0.5


class TestScannerInItsOwnProcess(InItsOwnProcess):
    process_name = "lithography"
    pace = 0.5


COATER = """
    from labkit.core import registry
    from tests.devices.test_contract import {host}

    class TestCoater({host}):
        process_name = "spin_coating"
        pace = 8.0

        @property
        def recipe(self):
            return registry.process("spin_coating").example_recipes()[0].changed({{"spin_time_s": 600.0}})
"""


@pytest.fixture
def site(tmp_path: Path, checkout: Path) -> str:
    """What ``PYTHONPATH`` is where the spin-coating plug-in is installed."""
    information = tmp_path / "site" / "labkit_spin_coating-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: labkit-spin-coating\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[labkit.processes]\nspin_coating = labkit_spin_coating:SpinCoating\n"
    )
    package = checkout / "tests" / "plugins" / "labkit_spin_coating"
    return os.pathsep.join(map(str, (checkout, package, tmp_path / "site")))


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("host", "skipped"), [(Inside, 2), (InItsOwnProcess, 0)])
def test_the_tool_of_a_plug_in_keeps_the_contract_without_a_line_of_its_own(
    host: type[Simulated], skipped: int, site: str, tmp_path: Path
) -> None:
    (tmp_path / "test_coater.py").write_text(textwrap.dedent(COATER.format(host=host.__name__)), encoding="utf-8")
    plain = ["-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir=.", "-W", "error"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", *plain, "test_coater.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": site},
        capture_output=True,
        text=True,
        timeout=380,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outcome = done.stdout.strip().splitlines()[-1]
    assert " passed" in outcome
    assert (f"{skipped} skipped" in outcome) if skipped else ("skipped" not in outcome)


def test_the_kit_asks_for_what_it_needs() -> None:
    with pytest.raises(NotImplementedError, match="open_tool"):
        DeviceTests().open_tool(Path("nowhere"), quick=True)
    with pytest.raises(TypeError, match="process_name"):
        assert DeviceTests().chapter


def test_every_built_in_process_has_its_tool_tested() -> None:
    tested = {kind.process_name for kind in (TestTubeInside, TestScannerInside)}
    built_in = {name for name in registry.names("labkit.processes") if name != "spin_coating"}
    assert built_in == tested
