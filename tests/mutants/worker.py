"""Runs tests against mutants in a private copy of the tree: libraries load once, each mutant gets a fork."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

OPTIONS = [
    "-x", "-q", "--no-header", "--assert=plain", "-p", "no:cacheprovider", "--timeout=0",
    "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin", "-m", "not slow and not soak and not gpu",
]  # fmt: skip
STAGE = 20
"""Tests that are tried before further test files are so much as imported."""
NOTHING_RUN = (3, 4, 5)
"""Exit codes of pytest that say something about the runner, not about the mutant."""


def serve(tree: Path) -> None:
    """Answer one JSON line per request on standard input.

    ``{"measure": [test files]}`` traces which functions each test runs; ``{"libraries": [modules]}`` loads those once;
    ``{"file", "content", "tests", "timeout"}`` runs *tests* in that order with *file* replaced by *content*.
    """
    sys.dont_write_bytecode = True
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    import pytest  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if "measure" in request:
            answer = _measure(tree, request["measure"])
        elif "libraries" in request:
            for module in request["libraries"]:
                with contextlib.suppress(Exception):
                    importlib.import_module(module)
            answer = {}
        else:
            answer = _mutated(tree, request)
        print(json.dumps(answer), flush=True)


def _mutated(tree: Path, request: dict[str, Any]) -> dict[str, Any]:
    target = tree / request["file"]
    original, times = target.read_bytes(), target.stat()
    target.write_bytes(bytes.fromhex(request["content"]))
    # Compiled files are matched by whole seconds and size, which a mutant may share with its original.
    os.utime(target, (0, 0))
    try:
        tests, seconds = request["tests"], 0.0
        for stage in filter(None, (tests[:STAGE], tests[STAGE:])):
            answer = _attempt(tree, stage, request["timeout"])
            seconds += answer["seconds"]
            if answer["outcome"] != "survived":
                break
        return {**answer, "seconds": seconds}
    finally:
        target.write_bytes(original)
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def _attempt(tree: Path, tests: list[str], timeout: float) -> dict[str, Any]:
    log, killer = tree / "output.txt", tree / "killer.txt"
    killer.write_text("")
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(log, lambda: _run(tree, tests, killer))
    outcome = "killed by time"
    while time.monotonic() - start < timeout:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            outcome = "survived" if code == 0 else "broken" if code in NOTHING_RUN else "killed"
            break
        time.sleep(0.01)
    else:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {
        "outcome": outcome,
        "seconds": time.monotonic() - start,
        "killer": killer.read_text(),
        "output": log.read_text(errors="replace")[-2000:],
    }


def _measure(tree: Path, files: list[str]) -> dict[str, Any]:
    log, found = tree / "output.txt", tree / "reach.json"
    child = os.fork()
    if child == 0:
        _become(log, lambda: _trace(tree, files, found))
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        return {"failed": log.read_text(errors="replace")[-4000:]}
    return {"reach": json.loads(found.read_text())}


def _become(log: Path, work: Any) -> None:
    """The forked child: do *work*, leave with its exit code."""
    os.setsid()
    with log.open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    code = 1
    try:
        code = int(work())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(tree: Path, tests: list[str], killer: Path) -> int:
    import pytest

    class Chosen:
        """Leaves the chosen tests, in their order."""

        def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
            """Select and sort."""
            place = {test: index for index, test in enumerate(tests)}
            items[:] = sorted((i for i in items if i.nodeid in place), key=lambda i: place[i.nodeid])
            if len(items) < len(tests) and not session.testsfailed:
                raise pytest.UsageError(f"not found: {set(tests) - {item.nodeid for item in items}}")

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            """Note which test noticed."""
            if report.failed:
                killer.write_text(report.nodeid)

    import labkit

    assert Path(labkit.__file__ or "").is_relative_to(tree), "the mutated tree is not the one imported"
    return int(pytest.main([*OPTIONS, *dict.fromkeys(test.split("::")[0] for test in tests)], plugins=[Chosen()]))


def _trace(tree: Path, files: list[str], found: Path) -> int:
    import ast

    import pytest

    from tests.mutants.reach import Reach
    from tests.mutants.tracing import ReachPlugin, Tracer, import_everything

    names = {path.relative_to(tree).as_posix(): path for path in sorted((tree / "labkit").rglob("*.py"))}
    modules = {".".join(Path(name).with_suffix("").parts).removesuffix(".__init__"): name for name in names}
    wanted = ("labkit.core", "labkit.numerics", "labkit.materials", "labkit.processes", "labkit.control")
    tracer = Tracer(tree, "labkit")
    at_import = import_everything(tree, tracer, [name for name in modules if name.startswith(wanted)])

    def imported(path: Path) -> list[str]:
        return sorted(
            {
                modules[target]
                for node in ast.walk(ast.parse(path.read_bytes()))
                if isinstance(node, ast.ImportFrom) and node.module
                for target in {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                if target in modules
            }
        )

    plugin = ReachPlugin(tracer, imported)
    code = int(pytest.main([*OPTIONS, *files], plugins=[plugin]))
    imports = {name: imported(path) for name, path in names.items()}
    private = ("labkit", "tests", "_pytest", "__main__", "__mp_main__")
    libraries = sorted(
        name
        for name, module in sys.modules.items()
        if name.split(".")[0] not in private
        and getattr(getattr(module, "__spec__", None), "origin", None) is not None
        and not str(getattr(module, "__file__", None) or "").startswith(str(tree))
    )
    reach = Reach(plugin.lines, at_import, plugin.seconds, imports, libraries)
    found.write_text(json.dumps(asdict(reach)))
    return code


if __name__ == "__main__":
    serve(Path(sys.argv[1]).resolve())
