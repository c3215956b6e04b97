"""The tools of a lab: adding them, holding them, and what they have been doing."""

from __future__ import annotations

from filelock import BaseFileLock

from labkit.core import registry
from labkit.core.errors import LabkitError
from labkit.core.process import Condition
from labkit.core.tool import Clock
from labkit.devices.handle import ToolHandle
from labkit.lab import bookkeeping
from labkit.lab.listing import Listing
from labkit.lab.recipe_book import RecipeBook
from labkit.lab.run_records import RunRecords
from labkit.operations.cost import Rates
from labkit.operations.policy import process_permission, require
from labkit.operations.tool_states import EquipmentState, availability, seconds_in, utilisation
from labkit.runs import hiring
from labkit.runs.workplace import Workplace
from labkit.store import tools
from labkit.store.clock import now


class ToolShed(RecipeBook, RunRecords):
    """The part of a lab that knows its tools."""

    def __init__(self, place: Workplace, lock: BaseFileLock) -> None:
        super().__init__(place, lock)
        self._handles: dict[str, ToolHandle] = {}

    def add_tool(
        self,
        name: str,
        process: str,
        *,
        seed: int = 0,
        condition: Condition | None = None,
        rates: Rates | None = None,
        clock: Clock | None = None,
    ) -> ToolHandle:
        """Add a simulated tool. *condition* is how it departs from nominal from its first day, *rates* what it costs,
        *clock* how its time passes (by default as fast as it can compute)."""
        require(self.principal, process_permission(process, "simulate"))
        bookkeeping.require_name("tool", name, longest=80)
        chapter = registry.process(process)
        config = {
            "seed": seed,
            "rates": (rates or Rates()).model_dump(mode="json"),
            "condition": (condition or chapter.condition_type()).model_dump(mode="json"),
            "clock": (clock or Clock()).model_dump(mode="json"),
        }
        with self._place.catalogue.begin() as tx:
            known = next((row for row in tools.listing(tx) if row["id"] == name), None)
            config |= {"home": known["config"]["home"]} if known and "home" in known["config"] else {}
            if known is not None and (known["process"], known["config"]) != (process, config):
                raise LabkitError(
                    f"tool {name!r} exists and is another one", fix=f'take lab.tool("{name}"), or another name'
                )
            tools.register(tx, name, process=process, kind="simulated", config=config)
        return self.tool(name)

    def tool(self, name: str) -> ToolHandle:
        """A handle on a tool: plain calls, and ``.asynchronous`` for ``await``.

        Raises
        ------
        NotFound
            If the lab has no such tool.
        """
        if name not in self._handles:
            self._handles[name] = ToolHandle(self._place.tools.tool(name))
        return self._handles[name]

    def tools(self) -> Listing:
        """The lab's tools, with their E10 state."""
        with self._place.catalogue.read() as tx:
            return Listing("tools", ("name", "process", "kind", "state"), tools.listing(tx))

    def set_tool_state(self, name: str, state: str, reason: str = "") -> None:
        """Put a tool into an E10 state, e.g. ``"unscheduled_down"``, with the reason."""
        with self._place.catalogue.begin() as tx:
            tools.set_state(tx, name, state, reason=reason)
        hiring.ensure_worker_if_needed(self._place)

    def reset_tool(self, name: str) -> bool:
        """Release a latched emergency stop, and put the tool up again if that was what took it down; whether one was
        latched."""
        require(self.principal, "tool:stop")
        handle = self.tool(name)
        handle.connect()
        latched = handle.status().latched
        handle.reset()
        with self._place.catalogue.begin() as tx:
            reason = str(tools.timeline(tx, name)[-1]["reason"] or "")
            down = tools.get(tx, name)["state"] == EquipmentState.UNSCHEDULED_DOWN.value
            if down and "emergency stop" in reason:
                tools.set_state(tx, name, EquipmentState.STANDBY.value, reason="emergency stop released")
        hiring.ensure_worker_if_needed(self._place)
        return latched

    def tool_history(self, name: str) -> Listing:
        """A tool's E10 timeline, with availability and utilisation since it was added in the title."""
        with self._place.catalogue.read() as tx:
            tools.get(tx, name)
            rows = tools.timeline(tx, name)
        seconds = seconds_in([(row["since"], EquipmentState(row["state"])) for row in rows], now())
        title = f"{name}: available {100 * availability(seconds):.1f} %, utilised {100 * utilisation(seconds):.1f} %"
        return Listing(title, ("since", "until", "state", "reason", "user"), rows)

    def _only_tool(self, process: str) -> str | None:
        with self._place.catalogue.read() as tx:
            fitting = [row["name"] for row in tools.listing(tx) if row["process"] == process]
        if len(fitting) > 1:
            raise LabkitError(
                f"{len(fitting)} tools run {process}", allowed=", ".join(fitting), fix=f'say which: tool="{fitting[0]}"'
            )
        return fitting[0] if fitting else None
