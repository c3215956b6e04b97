"""Where array and sweep work runs: threads, local processes or an existing Dask scheduler, chosen by settings alone.

Between processes Dask carries a reference to the function and its arguments, by its own protocol (pickle for Python
objects); labkit writes none of it to disk. Whoever reaches a scheduler can run code on its workers: keep an address
``tcp://`` to a trusted network, or use ``tls://`` with Dask's own certificates.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from labkit.core.errors import LabkitError, SettingsError
from labkit.core.provenance import versions
from labkit.core.settings import Settings

if TYPE_CHECKING:
    from distributed import Client, Future

KINDS = ("threads", "processes", "local")
"""Clusters that labkit starts and stops itself; ``local`` and ``processes`` are the same."""
ANSWER_S = 5.0
"""How long an existing scheduler may take to answer, and to have a worker, s."""
PATIENCE_S = 30.0
"""How long a cluster may be without any worker before work on it is given up, s."""
_ADDRESS = re.compile(r"(tcp|tls)://([^\s/:]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})")
_NO_PAGES: dict[str, list[str]] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
_SILENT = 50
_IN_HAND = 3
"""Chunks per worker thread that are submitted ahead, so that no worker waits for the next."""
Found = TypeVar("Found")
_COUNT_EVERY_S = 1.0
"""How often workers are counted, s: they come and go."""
_LOST = (concurrent.futures.CancelledError, asyncio.CancelledError, OSError)


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def dask_client(settings: Settings) -> Iterator[Client]:
    """A Dask client as the settings say; what is started here is stopped here, an existing scheduler is left alone.

    It is not made Dask's default client, so that a notebook's own stays what it was.

    Raises
    ------
    SettingsError
        If ``dask`` is not a way labkit knows, or the scheduler does not answer, has no workers, or workers with
        another labkit.
    """
    if settings.dask in KINDS:
        chosen = _started(settings.dask == "threads", settings.workers or cores())
    elif "://" in settings.dask:
        chosen = _existing(settings.dask)
    else:
        raise SettingsError(
            f"dask = {settings.dask!r}",
            allowed="'threads', 'processes', 'local' or tcp://host:port",
            fix="correct labkit.toml or LABKIT_DASK",
        )
    with chosen as client:
        yield client


def map_chunks(
    client: Client,
    function: Callable[..., Found],
    chunks: Mapping[int, tuple[Any, ...]],
    keep: Callable[[int, Found], None],
) -> None:
    """Run *function* on every chunk's arguments and *keep* each result once, as it arrives.

    Arguments are looked up as workers become free, so that memory need not grow with the number of chunks. What a lost
    worker had in hand is computed by another one.

    Raises
    ------
    LabkitError
        If a chunk ends every worker that takes it, no worker is left, or the scheduler is lost.
    """
    waiting, running = iter(chunks), dict[Any, int]()
    room, counted = 0, -math.inf
    try:
        while True:
            with _reachable():
                if time.monotonic() - counted > _COUNT_EVERY_S:
                    room, counted = _IN_HAND * max(1, sum(client.nthreads().values())), time.monotonic()
                for ordinal in itertools.islice(waiting, max(0, room - len(running))):
                    running[client.submit(function, *chunks[ordinal], pure=False)] = ordinal
            if not running:
                return
            for future in _finished(client, running):
                keep(running[future], _result(future, running[future]))
                del running[future]
    finally:
        with suppress(*_LOST):
            client.cancel(list(running))


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except _LOST as error:
        raise LabkitError(
            f"the Dask scheduler was lost ({_first(error)})", fix="start it again and go on with resume="
        ) from error


def _finished(client: Client, running: Iterable[Future[Any]]) -> list[Future[Any]]:
    """Futures that are done, at least one; waits while there are workers."""
    from distributed import wait

    lonely = False
    while True:
        try:
            with _reachable(), client.as_current():
                return list(wait(list(running), timeout=PATIENCE_S, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            if client.nthreads():
                lonely = False
            elif lonely:
                raise LabkitError(
                    f"no Dask worker for {2 * PATIENCE_S:.0f} s", fix="start workers and go on with resume="
                ) from None
            else:
                lonely = True


def _result(future: Future[Any], ordinal: int) -> Any:
    from distributed import KilledWorker

    try:
        with _reachable():
            return future.result()
    except KilledWorker as error:
        raise LabkitError(
            f"chunk {ordinal} was given up: {error.allowed_failures + 1} workers ended while they had it",
            fix="give workers more memory, or set dask = 'threads', and go on with resume=",
        ) from None


@contextmanager
def _started(threads: bool, workers: int) -> Iterator[Client]:
    """A cluster of this machine for as long as it is used; nothing of it can be reached from another machine."""
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster, Worker

    common = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    common |= {"protocol": "inproc://"} if threads else {"protocol": "tcp://", "host": "127.0.0.1"}
    # A worker inside this process would stop taking work when the notebook's own data fill the memory.
    limit = {"memory_limit": 0} if threads else {"memory_limit": "auto"}
    worker = {
        "cls": Worker if threads else Nanny,
        "options": {**common, **limit, "nthreads": workers if threads else 1, "silence_logs": _SILENT},
    }
    try:
        with dask.config.set(_NO_PAGES):
            cluster = SpecCluster(
                scheduler={"cls": Scheduler, "options": common},
                workers=dict.fromkeys(range(1 if threads else workers), worker),
                silence_logs=_SILENT,
            )
    except RuntimeError as error:
        raise SettingsError(
            f"Dask workers could not be started ({_first(error)})",
            fix='in a script begin with: if __name__ == "__main__":, or set dask = "threads"',
        ) from None
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def _existing(address: str) -> Iterator[Client]:
    """A client of the scheduler at *address*, closed afterwards; scheduler and workers stay."""
    from distributed import Client

    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise SettingsError(
            f"dask = {address!r} is no address", allowed="tcp://host:port or tls://host:port", fix="correct it"
        )
    try:
        # A client that cannot connect is never quite closed; so the door is tried first.
        with concurrent.futures.ThreadPoolExecutor(1) as aside:
            aside.submit(asyncio.run, _greet(address)).result()
        client = Client(address, timeout=ANSWER_S, set_as_default=False)
    except Exception as error:
        raise SettingsError(
            f"Dask scheduler {address} does not answer ({_first(error)})", fix="start it, or set dask = 'local'"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER_S)
        except TimeoutError:
            raise SettingsError(
                f"Dask scheduler {address} has no workers", fix=f"start some: dask worker {address}"
            ) from None
        _require_same(client, address)
        yield client


async def _greet(address: str) -> None:
    """Connect, exchange Dask's greeting and leave."""
    from distributed import Security
    from distributed.comm.core import connect

    line = await connect(address, timeout=ANSWER_S, **Security().get_connection_args("client"))
    await line.close()


def _require_same(client: Client, address: str) -> None:
    """Refuse workers without labkit, or with another one: the points of a sweep would not be comparable."""
    ours = versions()["labkit"]
    try:
        theirs = {str(found["labkit"]) for found in client.run(versions).values()}
    except ModuleNotFoundError as error:
        theirs = {f"no module {error.name}"}
    if theirs != {ours}:
        raise SettingsError(
            f"workers of {address} have labkit {', '.join(sorted(theirs - {ours}))}",
            allowed=f"labkit {ours} on all",
            fix=f"on each: pip install labkit=={ours}",
        )


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
