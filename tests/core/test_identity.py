"""Principals: who acts, and that nobody has checked it."""

from __future__ import annotations

import getpass

import pytest

from labkit.core.errors import LabkitError
from labkit.core.identity import Principal, Role


def test_an_unchecked_name_signs_as_unauthenticated() -> None:
    assert Principal("mei").signature == "mei (unauthenticated)"
    assert Principal("mei", authenticated=True).signature == "mei"


def test_the_hub_user_goes_before_the_system_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    monkeypatch.setattr(getpass, "getuser", lambda: "system")
    assert Principal.local().user == "system"
    monkeypatch.setenv("LABKIT_USER", "chosen")
    assert Principal.local("fab").user == "chosen"
    assert Principal.local("fab").organisation == "fab"
    monkeypatch.setenv("JUPYTERHUB_USER", "hub")
    assert Principal.local().user == "hub"
    assert not Principal.local().authenticated


def test_a_machine_without_a_user_still_has_a_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("no such uid")

    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    monkeypatch.setattr(getpass, "getuser", nobody)
    assert Principal.local().user == "unknown"


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201, "\x00"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(LabkitError, match="cannot be a name"):
        Principal(name)
    with pytest.raises(LabkitError, match="organisation"):
        Principal("mei", organisation=name)


def test_roles_are_the_four_of_the_field() -> None:
    assert [role.value for role in Role] == ["viewer", "operator", "engineer", "admin"]
