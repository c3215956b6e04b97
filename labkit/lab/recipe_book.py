"""Recipes, limits and corrections of a lab, and who approved them."""

from __future__ import annotations

from labkit.core import registry
from labkit.core.identity import Principal
from labkit.core.process import Finding, Process
from labkit.core.recipe import Recipe
from labkit.lab import bookkeeping
from labkit.lab.listing import Listing
from labkit.lab.opened import OpenLab
from labkit.operations.limits import ConstraintProfile, limits_for
from labkit.operations.policy import require
from labkit.runs import knowledge
from labkit.store import recipes


class RecipeBook(OpenLab):
    """What may be run: processes, recipes with their approvals, constraint profiles, suggested corrections."""

    def process(self, name: str) -> Process:
        """An installed process by name."""
        return registry.process(name)

    def processes(self) -> Listing:
        """Installed processes."""
        return Listing(
            "processes",
            ("name", "title", "safe_state"),
            [{"name": p.name, "title": p.title, "safe_state": p.safe_state} for p in registry.processes().values()],
        )

    def save_recipe(self, recipe: Recipe) -> Recipe:
        """Keep *recipe* as a draft; saving the same again changes nothing, an approved version cannot be changed."""
        with self._place.catalogue.begin() as tx:
            return bookkeeping.save_recipe(tx, recipe)

    def recipe(self, name: str, version: int | None = None) -> Recipe:
        """A stored recipe, by default its latest version, with the status it has here."""
        with self._place.catalogue.read() as tx:
            return bookkeeping.load_recipe(tx, name, version)

    def recipes(self) -> Listing:
        """Stored recipes."""
        with self._place.catalogue.read() as tx:
            return Listing(
                "recipes",
                ("name", "version", "process", "status", "author", "approved_by", "hazard_level"),
                recipes.listing(tx),
            )

    def approve(self, name: str, version: int | None = None, *, by: str | Principal, note: str = "") -> Recipe:
        """Approve a recipe version, as somebody other than its author; bound to its content hash, immutable from then
        on.

        Raises
        ------
        PermissionDenied
            If *by* wrote it, or may not approve.
        """
        approver = by if isinstance(by, Principal) else Principal(by, self.principal.organisation, self.principal.role)
        return bookkeeping.approve(self._place.catalogue.as_principal(approver), name, version, note)

    def findings(self, recipe: Recipe) -> tuple[Finding, ...]:
        """What the equipment cannot follow in *recipe*, or does differently."""
        return registry.process(recipe.process).findings(recipe)

    def suggestions(self) -> Listing:
        """Corrections that run-to-run control proposes and nobody has decided on."""
        with self._place.catalogue.read() as tx:
            return Listing(
                "suggestions",
                ("id", "tool", "recipe_name", "recipe_version", "changes", "reason"),
                bookkeeping.open_suggestions(tx),
            )

    def accept(self, suggestion: str) -> Recipe:
        """Turn a suggestion into a new draft version of its recipe; that draft still needs approval."""
        with self._place.catalogue.begin() as tx:
            return bookkeeping.accept(tx, suggestion)

    def add_profile(self, profile: ConstraintProfile) -> None:
        """Put a constraint profile into force; the same name again is a new version of it."""
        require(self.principal, "spc:configure")
        with self._place.catalogue.begin() as tx:
            bookkeeping.save_profile(tx, registry.process(profile.process), profile)

    def limits(self, process: str, *, tool: str | None = None, product: str | None = None) -> Listing:
        """Limits in force for a process, tool and product."""
        chapter = registry.process(process)
        with self._place.catalogue.read() as tx:
            held = limits_for(chapter, knowledge.profiles(tx, process), tool=tool, product=product)
        return Listing(
            f"limits for {process}",
            ("quantity", "allowed", "severity", "reason"),
            [
                {"quantity": h.quantity, "allowed": h.allowed, "severity": h.severity.value, "reason": h.reason}
                for h in held
            ],
        )
