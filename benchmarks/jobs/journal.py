"""The journal's figures: rows per second, the age of a row when another process reads it, and many readers of a run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.wire import pack_telemetry, unpack_telemetry
from labkit.runs.stream import StreamWriter, follow, follow_async
from labkit.store.journal import Journals

Row = dict[str, Any]
RUN = "R1"
CHANNELS = tuple(f"channel_{number}" for number in range(20))
ROWS_PER_S, BLOCK = 25_000, 250
SECONDS = 10.0
DURABLE_EVERY_S = 0.25
"""A run makes its telemetry power-safe about that often, before it acknowledges it to the tool, s."""
FOLLOWERS, MESSAGES_PER_S = 200, 20


def journal_rate() -> list[Row]:
    """Telemetry of 20 float32 channels and time, paced, read by another process: how much, and how old at its
    reading. Both have loaded Arrow before; that takes a third of a second, once."""
    with tempfile.TemporaryDirectory() as folder:
        reader = _another("listen", folder)
        try:
            with StreamWriter(Journals(folder), RUN) as stream:
                _warm()
                _line(reader)
                began = time.monotonic()
                slowest = _write_paced(stream, began)
                spent = time.monotonic() - began
                stream.completed("COMPLETED")
            found = json.loads(_line(reader))
        finally:
            _end(reader)
        unpaced = _unpaced(Path(folder))
    ages_ms = 1e3 * np.array(found["ages_s"])
    rows = found["rows"] if not found["missed"] else 0
    return [
        {
            "name": "journal rows written and read elsewhere, 20 channels",
            "value": rows / spent,
            "unit": "rows/s",
            "reference": "≥ 20000",
            "ok": rows / spent >= 20_000,
            "unpaced_rows_per_s": unpaced,
            "longest_append_ms": 1e3 * slowest,
        },
        {
            "name": "age of the oldest row when read in another process",
            "value": float(ages_ms.max()),
            "unit": "ms",
            "reference": "< 150",
            "ok": bool(ages_ms.max() < 150.0),
            "median_ms": float(np.median(ages_ms)),
            "p99_ms": float(np.quantile(ages_ms, 0.99)),
            "blocks": len(ages_ms),
        },
    ]


def followers() -> list[Row]:
    """Two hundred readers of one run in one process, each message as JSON to each: the share of one core it takes."""
    with tempfile.TemporaryDirectory() as folder:
        with StreamWriter(Journals(folder), RUN) as stream:
            stream.progress(0.0, "starting", "RUNNING")
        writer = _another("write", folder)
        try:
            heard, complete, busy, spent = asyncio.run(_listen(Journals(folder), writer))
        finally:
            _end(writer)
    share = busy / spent
    return [
        {
            "name": f"{FOLLOWERS} followers of a run in one process, {MESSAGES_PER_S} messages/s",
            "value": share,
            "unit": "cores",
            "reference": "< 0.5",
            "ok": bool(share < 0.5 and complete),
            "messages": heard,
            "complete": complete,
        }
    ]


async def _listen(journals: Journals, writer: subprocess.Popen[str]) -> tuple[int, bool, float, float]:
    ready = asyncio.Semaphore(0)

    async def one() -> tuple[int, bool]:
        count, gaps = 0, False
        async for message in follow_async(journals, RUN):
            message.to_json()
            gaps |= message.missed is not None
            if count == 0:
                ready.release()
            count += 1
        return count, gaps

    listening = [asyncio.create_task(one()) for _ in range(FOLLOWERS)]
    for _ in listening:
        await ready.acquire()
    await asyncio.to_thread(_tell, writer)
    began, busy = time.perf_counter(), time.process_time()
    done = await asyncio.gather(*listening)
    busy, spent = time.process_time() - busy, time.perf_counter() - began
    counts = {count for count, _ in done}
    return sum(count for count, _ in done), len(counts) == 1 and not any(gap for _, gap in done), busy, spent


def _block(rows: int, began: float, first: int) -> dict[str, np.ndarray]:
    """Rows whose time is when each was produced, on the clock that all processes of the machine share."""
    values = np.random.default_rng(first).random((len(CHANNELS), rows), dtype=np.float32)
    return {"time": began + (first + np.arange(rows)) / ROWS_PER_S, **dict(zip(CHANNELS, values, strict=True))}


def _warm() -> None:
    unpack_telemetry(pack_telemetry(_block(1, 0.0, 0)))


def _write_paced(stream: StreamWriter, began: float) -> float:
    """Write :data:`SECONDS` of telemetry at its pace; the longest that one append took, s."""
    safe = threading.Event()

    def make_safe() -> None:
        while not safe.wait(DURABLE_EVERY_S):
            stream.flush(durable=True)

    keeper = threading.Thread(target=make_safe)
    keeper.start()
    slowest = 0.0
    try:
        for first in range(0, int(SECONDS * ROWS_PER_S), BLOCK):
            block = _block(BLOCK, began, first)
            time.sleep(max(0.0, block["time"][-1] - time.monotonic()))
            asked = time.monotonic()
            stream.telemetry(block, first)
            slowest = max(slowest, time.monotonic() - asked)
    finally:
        safe.set()
        keeper.join()
    return slowest


def _unpaced(folder: Path) -> float:
    block, blocks = _block(BLOCK, 0.0, 0), 2000
    with StreamWriter(Journals(folder), "R2") as stream:
        began = time.perf_counter()
        for number in range(blocks):
            stream.telemetry(block, number * BLOCK)
        stream.flush(durable=True)
        return blocks * BLOCK / (time.perf_counter() - began)


def _another(role: str, folder: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, role, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _listen_elsewhere(folder: str) -> None:
    """The reading process: how many rows came, how old each block's first row was, and whether any was missed."""
    _warm()
    ages, rows, missed = [], 0, 0
    for message in follow(Journals(folder), RUN):
        missed += message.missed is not None
        if message.type == "connected":
            print("ready", flush=True)
        elif message.type == "telemetry":
            times = message.data["time_s"]
            ages.append(time.monotonic() - float(times[0]))
            rows += len(times)
    print(json.dumps({"ages_s": ages, "rows": rows, "missed": missed}), flush=True)


def _write_elsewhere(folder: str) -> None:
    """The writing process of the many readers' figure: small blocks of 20 channels, in turn with progress."""
    with StreamWriter(Journals(folder), RUN) as stream:
        sys.stdin.readline()
        began = time.monotonic()
        total = int(SECONDS * MESSAGES_PER_S)
        for number in range(total):
            time.sleep(max(0.0, began + number / MESSAGES_PER_S - time.monotonic()))
            if number % 2:
                stream.progress(100.0 * number / total, "running", "RUNNING")
            else:
                stream.telemetry(_block(10, began, number), 10 * number)
        stream.completed("COMPLETED")


if __name__ == "__main__":
    {"listen": _listen_elsewhere, "write": _write_elsewhere}[sys.argv[1]](sys.argv[2])
