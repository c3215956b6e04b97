import itertools

import pytest

from labkit.core.errors import PermissionDenied
from labkit.core.identity import Principal, Role
from labkit.operations.policy import PERMISSIONS, may, process_permission, require, require_four_eyes

SEED = [
    "ion:create_run",
    "ion:view_run",
    "ion:cancel_run",
    "ion:simulate",
    "ion:view_telemetry",
    "rtp:create_run",
    "rtp:view_run",
    "rtp:cancel_run",
    "rtp:tune_controller",
    "rtp:view_telemetry",
    "job:view_status",
    "job:cancel",
    "job:retry",
    "job:view_logs",
    "spc:view",
    "spc:configure",
    "spc:acknowledge",
    "vm:predict",
    "vm:manage_models",
]


def test_all_nineteen_permissions_exist_and_admin_has_them():
    assert len(SEED) == 19
    assert set(SEED) <= PERMISSIONS[Role.ADMIN]


def test_roles_are_nested():
    ladder = [PERMISSIONS[r] for r in (Role.VIEWER, Role.OPERATOR, Role.ENGINEER, Role.ADMIN)]
    assert all(lower < higher for lower, higher in itertools.pairwise(ladder))


@pytest.mark.parametrize(
    ("role", "permission", "allowed"),
    [
        (Role.VIEWER, "ion:view_run", True),
        (Role.VIEWER, "ion:create_run", False),
        (Role.VIEWER, "tool:stop", False),
        (Role.OPERATOR, "tool:stop", True),
        (Role.OPERATOR, "rtp:tune_controller", False),
        (Role.OPERATOR, "spc:acknowledge", True),
        (Role.OPERATOR, "job:retry", False),
        (Role.ENGINEER, "vm:predict", True),
        (Role.ENGINEER, "data:ingest", True),
        (Role.ENGINEER, "recipe:approve", False),
        (Role.ENGINEER, "vm:manage_models", False),
        (Role.ADMIN, "audit:view", True),
    ],
)
def test_the_role_table_is_the_one_asked_for(role, permission, allowed):
    assert may(Principal("ada", role=role), permission) is allowed


def test_a_refusal_names_who_may():
    with pytest.raises(PermissionDenied, match=r"ada is viewer and may not cvd:create_run.*operator, engineer, admin"):
        require(Principal("ada", role=Role.VIEWER), "cvd:create_run")


def test_an_author_cannot_approve_even_when_unauthenticated():
    with pytest.raises(PermissionDenied, match="wrote this recipe"):
        require_four_eyes("ada", Principal("ada"))
    require_four_eyes("ada", Principal("grace"))


@pytest.mark.parametrize(
    ("process", "permission"),
    [
        ("cvd", "cvd:create_run"),
        ("lithography", "litho:create_run"),
        ("implantation", "ion:create_run"),
        ("rtp", "rtp:create_run"),
        ("spin_coating", "cvd:create_run"),
    ],
)
def test_every_process_has_a_permission_that_some_role_holds(process, permission):
    assert process_permission(process, "create_run") == permission
    assert may(Principal("ada", role=Role.OPERATOR), permission)
    assert not may(Principal("ada", role=Role.VIEWER), permission)


@pytest.mark.parametrize("process", ["implantation", "rtp", "cvd", "lithography", "spin_coating"])
@pytest.mark.parametrize(
    ("action", "roles"),
    [
        ("view_run", "viewer operator engineer admin"),
        ("view_telemetry", "viewer operator engineer admin"),
        ("create_run", "operator engineer admin"),
        ("cancel_run", "operator engineer admin"),
        ("simulate", "engineer admin"),
    ],
)
def test_an_action_is_open_to_the_same_roles_in_every_process(process, action, roles):
    permission = process_permission(process, action)
    assert [role for role in Role if may(Principal("ada", role=role), permission)] == roles.split()
