"""A parent that has labkit imported and forks what labkit starts: workers, tools, and the scripts of the tests.

``python warm.py SOCKET`` serves requests; the processes it makes start others through it too. They run the same code
as ``python -m labkit.cli worker`` and ``python -m labkit.devices.tool_process`` would, in processes of their own, and
only the seconds of importing are saved.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

TOOL, WORKER = "labkit.devices.tool_process", "labkit.cli"
_Popen = subprocess.Popen


def ask(path: str, **request: Any) -> Any:
    """The parent's answer to *request*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.connect(path)
        with channel.makefile("rwb") as stream:
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()
            return json.loads(stream.readline())


def alive(pid: int) -> bool:
    """Whether process *pid* is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Forked:
    """What ``subprocess.Popen`` returns for a worker or tool process that the parent has forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status once it has ended; which one it was, only the parent knows."""
        if self.returncode is None and not alive(self.pid):
            self.returncode = -signal.SIGKILL
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""

        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("forked", timeout or 0.0)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode


def _popen(command: list[str], **options: Any) -> Any:
    module = command[command.index("-m") + 1] if isinstance(command, list) and "-m" in command else None
    if module not in (TOOL, WORKER):
        return _Popen(command, **options)

    def start() -> Forked:
        environment = {**os.environ, **options.get("env", {})}
        arguments = command[command.index("-m") + 2 :]
        out = os.readlink(f"/proc/self/fd/{options['stdout'].fileno()}")
        return Forked(ask(environment["WARM"], module=module, arguments=arguments, env=environment, out=out))

    if "CRASH_TRACE" not in os.environ:
        return start()
    import crash_tracer

    return crash_tracer.around("start", "Popen", start)


def end_one(pid: int) -> None:
    """Kill process *pid*, which was made here, and wait until it is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while alive(pid):
        time.sleep(0.005)


def _become(request: dict[str, Any]) -> None:
    """Turn this forked process into what was asked for; it does not return."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(request["out"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644), 1)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(request["env"])
    subprocess.Popen = _popen  # type: ignore[misc,assignment]
    role = {TOOL: "tool", WORKER: "worker"}.get(request["module"], "notebook")
    _arm(role)
    _set_the_clock()
    _fill_the_disk()
    status = 1
    try:
        if request["module"] == TOOL:
            from labkit.devices import tool_process

            status = tool_process.main(request["arguments"])
        elif request["module"] == WORKER:
            from labkit.cli import main

            main(request["arguments"])
            status = 0
        else:
            exec(compile(request["script"], "notebook", "exec"), {"arguments": request["arguments"]})
            status = 0
    except SystemExit as end:
        status = int(end.code or 0) if not isinstance(end.code, str) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _arm(role: str) -> None:
    """Trace this process if its environment says so, and kill it where it says so."""
    traces = os.environ.get("CRASH_TRACE")
    if traces is None:
        return
    import crash_tracer

    victim, moment, name = json.loads(os.environ.get("CRASH_AT", '["", "", ""]'))
    crash_tracer.install(
        Path(traces) / f"{role}.points", (moment, name, Path(traces) / "died") if victim == role else None
    )


def _set_the_clock() -> None:
    """Let the wall clock of this process jump when its environment says so: (seconds from now, jump in s)."""
    if "CLOCK_JUMP" not in os.environ:
        return
    from datetime import timedelta

    from labkit.store import clock

    after, jump = json.loads(os.environ["CLOCK_JUMP"])
    began, real_now, real_time = time.monotonic(), clock.now, time.time

    def shift() -> float:
        return float(jump) if time.monotonic() - began > after else 0.0

    def now() -> Any:
        return real_now() + timedelta(seconds=shift())

    for module in list(sys.modules.values()):
        if getattr(module, "now", None) is real_now:
            module.now = now  # type: ignore[attr-defined]
    time.time = lambda: real_time() + shift()


def _fill_the_disk() -> None:
    """Refuse every write to a file for as long as the file that the environment names exists."""
    if "DISK_FULL" not in os.environ:
        return
    import resource
    import threading

    sign = Path(os.environ["DISK_FULL"])
    endless = resource.RLIM_INFINITY

    def watch() -> None:
        while True:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0 if sign.exists() else endless, endless))
            time.sleep(0.01)

    threading.Thread(target=watch, daemon=True).start()


def _import(modules: list[str]) -> int:
    """Import *modules* as far as they can be; how many can."""
    done = 0
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)
            done += 1
    gc.collect()
    gc.freeze()
    return done


def serve(path: str) -> None:
    """Answer requests until standard input ends; then end every process that was made."""
    _import([TOOL, WORKER, "labkit.lab.working", "labkit.runs.sweep"])
    children: dict[int, str] = {}
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    listening.listen(64)
    chosen = selectors.DefaultSelector()
    chosen.register(listening, selectors.EVENT_READ)
    chosen.register(0, selectors.EVENT_READ)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        ready = [key.fileobj for key, _ in chosen.select(0.02)]
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                children.pop(ended, None)
        if 0 in ready:
            _end(children, "")
            return
        if listening in ready:
            channel = listening.accept()[0]
            with channel, channel.makefile("rwb") as stream, suppress(OSError):
                request = json.loads(stream.readline())
                answer: Any
                if "end" in request:
                    answer = _end(children, request["end"])
                elif "modules" in request:
                    answer = _import(request["modules"])
                else:
                    answer = os.fork()
                    if answer == 0:
                        _become(request)
                    children[answer] = request["env"].get("LAB", "")
                stream.write(json.dumps(answer).encode() + b"\n")


def _end(children: dict[int, str], lab: str) -> int:
    """Kill what was made for *lab* (empty: everything)."""
    victims = [pid for pid, belongs in children.items() if not lab or belongs == lab]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in victims:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
        children.pop(pid, None)
    return len(victims)


if __name__ == "__main__":
    serve(sys.argv[1])
