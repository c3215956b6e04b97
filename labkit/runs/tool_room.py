"""The tools of a lab as this process reaches them: opened once, from what the catalogue says about them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from labkit.core import registry
from labkit.core.errors import ToolError
from labkit.core.tool import Clock
from labkit.devices.definition import Definition
from labkit.devices.opening import open_tool
from labkit.devices.remote import RemoteTool
from labkit.devices.simulated import SimulatedTool
from labkit.store import tools
from labkit.store.catalogue import Catalogue, Row

SimulatedHandle = SimulatedTool | RemoteTool


class ToolRoom:
    """Handles on the simulated tools of one lab, kept open until :meth:`close`.

    Parameters
    ----------
    folder : Path
        The lab's folder.
    mode : str
        ``"process"``: each tool runs in a light process of its own and outlives this one; ``"inside"``: within this
        process.
    block : int
        Telemetry samples per block.
    """

    def __init__(self, catalogue: Catalogue, folder: Path, *, mode: Literal["process", "inside"], block: int) -> None:
        self._catalogue = catalogue
        self._folder = folder
        self._mode = mode
        self._block = block
        shared = catalogue.url.get_backend_name() != "sqlite"
        self._home = f"{socket.gethostname()}:{folder.resolve()}" if shared else None
        self._lock = threading.Lock()
        self._open: dict[str, SimulatedHandle] = {}

    def folder_of(self, tool: str) -> Path:
        """Where a tool keeps its definition, its ledger and its endpoint."""
        return self._folder / "tools" / quote(tool, safe=" ")

    def tool(self, tool: str) -> SimulatedHandle:
        """A handle on *tool*.

        Raises
        ------
        NotFound
            If the lab has no such tool.
        ToolError
            If another process holds it and tools do not run in processes of their own.
        """
        with self._lock:
            if tool not in self._open:
                row = self._at_home(tool)
                self._open[tool] = open_tool(self.folder_of(tool), self._definition(row), self._mode)
            return self._open[tool]

    def is_here(self, row: Mapping[str, Any]) -> bool:
        """Whether the tool of a catalogue *row* lives in this lab's folder, or has not been used yet.

        Several machines may share a PostgreSQL catalogue; a tool and its ledger are on one of them.
        """
        return self._home is None or row["config"].get("home") in (None, self._home)

    def _at_home(self, tool: str) -> Row:
        """The row of *tool*, which lives here from its first use on."""
        with self._catalogue.read() as tx:
            row = tools.get(tx, tool)
        if not self.is_here(row):
            raise ToolError(
                f"{tool} lives on another machine or in another folder ({row['config']['home']})",
                fix="hand the run in with lab.submit(…): a worker there carries it out",
            )
        if self._home is not None and row["config"].get("home") is None:
            with self._catalogue.begin() as tx:
                tools.settle(tx, tool, self._home)
        return row

    def _definition(self, row: dict[str, Any]) -> Definition:
        config = row["config"]
        chapter = registry.process(row["process"])
        return Definition(
            name=row["id"],
            process=chapter.name,
            seed=int(config.get("seed", 0)),
            condition=config.get("condition", {}),
            block=self._block,
            clock=Clock.model_validate(config.get("clock", {})),
        )

    def close(self) -> None:
        """Let go of every tool; those in processes of their own go on."""
        with self._lock:
            for tool in self._open.values():
                if isinstance(tool, SimulatedTool):
                    tool.close()
            self._open.clear()
