"""``python -m tests.mutants``: mutate, test, count. Exit code 1 when fewer than 90 % of the mutants are killed."""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from tests.mutants import bands, targets
from tests.mutants.mutations import Mutation, mutations

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = 0.90
COPIED = ("labkit", "tests", "data", "pipelines", "pyproject.toml", "README.md", "LICENSE")


class Worker:
    """A worker process on its own copy of the tree."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder
        folder.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif (ROOT / name).exists():
                shutil.copy(ROOT / name, folder / name)
        environment = {**os.environ, "PYTHONPATH": str(folder), "CI": "true", "PYTHONDONTWRITEBYTECODE": "1",
                       "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.worker", str(folder)],
            cwd=folder,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def ask(self, file: str, content: bytes, tests: tuple[str, ...], timeout: float) -> tuple[str, str]:
        """Outcome of *tests* with *file* replaced by *content* (as it is, where *file* is empty), and their output."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"file": file, "content": content.hex(), "tests": list(tests), "timeout": timeout}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("a worker process has died")
        found = json.loads(answer)
        return found["outcome"], found["output"]

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


def verify_baseline(worker: Worker, mutants: list[Mutation], timeout: float) -> list[str]:
    """Test lists that fail, or hold no tests, without any mutation: nothing could be learned from them."""
    faults = []
    for path in dict.fromkeys(mutant.path for mutant in mutants):
        tests = targets.tests_for(path, ROOT)
        if not tests:
            faults.append(f"{path}: no tests are mapped to it")
    for tests in {targets.tests_for(mutant.path, ROOT) for mutant in mutants} - {()}:
        outcome, output = worker.ask("", b"", tests, 3 * timeout)
        if outcome != "survived":
            faults.append(f"{' '.join(tests)}: fail without a mutation ({outcome})\n{output}")
    return faults


def run(mutants: list[Mutation], workers: list[Worker], timeout: float) -> dict[Mutation, str]:
    """Outcome of every mutant; progress goes to standard error."""
    waiting: queue.SimpleQueue[Mutation] = queue.SimpleQueue()
    for mutant in mutants:
        waiting.put(mutant)
    outcomes: dict[Mutation, str] = {}

    def work(worker: Worker) -> None:
        while True:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            source = (ROOT / mutant.path).read_bytes()
            content = source[:mutant.start] + mutant.after.encode() + source[mutant.end:]
            outcomes[mutant], _ = worker.ask(mutant.path, content, targets.tests_for(mutant.path, ROOT), timeout)
            print(
                f"\r{len(outcomes)}/{len(mutants)} mutants, {sum(o == 'survived' for o in outcomes.values())} survived",
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
    return outcomes


def report(outcomes: dict[Mutation, str], exempt: Counter[str]) -> float:
    """Print what survived and the share that was killed; return that share."""
    survivors = sorted((m for m, outcome in outcomes.items() if outcome == "survived"), key=lambda m: (m.path, m.line))
    for mutant in survivors:
        print("survived ", mutant.label)
    for path in dict.fromkeys(m.path for m in sorted(outcomes, key=lambda m: m.path)):
        here = [outcome for mutant, outcome in outcomes.items() if mutant.path == path]
        killed = sum(outcome != "survived" for outcome in here)
        print(f"{killed:5d} of {len(here):5d} killed ({killed / len(here):6.1%})  {path}")
    print("exempt:", ", ".join(f"{count} {reason}" for reason, count in exempt.most_common()) or "none")
    share = 1.0 - len(survivors) / len(outcomes) if outcomes else 0.0
    print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} mutants killed: {share:.1%} (required {REQUIRED:.0%})")
    return share


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--path", help="only files whose path starts with this, e.g. labkit/processes/cvd")
    parser.add_argument("--sample", type=int, help="only this many mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds per mutant; running out counts as noticed"
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
            faults = verify_baseline(workers[0], mutants, options.timeout)
            if faults:
                print(*faults, sep="\n", file=sys.stderr)
                return 2
            outcomes = run(mutants, workers, options.timeout)
        finally:
            for worker in workers:
                worker.close()
    return 0 if report(outcomes, exempt) >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
