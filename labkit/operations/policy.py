"""Who may do what: permissions by role, and the four-eyes rule for approvals.

A kernel runs arbitrary code, so in a notebook these checks guard against mistakes; the server enforces them.
"""

from __future__ import annotations

from labkit.core.errors import PermissionDenied
from labkit.core.identity import Principal, Role

PREFIXES = ("ion", "rtp", "cvd", "litho")
"""How the permissions of the built-in processes begin; each process has every action of the others, by the same
roles."""


def _of_processes(*actions: str) -> frozenset[str]:
    return frozenset(f"{prefix}:{action}" for prefix in PREFIXES for action in actions)


_VIEW = _of_processes("view_run", "view_telemetry") | {"job:view_status", "job:view_logs", "spc:view"}
_OPERATE = _of_processes("create_run", "cancel_run") | {"job:cancel", "tool:stop", "spc:acknowledge"}
_ENGINEER = _of_processes("simulate") | {
    "rtp:tune_controller",
    "job:retry",
    "vm:predict",
    "spc:configure",
    "data:ingest",
}
_ADMIN = frozenset({"vm:manage_models", "recipe:approve", "tool:arm", "model:promote", "audit:view"})

PERMISSIONS: dict[Role, frozenset[str]] = {
    Role.VIEWER: _VIEW,
    Role.OPERATOR: _VIEW | _OPERATE,
    Role.ENGINEER: _VIEW | _OPERATE | _ENGINEER,
    Role.ADMIN: _VIEW | _OPERATE | _ENGINEER | _ADMIN,
}
"""What each role may do; roles are nested."""

_PREFIX = {"implantation": "ion", "lithography": "litho"}


def process_permission(process: str, action: str) -> str:
    """Permission to do *action* (``"create_run"``, ``"simulate"`` …) with *process*.

    A plug-in's process is granted to the same roles as the built-in ones, under the name ``cvd:*``.
    """
    prefix = _PREFIX.get(process, process)
    return f"{prefix if prefix in PREFIXES else 'cvd'}:{action}"


def may(principal: Principal, permission: str) -> bool:
    """Whether *principal*'s role includes *permission*."""
    return permission in PERMISSIONS[principal.role]


def require(principal: Principal, permission: str) -> None:
    """Refuse unless *principal* may do *permission*.

    Raises
    ------
    PermissionDenied
        Naming the roles that may.
    """
    if not may(principal, permission):
        roles = [role.value for role, held in PERMISSIONS.items() if permission in held]
        raise PermissionDenied(
            f"{principal.user} is {principal.role} and may not {permission}",
            allowed=f"roles {', '.join(roles)}" if roles else "nobody: no such permission",
            fix="ask one of them",
        )


def require_four_eyes(author: str, approver: Principal) -> None:
    """Refuse an approval by the author; the mark '(unauthenticated)' does not make two users of one.

    Raises
    ------
    PermissionDenied
    """
    if author == approver.user:
        raise PermissionDenied(
            f"{approver.user} wrote this recipe and cannot approve it",
            allowed="any other approver",
            fix='approve as another user, e.g. lab.approve(recipe, by="…")',
        )
