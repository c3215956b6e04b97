"""``python -m tests.mutants``: mutate, test, count. Exit code 1 when fewer than 90 % of the mutants are killed.

Without options every mutant is tried. The first run after a change also measures which test runs which function.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants import bands, targets
from tests.mutants import reach as reaches
from tests.mutants.mutations import Mutation, mutations
from tests.mutants.reach import Reach

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = 0.90
COPIED = ("labkit", "tests", "data", "pipelines", "pyproject.toml", "README.md", "LICENSE")
CACHE = ROOT / "build" / "mutants" / "reach.json"


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: ``word``, the ``seconds`` it took, and the test that noticed."""

    word: str
    seconds: float
    killer: str = ""

    @property
    def survived(self) -> bool:
        """Whether no test noticed."""
        return self.word == "survived"


class Worker:
    """A worker process on its own copy of the tree."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder
        folder.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif (ROOT / name).exists():
                shutil.copy2(ROOT / name, folder / name)
        for name in ("labkit", "tests"):
            compileall.compile_dir(str(folder / name), quiet=2)
        environment = {
            **os.environ,
            "LABKIT_SHARED_DATA": os.environ.get("LABKIT_SHARED_DATA", str(ROOT.parent / "shared" / "data")),
            "PYTHONPATH": str(folder),
            "CI": "true",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.worker", str(folder)],
            cwd=folder,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer to *request*."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("a worker process has died")
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=10)


def collect(within: str | None) -> tuple[list[Mutation], Counter[str]]:
    """Every mutation of every target file, and the exempt sites by reason."""
    declared = bands.read()
    found: list[Mutation] = []
    exempt: Counter[str] = Counter()
    for path in targets.sources(ROOT, within):
        mutants, reasons = mutations(path, (ROOT / path).read_bytes(), declared)
        found += mutants
        exempt += reasons
    return found, exempt


def measure(worker: Worker) -> Reach:
    """Which test runs which function, from the cache or measured now.

    Raises
    ------
    SystemExit
        If tests fail without a mutation: nothing could be learned from them.
    """
    files = targets.tests(ROOT)
    digests = {file: reaches.fingerprint(ROOT, [file]) for file in files}
    cache = reaches.Cache(CACHE, reaches.fingerprint(ROOT, targets.SURROUNDINGS))
    found, stale = cache.load(digests)
    if stale:
        print(f"measuring which test runs which function, {len(stale)} test files …", file=sys.stderr, flush=True)
        answer = worker.ask({"measure": stale})
        if "failed" in answer:
            raise SystemExit(f"tests fail without a mutation:\n{answer['failed']}")
        found = found.joined(Reach(**answer["reach"]))
        cache.save(found, digests)
    return found


def run(mutants: list[Mutation], workers: list[Worker], reach: Reach, timeout: float) -> dict[Mutation, Outcome]:
    """Outcome of every mutant; progress and the time left go to standard error."""
    waiting: queue.SimpleQueue[Mutation] = queue.SimpleQueue()
    for mutant in mutants:
        waiting.put(mutant)
    outcomes: dict[Mutation, Outcome] = {}
    start = time.monotonic()

    def work(worker: Worker) -> None:
        worker.ask({"libraries": reach.libraries})
        while True:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            outcomes[mutant] = attempt(mutant, worker, reach, timeout)
            if outcomes[mutant].survived:
                print(f"\rsurvived  {mutant.label}", file=sys.stderr)
            survived = sum(outcome.survived for outcome in outcomes.values())
            left = (time.monotonic() - start) / len(outcomes) * (len(mutants) - len(outcomes))
            print(
                f"\r{len(outcomes)}/{len(mutants)} mutants, {survived} survived, about {left / 60.0:.0f} min left ",
                end="",
                file=sys.stderr,
                flush=True,
            )

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(file=sys.stderr)
    if len(outcomes) < len(mutants):
        raise RuntimeError("a worker has died; see above")
    return outcomes


def attempt(mutant: Mutation, worker: Worker, reach: Reach, timeout: float) -> Outcome:
    """Outcome of one mutant; one that no test runs survives."""
    tests = reach.tests_for(mutant, ROOT)
    if not tests:
        return Outcome("survived", 0.0)
    source = (ROOT / mutant.path).read_bytes()
    content = source[: mutant.start] + mutant.after.encode() + source[mutant.end :]
    allowed = min(timeout, 10.0 + 5.0 * sum(reach.seconds[test] for test in tests))
    request = {"file": mutant.path, "content": content.hex(), "tests": tests, "timeout": allowed}
    answer = worker.ask(request)
    if answer["outcome"] == "broken":
        raise RuntimeError(f"{mutant.label}: the tests could not be run\n{answer['output']}")
    return Outcome(answer["outcome"], answer["seconds"], answer["killer"])


def report(outcomes: dict[Mutation, Outcome], exempt: Counter[str]) -> float:
    """Print what survived and the share that was killed; return that share."""
    survivors = sorted((m for m, outcome in outcomes.items() if outcome.survived), key=lambda m: (m.path, m.line))
    for mutant in survivors:
        print("survived ", mutant.label)
    for level, paths in (("file", [m.path for m in outcomes]), ("area", [area(m.path) for m in outcomes])):
        for path in sorted(set(paths)):
            here = [o for m, o in outcomes.items() if path == (m.path if level == "file" else area(m.path))]
            killed = sum(not outcome.survived for outcome in here)
            print(f"{killed:5d} of {len(here):5d} killed ({killed / len(here):6.1%})  {path}")
    print("exempt:", ", ".join(f"{count} {reason}" for reason, count in exempt.most_common()) or "none")
    seconds = sum(outcome.seconds for outcome in outcomes.values()) / max(1, len(outcomes))
    share = 1.0 - len(survivors) / len(outcomes) if outcomes else 0.0
    print(f"{seconds:.1f} s per mutant; {sum(o.word == 'killed by time' for o in outcomes.values())} ran out of time")
    print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} mutants killed: {share:.1%} (required {REQUIRED:.0%})")
    return share


def area(path: str) -> str:
    """Chapter or layer of a file."""
    parts = Path(path).parts
    return "/".join(parts[: 3 if parts[1] == "processes" else 2])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--path", help="only files whose path starts with this, e.g. labkit/processes/cvd")
    parser.add_argument("--sample", type=int, help="only this many mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="most seconds per mutant; running out counts as noticed"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    options = parser.parse_args()
    mutants, exempt = collect(options.path)
    if options.sample is not None and options.sample < len(mutants):
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    if options.list or not mutants:
        print(*(mutant.label for mutant in mutants), sep="\n")
        return 0 if mutants else 2
    with tempfile.TemporaryDirectory(prefix="labkit-mutants-") as folder:
        workers = [Worker(Path(folder) / f"tree{number}") for number in range(options.workers)]
        try:
            outcomes = run(mutants, workers, measure(workers[0]), options.timeout)
        finally:
            for worker in workers:
                worker.close()
    return 0 if report(outcomes, exempt) >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
