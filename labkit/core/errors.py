"""What went wrong, what is allowed, what to type next — in every error a user can meet."""

from __future__ import annotations

from dataclasses import dataclass


class LabkitError(Exception):
    """Base of every error that labkit raises on purpose.

    Parameters
    ----------
    what : str
        What was wrong, naming the offending value.
    allowed : str, optional
        What would have been accepted.
    fix : str, optional
        What to type or do next.
    """

    def __init__(self, what: str, *, allowed: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.allowed = allowed
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what.rstrip(".")]
        if self.allowed:
            parts.append(f"Allowed: {self.allowed}".rstrip("."))
        if self.fix:
            parts.append(f"Fix: {self.fix}".rstrip("."))
        return ". ".join(parts)


@dataclass(frozen=True)
class Problem:
    """One refused field: where, what it held, what is allowed and how to mend it."""

    field: str
    value: object
    allowed: str
    fix: str

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 60:
            shown = shown[:57] + "..."
        return f"{self.field} = {shown}: allowed {self.allowed}; {self.fix}"


class RecipeError(LabkitError):
    """A recipe was refused; ``problems`` lists every refused field."""

    def __init__(
        self, what: str, problems: tuple[Problem, ...] = (), *, allowed: str | None = None, fix: str | None = None
    ) -> None:
        self.problems = problems
        super().__init__(what, allowed=allowed, fix=fix)

    def __str__(self) -> str:
        head = super().__str__()
        return head if not self.problems else "; ".join([head, *map(str, self.problems)])


class UnitError(LabkitError):
    """A unit is unknown or has the wrong dimension."""


class SchemaError(LabkitError):
    """A Dataset lacks a variable, or has other dims, units or dtype than its schema says."""


class PluginError(LabkitError):
    """A plug-in is missing, broken, or does not keep its contract."""


class SettingsError(LabkitError):
    """A setting is unknown or out of range."""


class IllegalTransition(LabkitError):
    """A run or attempt was asked to make a move that its lifecycle does not have."""


class PermissionDenied(LabkitError):
    """The principal may not do this."""


class ToolError(LabkitError):
    """A tool refused or could not do what it was asked."""


class ToolBusy(ToolError):
    """Another run holds the tool: wait for its end."""


class StoreError(LabkitError):
    """The catalogue, a run folder or an artifact cannot be read or written."""


class NotFound(StoreError):
    """No such run, recipe, tool, artifact or wafer."""


class Corrupted(StoreError):
    """A stored thing does not match its checksum or cannot be parsed; it has been or should be quarantined."""
