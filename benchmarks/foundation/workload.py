"""Work for the sweep's figure, in a module that Dask workers can import."""

from __future__ import annotations

import math
import time


def one_millisecond(points: list[tuple[float, ...]]) -> list[list[float]]:
    """Busy work of 1 ms of processor time per point, as a physics kernel would be."""
    found = []
    for (value,) in points:
        until = time.thread_time() + 1e-3
        while time.thread_time() < until:
            pass
        found.append([math.sin(value)])
    return found
