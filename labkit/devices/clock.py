"""How a simulated tool's time passes: as fast as it computes, in (scaled) real time, or step by step.

Only the monotonic clock is read, so that setting the computer's clock moves no equipment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from labkit.core.errors import ToolError
from labkit.core.tool import Clock

UNBOUNDED = 1 << 62
"""Allowance of a tool that is not paced, samples."""


class Pace:
    """How many samples of one run may have been made by now.

    Parameters
    ----------
    clock : Clock
        The tool's clock.
    period_s : float
        Seconds of process between two samples.
    monotonic : callable
        Where the time comes from, s.
    """

    def __init__(self, clock: Clock, period_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = clock.scale / period_s
        self._now = monotonic
        self._lock = threading.Lock()
        self._since: float | None = monotonic()
        self._earned = 0.0
        self._granted = 0

    @property
    def live(self) -> bool:
        """Whether samples come one by one, so that they are worth passing on before a block is full."""
        return self._clock.mode != "unpaced"

    def allowed(self) -> int:
        """Samples that may have been made in all by now."""
        with self._lock:
            if self._since is None:
                return 0
            if self._clock.mode == "stepped":
                return self._granted
            if self._clock.mode == "unpaced":
                return UNBOUNDED
            return int(self._earned + (self._now() - self._since) * self._rate)

    def wait_s(self, made: int) -> float | None:
        """Seconds until one sample more than *made* is allowed; None where time alone does not bring it."""
        with self._lock:
            if self._clock.mode != "paced" or self._since is None:
                return None
            earned = self._earned + (self._now() - self._since) * self._rate
            return max(0.0, (made + 1 - earned) / self._rate)

    def hold(self) -> None:
        """Stand still until :meth:`go_on`."""
        with self._lock:
            if self._since is not None:
                if self._clock.mode == "paced":
                    self._earned += (self._now() - self._since) * self._rate
                self._since = None

    def go_on(self) -> None:
        """Time passes again, from where it stood."""
        with self._lock:
            self._since = self._now()

    def grant(self, samples: int) -> None:
        """Allow *samples* more of a stepped run."""
        if self._clock.mode != "stepped":
            raise ToolError(
                f"the tool's clock is {self._clock.mode} and cannot be stepped", fix='give it Clock(mode="stepped")'
            )
        with self._lock:
            self._granted += samples
