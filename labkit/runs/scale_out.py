"""Where array and sweep work runs: threads, local processes or an existing Dask scheduler, chosen by settings alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labkit.core.errors import SettingsError
from labkit.core.settings import Settings

if TYPE_CHECKING:
    from distributed import Client


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def dask_client(settings: Settings) -> Iterator[Client]:
    """A Dask client as the settings say; what is started here is stopped here, an existing scheduler is left alone.

    Raises
    ------
    SettingsError
        If ``dask`` is not a way labkit knows, or the scheduler does not answer.
    """
    from distributed import Client, LocalCluster

    workers = settings.workers or cores()
    if settings.dask in ("threads", "processes", "local"):
        threads = settings.dask == "threads"
        with (
            LocalCluster(
                n_workers=1 if threads else workers,
                threads_per_worker=workers if threads else 1,
                processes=not threads,
                dashboard_address=None,
                silence_logs=50,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    if "://" not in settings.dask:
        raise SettingsError(
            f"dask = {settings.dask!r}",
            allowed="'threads', 'processes', 'local' or tcp://host:port",
            fix="correct labkit.toml or LABKIT_DASK",
        )
    try:
        existing = Client(settings.dask, timeout="10s")
    except (OSError, TimeoutError) as error:
        raise SettingsError(
            f"Dask scheduler {settings.dask} does not answer ({error})", fix="start it, or set dask = 'local'"
        ) from None
    with existing:
        yield existing
