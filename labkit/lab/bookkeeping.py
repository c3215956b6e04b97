"""Recipes, suggestions, profiles and passports: from the objects of a notebook to rows and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.core import registry
from labkit.core.errors import LabkitError, NotFound
from labkit.core.process import Process
from labkit.core.recipe import Recipe, RecipeStatus
from labkit.core.wire import pack_dataset
from labkit.operations.limits import ConstraintProfile, require_quantities
from labkit.operations.policy import require, require_four_eyes
from labkit.runs.workplace import Workplace
from labkit.store import audit, channels, learning, passport, recipes, tables
from labkit.store import runs as rows
from labkit.store.catalogue import Catalogue, Row, Transaction

if TYPE_CHECKING:
    import xarray as xr


def require_name(what: str, value: str | None, *, longest: int = 100) -> None:
    """Refuse a lot, tool, product or chamber that no list, label or file could show; *longest* counts bytes of UTF-8.

    Raises
    ------
    LabkitError
        If it is empty, too long or holds characters that do not print.
    """
    if value is None:
        return
    if not (isinstance(value, str) and value.isprintable() and 0 < len(value.encode()) <= longest):
        raise LabkitError(
            f"{what} {str(value)[:60]!r} cannot be a name", allowed=f"1 to {longest} printable characters"
        )


def save_recipe(tx: Transaction, recipe: Recipe, *, parent_version: int | None = None) -> Recipe:
    """Keep *recipe* as a draft and return it as stored."""
    known = tx.find(tables.recipes, name=recipe.name, version=recipe.version)
    row = recipes.save(
        tx,
        recipe.model_dump(mode="json"),
        name=recipe.name,
        version=recipe.version,
        process=recipe.process,
        content_hash=recipe.content_hash,
        hazard_level=recipe.safety_hazard_level,
        parent_version=parent_version,
        notes=recipe.notes,
    )
    if known is None:
        audit.append(tx, "recipe.save", f"{recipe.name} v{recipe.version}", {"hash": recipe.content_hash})
    return _recipe(row)


def load_recipe(tx: Transaction, name: str, version: int | None) -> Recipe:
    """A stored recipe with the status it has in this lab."""
    return _recipe(recipes.get(tx, name, version))


def require_slots(load: xr.Dataset) -> None:
    """Refuse wafers that do not say which slots they are in.

    Raises
    ------
    LabkitError
    """
    if "slot" not in getattr(load, "dims", ()):
        raise LabkitError("wafers need the dim 'slot'", fix="make them with labkit.materials.wafers.load(25)")


def packed(load: xr.Dataset) -> bytes:
    """Wafers as bytes to keep."""
    return pack_dataset(load)


def approve(catalogue: Catalogue, name: str, version: int | None, note: str) -> Recipe:
    """Approve a version as the catalogue's principal."""
    require(catalogue.principal, "recipe:approve")
    with catalogue.begin() as tx:
        row = recipes.get(tx, name, version)
        require_four_eyes(row["author"], catalogue.principal)
        approved = recipes.approve(tx, name, row["version"], row["content_hash"], note=note)
        audit.append(tx, "recipe.approve", f"{name} v{row['version']}", {"hash": row["content_hash"], "note": note})
    return _recipe(approved)


def open_suggestions(tx: Transaction) -> list[Row]:
    """Suggestions that wait for a decision."""
    return learning.suggestions(tx, status="proposed")


def accept(tx: Transaction, suggestion: str) -> Recipe:
    """Approve a suggestion: its recipe's next version, as a draft."""
    require(tx.principal, "spc:configure")
    row = learning.decide(tx, suggestion, approved=True)
    recipe = load_recipe(tx, row["recipe_name"], row["recipe_version"])
    version = recipes.latest_version(tx, recipe.name) + 1
    draft = recipe.changed({**row["changes"], "version": version})
    audit.append(
        tx, "suggestion.accept", suggestion, {"recipe": recipe.name, "version": version, "changes": row["changes"]}
    )
    return save_recipe(
        tx,
        draft.model_copy(update={"status": RecipeStatus.DRAFT, "notes": recipe.notes}),
        parent_version=recipe.version,
    )


def save_profile(tx: Transaction, process: Process, profile: ConstraintProfile) -> int:
    """Keep a constraint profile as its next version."""
    require_quantities(process, profile.built())
    version = learning.keep_profile(
        tx,
        profile.name,
        process=profile.process,
        tool=profile.tool,
        product=profile.product,
        document=profile.model_dump(mode="json"),
    )
    audit.append(tx, "profile.save", profile.name, {"version": version})
    return version


def passports(tx: Transaction, run: str) -> tuple[tuple[str, int], ...]:
    """Wafers of a run and their slots."""
    return tuple((wafer, slot) for wafer, slot in passport.wafers_of(tx, run).items() if slot is not None)


def with_results(tx: Transaction, page: list[Row]) -> list[dict[str, Any]]:
    """Run rows with their result values beside the columns."""
    values = rows.results_of(tx, page)
    return [{**row, **values[row["id"]]} for row in page]


def channel(place: Workplace, name: str, runs: list[str | int]) -> xr.DataArray:
    """One telemetry channel of finished runs; runs that have no data yet are refused by name."""
    with place.catalogue.read() as tx:
        found = [rows.get(tx, run) for run in runs]
    without = [str(row["seq"]) for row in found if row["folder"] is None]
    if without:
        raise NotFound(f"run {', '.join(without[:10])} has no telemetry", fix="leave out runs that did not finish")
    return channels.channel(place.folders, name, found)


def _recipe(row: Row) -> Recipe:
    """A stored row as a recipe; unlike a file, the catalogue may say that it is approved."""
    document = {**row["document"], "status": "draft"}
    recipe = registry.process(row["process"]).parse(document)
    return recipe.model_copy(update={"status": RecipeStatus(row["status"])})
