"""What a simulated tool is: ``tool.json`` in its folder, from which any host makes the same equipment."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from labkit.core import registry
from labkit.core.errors import Corrupted, NotFound, ToolError
from labkit.core.recipe import Strict, knob
from labkit.core.tool import Clock
from labkit.devices.simulated import SimulatedTool


class Definition(Strict):
    """A simulated tool: who it is, its seed, how it was installed, and how it delivers and keeps time."""

    name: str = knob(description="Tool name", min_length=1, max_length=80)
    process: str = knob(description="Process that its equipment carries out")
    seed: int = knob(0, description="Fixes every noise sample of every run", ge=0)
    condition: dict[str, Any] = Field(default_factory=dict, description="How it departed from nominal when installed")
    block: int = knob(600, description="Telemetry samples per block", ge=1, le=1_000_000)
    clock: Clock = Field(default_factory=Clock, description="How its time passes")

    def equipment(self) -> Definition:
        """The part that fixes its results."""
        return self.model_copy(update={"block": 600, "clock": Clock()})


def install(folder: Path, definition: Definition) -> None:
    """Keep *definition* in *folder*; block and clock may change later, the equipment may not.

    Raises
    ------
    ToolError
        If another tool is installed there.
    """
    path = folder / "tool.json"
    if path.exists():
        known = installed(folder)
        if known == definition:
            return
        if known.equipment() != definition.equipment():
            raise ToolError(
                f"{folder} holds another tool ({known.name}, {known.process}, seed {known.seed})",
                fix="open it as it is, or take another name",
            )
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"tool.{secrets.token_hex(4)}.new"
    aside.write_text(definition.model_dump_json(indent=2), encoding="utf-8")
    os.replace(aside, path)


def installed(folder: Path) -> Definition:
    """The definition of the tool in *folder*.

    Raises
    ------
    NotFound
        If no tool is installed there.
    Corrupted
        If the file cannot be read.
    """
    path = folder / "tool.json"
    try:
        return Definition.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"no tool is installed in {folder}", fix="add one to the lab first") from None
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise Corrupted(
            f"{path} cannot be read ({type(error).__name__})", fix="restore it from a backup of the lab"
        ) from None


def build(folder: Path | None, definition: Definition, crash: Callable[[], None] | None = None) -> SimulatedTool:
    """The equipment itself, hosted by this process from now on; *crash* is what an injected crash does."""
    process = registry.process(definition.process)
    try:
        condition = process.condition_type.model_validate(definition.condition)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise ToolError(
            f"{definition.name} has a condition that {definition.process} does not know: "
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}",
            allowed=", ".join(process.condition_type.model_fields),
        ) from None
    return SimulatedTool(
        definition.name,
        process,
        seed=definition.seed,
        condition=condition,
        folder=folder,
        block=definition.block,
        clock=definition.clock,
        crash=crash,
    )
