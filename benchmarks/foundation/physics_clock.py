"""How much of a run is physics: the time spent in a process's methods and in its twins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class PhysicsClock:
    """Sums the time spent inside a process's physics while active; nested calls count once."""

    METHODS = ("simulate", "summarise", "measure", "twin", "findings", "incoming_wafers", "knobs", "targets")

    def __init__(self, process: Any) -> None:
        self.kind, self.spent, self._depth = type(process), 0.0, 0

    def __enter__(self) -> None:
        self._original = {name: getattr(self.kind, name) for name in self.METHODS}
        for name, method in self._original.items():
            setattr(self.kind, name, self._timed(method))

    def __exit__(self, *_: object) -> None:
        for name, method in self._original.items():
            setattr(self.kind, name, method)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(process: Any, *args: Any, **options: Any) -> Any:
            if self._depth:
                return method(process, *args, **options)
            self._depth += 1
            began = time.perf_counter()
            try:
                found = method(process, *args, **options)
            finally:
                self._depth -= 1
                self.spent += time.perf_counter() - began
            return _TimedTwin(found, self) if method.__name__ == "twin" else found

        return timed


class _TimedTwin:
    """A twin whose steps count as physics."""

    def __init__(self, twin: Any, clock: PhysicsClock) -> None:
        self._twin, self._clock = twin, clock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._twin, name)
        if not callable(found):
            return found

        def timed(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return found(*args)
            finally:
                self._clock.spent += time.perf_counter() - began

        return timed
