"""Artifacts are named by their content, kept once, and checked when read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from labkit.core.errors import Corrupted, NotFound, StoreError
from labkit.store.artifacts import Artifacts
from labkit.store.catalogue import Catalogue

from .conftest import MALLORY


@pytest.fixture(params=["local", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path if request.param == "local" else f"memory://{tmp_path.name}/artifacts-lab")


def test_content_comes_back_under_its_hash(catalogue: Catalogue, artifacts: Artifacts, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_bytes(b"<p>fine</p>")
    with catalogue.begin() as tx:
        address = artifacts.put(tx, report, media_type="text/html", name="report", subject="R1")
        assert address == hashlib.sha256(b"<p>fine</p>").hexdigest()
        assert artifacts.put(tx, b"<p>fine</p>", media_type="text/html") == address
        assert artifacts.get(tx, address) == b"<p>fine</p>"
        assert artifacts.info(tx, address)["size"] == 11
        assert artifacts.find(tx, "R1", "report") == address
        newer = artifacts.put(tx, b"<p>better</p>", media_type="text/html", name="report", subject="R1")
        assert artifacts.linked(tx, "R1") == {"report": newer}
        with pytest.raises(NotFound, match="report"):
            artifacts.find(tx, "R1", "model")
        with pytest.raises(StoreError, match="give both"):
            artifacts.put(tx, b"", media_type="text/plain", name="x")


def test_equal_content_is_kept_once(catalogue: Catalogue, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    for _ in range(3):
        with catalogue.begin() as tx:
            artifacts.put(tx, b"same", media_type="text/plain")
    assert len([path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damage_is_named(catalogue: Catalogue, tmp_path: Path, damage: str) -> None:
    artifacts = Artifacts(tmp_path)
    with catalogue.begin() as tx:
        address = artifacts.put(tx, b"content", media_type="text/plain")
    path = tmp_path / "artifacts" / address[:2] / address
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"CONTENT")
    with catalogue.read() as tx, pytest.raises(Corrupted, match=address[:12]):
        artifacts.get(tx, address)


def test_another_organisation_cannot_read_by_knowing_the_hash(catalogue: Catalogue, artifacts: Artifacts) -> None:
    with catalogue.begin() as tx:
        address = artifacts.put(tx, b"secret", media_type="text/plain")
    with catalogue.as_principal(MALLORY).read() as tx:
        for wanted in (address, "../../etc/passwd", "0" * 63, "Z" * 64):
            with pytest.raises(NotFound):
                artifacts.get(tx, wanted)
