"""The peer's side of ``peer_dbos.py``, in a process of its own: ``peer_dbos_worker.py FOLDER EXECUTOR``.

Reads one JSON request per line and answers each with one JSON list of numbers. The executor ``client`` only hands in.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import sys
import time
from pathlib import Path
from typing import Any

QUEUE, PROTOCOL, CLIENT = "runs", "1", "client"
POLL_S = 0.05
"""How often the queue, and whoever waits for a result, looks, s; the same as ours."""
STEPS, TRIES, WARM_UP = 20, 20, 3
SLEEP_S = 60.0
"""How long a step lasts that is to be interrupted, s."""


def work(folder: str, executor: str) -> None:
    """The peer's worker, or client: does what it is told line by line; its queue works in threads of its own."""
    from dbos import DBOS, DBOSClient, Serializer

    class Plain(Serializer):
        def serialize(self, data: Any) -> str:
            return json.dumps(data, default=str)

        @classmethod
        def deserialize(cls, serialized_data: str) -> Any:
            return json.loads(serialized_data)

        def name(self) -> str:
            return "plain_json"

    file = Path(folder) / "dbos.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    url = f"sqlite:///{file}"
    if executor != CLIENT:
        config = {"name": "peer", "executor_id": executor, "application_version": PROTOCOL, "log_level": "ERROR"}
        DBOS(config={**config, "system_database_url": url, "serializer": Plain()})
        _define(DBOS)
        DBOS.launch()
        DBOS.register_queue(QUEUE, polling_interval_sec=POLL_S)
    print(json.dumps("ready"), flush=True)
    client = DBOSClient(system_database_url=url, serializer=Plain())
    for line in sys.stdin:
        print(json.dumps(_obey(DBOS, client, json.loads(line))), flush=True)


def _define(peer: Any) -> None:
    @peer.step()
    def moment() -> float:
        return time.time()

    @peer.workflow(name="one")
    def one() -> float:
        return float(moment())

    @peer.workflow(name="steps")
    def steps(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            moment()
        return time.perf_counter() - began

    @peer.step()
    def wait(file: str) -> None:
        with Path(file).open("a") as seen:
            seen.write(f"{os.getpid()}\n")
        time.sleep(SLEEP_S)

    @peer.workflow(name="long")
    def long(file: str) -> None:
        wait(file)


def _obey(peer: Any, client: Any, request: dict[str, Any]) -> list[float]:
    def hand_in(workflow: str, *arguments: Any) -> Any:
        return client.enqueue({"queue_name": QUEUE, "workflow_name": workflow, "app_version": PROTOCOL}, *arguments)

    if request["do"] == "long":
        hand_in("long", request["file"])
        return []
    if request["do"] == "recover":
        recover = getattr(peer, "recover_pending_workflows", None) or peer._recover_pending_workflows
        recover([request["dead"]])
        return []
    if request["do"] == "steps":
        spent = [hand_in("steps", STEPS).get_result(polling_interval_sec=POLL_S) for _ in range(5)]
        return [statistics.median(spent) / STEPS]
    handed, begun, done = [], [], []
    for number in range(TRIES + WARM_UP):
        clock, began = time.time(), time.perf_counter()
        handle = hand_in("one")
        spent_handing = time.perf_counter() - began
        at = float(handle.get_result(polling_interval_sec=POLL_S))
        spent = time.perf_counter() - began
        if number >= WARM_UP:
            handed.append(spent_handing)
            begun.append(at - clock)
            done.append(spent)
        time.sleep(0.1)
    return [statistics.median(handed), statistics.median(begun), statistics.median(done)]


if __name__ == "__main__":
    work(*sys.argv[1:3])
