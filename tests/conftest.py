"""Settings that hold for every test: property tests are reproducible in CI, and nobody's real lab is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from labkit.devices.launch import shut_down

settings.register_profile("labkit", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("labkit"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "labkit")
os.environ["LABKIT_TOOLS"] = "inside"
"""Simulated tools live inside the test's process, which is quick; tests about tool processes say so themselves."""
_KEPT = {"LABKIT_SHARED_DATA", "LABKIT_TOOLS"}


@pytest.fixture(autouse=True)
def _no_settings_of_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [key for key in os.environ if key.startswith("LABKIT_") and key not in _KEPT]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository's root folder."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def tool_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let the tools of labs below ``tmp_path`` run in processes of their own, as they do for users; end those after."""
    monkeypatch.setenv("LABKIT_TOOLS", "process")
    yield
    for endpoint in tmp_path.rglob("tools/*/endpoint.json"):
        shut_down(endpoint.parent)
