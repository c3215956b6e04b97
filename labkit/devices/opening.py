"""Opening a simulated tool from its folder: inside this process, or in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from labkit.devices.definition import Definition, build, install
from labkit.devices.remote import RemoteTool
from labkit.devices.simulated import SimulatedTool


def open_tool(
    folder: Path, definition: Definition, mode: Literal["inside", "process"] = "process"
) -> SimulatedTool | RemoteTool:
    """The tool of *folder*, installed as *definition* says if it is new.

    ``"inside"`` hosts it here, at once; ``"process"`` starts its own process when it is first needed.

    Raises
    ------
    ToolError
        If another tool is installed there, or (inside) another process hosts it.
    """
    install(folder, definition)
    return build(folder, definition) if mode == "inside" else RemoteTool(folder)
