"""The command line as a script sees it: a status, what was printed, and what was complained about."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labkit.cli.main import main
from labkit.core.resources import resource


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which must be one strict JSON document and nothing else."""
        return json.loads(self.out, parse_constant=_refuse)

    @property
    def complaint(self) -> str:
        """The one line on standard error of a command that refused."""
        assert self.status != 0
        assert self.err.count("\n") == 1
        assert self.err.startswith("labkit: ")
        assert "Traceback" not in self.err
        assert "internal error" not in self.err
        return self.err


def _refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is not JSON")


Labkit = Callable[..., Said]


@pytest.fixture
def labkit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Labkit:
    """Run a command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture(scope="session")
def oxide() -> Path:
    """The recipe file of a run that succeeds."""
    return resource("data/recipes/lpcvd_sio2_100nm.json")


@pytest.fixture(scope="session")
def nitride() -> Path:
    """The recipe file of a run that is refused at pre-flight: nothing computes it yet."""
    return resource("data/recipes/pecvd_si3n4_50nm.json")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, oxide: Path, nitride: Path) -> Path:
    """A lab with a completed run (1, lot L1) and a blocked one (2)."""
    folder = tmp_path_factory.mktemp("cli") / "lab"
    for arguments in (("run", str(oxide), "--lot", "L1", "--json"), ("run", str(nitride), "--json")):
        with pytest.raises(SystemExit):
            main(["--lab", str(folder), *arguments])
    return folder


@pytest.fixture(scope="session")
def command() -> tuple[list[str], Mapping[str, str]]:
    """The command as a process of its own, and its environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LABKIT_")}
    return [sys.executable, "-c", "from labkit.cli import main; main()"], environment
