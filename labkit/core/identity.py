"""Who acts: a principal is a user of an organisation, with roles, authenticated or not."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from enum import StrEnum

from labkit.core.errors import LabkitError


class Role(StrEnum):
    """The four roles, least to most."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """A user acting for an organisation. ``authenticated`` is true only where a server has checked it."""

    user: str
    organisation: str = "default"
    role: Role = Role.ADMIN
    authenticated: bool = False

    def __post_init__(self) -> None:
        for label, value in (("user", self.user), ("organisation", self.organisation)):
            if not value or len(value) > 200 or any(ord(c) < 32 for c in value):
                raise LabkitError(f"{label} {value!r} cannot be a name", allowed="1 to 200 printable characters")

    @classmethod
    def local(cls, organisation: str = "default") -> Principal:
        """The Jupyter or system user of this process, unauthenticated."""
        user = os.environ.get("JUPYTERHUB_USER") or os.environ.get("LABKIT_USER")
        if not user:
            try:
                user = getpass.getuser()
            except (KeyError, OSError, ImportError):
                user = "unknown"
        return cls(user=user, organisation=organisation)

    @property
    def signature(self) -> str:
        """How this principal signs: the mark says when nobody has checked the name."""
        return self.user if self.authenticated else f"{self.user} (unauthenticated)"
