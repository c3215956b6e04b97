"""Runs tests against mutants in a private copy of the tree: libraries load once, each mutant gets a fork."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path


def serve(tree: Path) -> None:
    """Answer one JSON line per request on standard input: ``{"file", "content", "tests", "timeout"}``."""
    sys.dont_write_bytecode = True
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    import hypothesis  # noqa: F401
    import pandas  # noqa: F401
    import pint  # noqa: F401
    import pydantic  # noqa: F401
    import pytest  # noqa: F401
    import scipy.integrate
    import scipy.optimize
    import scipy.signal
    import scipy.special
    import scipy.stats  # noqa: F401
    import xarray  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        target = tree / request["file"] if request["file"] else None
        original = target.read_bytes() if target else b""
        if target:
            target.write_bytes(bytes.fromhex(request["content"]))
        try:
            outcome, output = _attempt(tree, request["tests"], request["timeout"])
        finally:
            if target:
                target.write_bytes(original)
        print(json.dumps({"outcome": outcome, "output": output}), flush=True)


def _attempt(tree: Path, tests: list[str], timeout: float) -> tuple[str, str]:
    log = tree / "output.txt"
    child = os.fork()
    if child == 0:
        _become(tree, tests, log)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return "survived" if code == 0 else "killed", log.read_text(errors="replace")[-2000:]
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "killed by time", ""


def _become(tree: Path, tests: list[str], log: Path) -> None:
    """The forked child: run the tests and leave."""
    os.setsid()
    with log.open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    code = 1
    try:
        import pytest

        import labkit

        assert Path(labkit.__file__ or "").is_relative_to(tree), "the mutated tree is not the one imported"
        code = int(
            pytest.main(
                [
                    "-x",
                    "-q",
                    "--no-header",
                    "--assert=plain",
                    "-p",
                    "no:cacheprovider",
                    "-p",
                    "no:xdist",
                    "--timeout=0",
                    "-m",
                    "not slow and not soak and not gpu",
                    *tests,
                ]
            )
        )
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]).resolve())
