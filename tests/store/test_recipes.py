"""Recipe versions never change; approval takes a second person who saw this content."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from labkit.core.errors import NotFound, PermissionDenied, StoreError
from labkit.core.identity import Principal, Role
from labkit.store import recipes, tables
from labkit.store.catalogue import Catalogue

from .conftest import BERND, MALLORY


def _save(catalogue: Catalogue, content_hash: str = "h1", version: int = 1, **more: object) -> None:
    with catalogue.begin() as tx:
        recipes.save(
            tx,
            {"name": "oxide", "dose": 1},
            **{"name": "oxide", "version": version, "process": "cvd", "content_hash": content_hash, **more},
        )


def test_saving_the_same_content_again_changes_nothing(either: Catalogue) -> None:
    _save(either)
    _save(either)
    with either.read() as tx:
        assert len(recipes.listing(tx)) == 1


def test_a_version_is_written_once(either: Catalogue) -> None:
    _save(either)
    _save(either, "h2", 2)
    with pytest.raises(StoreError, match="save it as version 3"):
        _save(either, "h3", 1)
    with pytest.raises(StoreError, match="belongs to process 'cvd'"):
        _save(either, "h4", 5, process="lithography")


def test_approval_takes_a_second_person(either: Catalogue) -> None:
    _save(either)
    with either.begin() as tx, pytest.raises(PermissionDenied, match="cannot approve"):
        recipes.approve(tx, "oxide", 1, "h1")
    with either.as_principal(BERND).begin() as tx:
        row = recipes.approve(tx, "oxide", 1, "h1", note="checked")
    assert (row["status"], row["approved_by"], row["document"]["status"]) == ("approved", "bernd", "approved")
    with either.read() as tx:
        (signed,) = recipes.approvals(tx, "oxide", 1)
    assert (signed["recipe_hash"], signed["signature"], signed["role"]) == ("h1", "bernd (unauthenticated)", "engineer")


def test_approval_is_bound_to_the_content_that_was_read(either: Catalogue) -> None:
    _save(either)
    with either.as_principal(BERND).begin() as tx, pytest.raises(StoreError, match="read the recipe again"):
        recipes.approve(tx, "oxide", 1, "h2")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_viewers_and_operators_do_not_approve(catalogue: Catalogue, role: Role) -> None:
    _save(catalogue)
    with catalogue.as_principal(Principal("carla", "north", role)).begin() as tx, pytest.raises(PermissionDenied):
        recipes.approve(tx, "oxide", 1, "h1")


def test_only_drafts_are_approved(catalogue: Catalogue) -> None:
    _save(catalogue)
    with catalogue.as_principal(BERND).begin() as tx:
        recipes.approve(tx, "oxide", 1, "h1")
        with pytest.raises(StoreError, match="is approved"):
            recipes.approve(tx, "oxide", 1, "h1")
        assert recipes.retire(tx, "oxide", 1)["status"] == "retired"
        with pytest.raises(StoreError, match="is retired"):
            recipes.approve(tx, "oxide", 1, "h1")
        assert [row["decision"] for row in recipes.approvals(tx, "oxide", 1)] == ["approved", "retired"]


def test_the_database_itself_refuses_to_change_content_and_signatures(either: Catalogue) -> None:
    _save(either)
    with either.as_principal(BERND).begin() as tx:
        recipes.approve(tx, "oxide", 1, "h1")
    for statement in (
        sa.update(tables.recipes).values(document={"dose": 2}),
        sa.update(tables.recipes).values(content_hash="h9"),
        sa.update(tables.approvals).values(approver="carla"),
        sa.delete(tables.approvals),
    ):
        with pytest.raises(StoreError, match="final"), either.begin() as tx:
            tx.execute(statement)


def test_an_imported_status_does_not_approve(catalogue: Catalogue) -> None:
    with catalogue.begin() as tx:
        row = recipes.save(tx, {"status": "approved"}, name="x", version=1, process="cvd", content_hash="h")
    assert (row["status"], row["document"]["status"]) == ("draft", "draft")


def test_the_latest_version_comes_without_asking(either: Catalogue) -> None:
    _save(either)
    _save(either, "h2", 7, parent_version=1)
    with either.read() as tx:
        assert recipes.get(tx, "oxide")["version"] == 7
        assert recipes.get(tx, "oxide", 1)["content_hash"] == "h1"
        assert [row["version"] for row in recipes.by_hash(tx, "h2")] == [7]
        with pytest.raises(NotFound, match="oxide"):
            recipes.get(tx, "nitride")
    with either.as_principal(MALLORY).read() as tx, pytest.raises(NotFound):
        recipes.get(tx, "oxide", 1)
