"""Constraint profiles: named sets of hard and soft limits on parameters, signals and results.

A profile may be bound to a process, a tool and a product. The limits that hold for a run are the process's own
default profile, overlaid by every profile that matches, the most specific last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import field_validator

from labkit.core.errors import LabkitError
from labkit.core.limits import Limit, Severity, Violation, violations
from labkit.core.process import Process
from labkit.core.recipe import Recipe, Strict, leaves

DEFAULT = "default"


class ConstraintProfile(Strict):
    """Limits under a name, for one process and, where given, one tool and one product.

    ``limits`` are plain mappings with the fields of :class:`~labkit.core.limits.Limit`; an absent ``low`` or ``high``
    leaves that side open.
    """

    name: str
    process: str
    tool: str | None = None
    product: str | None = None
    limits: tuple[dict[str, Any], ...] = ()

    @field_validator("limits")
    @classmethod
    def _limits_can_be_built(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for entry in value:
            _limit(entry)
        return value

    @classmethod
    def of(
        cls, name: str, process: str, limits: Iterable[Limit], *, tool: str | None = None, product: str | None = None
    ) -> ConstraintProfile:
        """A profile from :class:`Limit` objects."""
        entries = []
        for limit in limits:
            entry: dict[str, Any] = {
                "quantity": limit.quantity,
                "units": limit.units,
                "severity": limit.severity.value,
                "reason": limit.reason,
            }
            if limit.low > float("-inf"):
                entry["low"] = limit.low
            if limit.high < float("inf"):
                entry["high"] = limit.high
            entries.append(entry)
        return cls(name=name, process=process, tool=tool, product=product, limits=tuple(entries))

    def built(self) -> tuple[Limit, ...]:
        """The limits as :class:`Limit` objects."""
        return tuple(_limit(entry) for entry in self.limits)

    def matches(self, *, process: str, tool: str | None, product: str | None) -> bool:
        """Whether the profile speaks for this process, tool and product."""
        return self.process == process and self.tool in (None, tool) and self.product in (None, product)

    @property
    def specificity(self) -> int:
        """0 for the process as a whole, more for a tool, most for a product on a tool."""
        return (self.tool is not None) + 2 * (self.product is not None)


def _limit(entry: Mapping[str, Any]) -> Limit:
    try:
        return Limit(
            quantity=str(entry["quantity"]),
            low=float(entry.get("low", "-inf")),
            high=float(entry.get("high", "inf")),
            units=str(entry.get("units", "1")),
            severity=Severity(entry.get("severity", "hard")),
            reason=str(entry.get("reason", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"limit {dict(entry)!r} cannot be built: {error}") from None


def limits_for(
    process: Process, profiles: Iterable[ConstraintProfile], *, tool: str | None = None, product: str | None = None
) -> tuple[Limit, ...]:
    """Limits that hold for a run: the process's defaults, overlaid quantity by quantity by matching profiles."""
    held = {(limit.quantity, limit.severity): limit for limit in process.limits}
    matching = [p for p in profiles if p.matches(process=process.name, tool=tool, product=product)]
    for profile in sorted(matching, key=lambda p: (p.specificity, p.name)):
        for limit in profile.built():
            held[limit.quantity, limit.severity] = limit
    return tuple(held.values())


def recipe_values(recipe: Recipe) -> dict[str, float]:
    """Every number in a recipe by path; list positions are also offered as ``*`` holding the extremes.

    ``temperature_profile.zones.*.setpoint`` appears twice over, once per extreme, under the suffixes ``#min`` and
    ``#max``; :func:`recipe_violations` applies a ``*`` limit to both.
    """
    values: dict[str, float] = {}
    for path, value in leaves(recipe.model_dump(mode="json")):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        values[path] = float(value)
        starred = ".".join("*" if part.isdigit() else part for part in path.split("."))
        if starred != path:
            values[f"{starred}#min"] = min(values.get(f"{starred}#min", float(value)), float(value))
            values[f"{starred}#max"] = max(values.get(f"{starred}#max", float(value)), float(value))
    return values


def recipe_violations(recipe: Recipe, limits: Iterable[Limit]) -> tuple[Violation, ...]:
    """Limits on parameters that *recipe* breaks."""
    values = recipe_values(recipe)
    found: list[Violation] = []
    for limit in limits:
        if "*" in limit.quantity:
            extremes = {values[key] for end in ("min", "max") if (key := f"{limit.quantity}#{end}") in values}
            found.extend(Violation(limit, value) for value in sorted(extremes) if limit.excess(value) > 0.0)
        else:
            found.extend(violations([limit], values))
    return tuple(found)


def require_quantities(process: Process, limits: Iterable[Limit]) -> None:
    """Refuse limits on quantities that *process* does not have, so that a misspelt limit is not silently inert.

    Raises
    ------
    LabkitError
        Naming the quantity and what exists.
    """
    known = {i.name for i in process.indicators}
    paths: set[str] = set()
    for recipe in process.example_recipes():
        paths |= {key.split("#")[0] for key in recipe_values(recipe)}
    for limit in limits:
        if limit.quantity not in known and limit.quantity not in paths:
            raise LabkitError(
                f"{process.name} has no quantity {limit.quantity!r}",
                allowed=", ".join(sorted(known)) + " or a recipe path such as " + next(iter(sorted(paths))),
            )
