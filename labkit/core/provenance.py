"""Where a Dataset comes from: recipe hash, seed, versions, device, duration and the sources it rests on."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from labkit.core.recipe import Recipe

if TYPE_CHECKING:
    import xarray as xr


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of labkit, Python and the numerical libraries a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("labkit", "numpy", "scipy", "xarray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def stamp(
    dataset: xr.Dataset,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    duration_s: float | None = None,
    references: tuple[str, ...] = (),
    illustrative: tuple[str, ...] = (),
) -> xr.Dataset:
    """Write provenance into ``dataset.attrs`` and return it.

    *references* are keys of the chapter's ``references.bib``; *illustrative* names the constants or models in use
    that are plausible guesses, and is what a user sees as the result's caveat.
    """
    dataset.attrs.update(
        process=recipe.process,
        recipe_name=recipe.name,
        recipe_version=recipe.version,
        recipe_hash=recipe.content_hash,
        seed=seed,
        device=device,
        versions=" ".join(f"{k}={v}" for k, v in versions().items()),
        references=" ".join(references),
        illustrative="; ".join(illustrative),
    )
    if duration_s is not None:
        dataset.attrs["duration_s"] = duration_s
    return dataset
