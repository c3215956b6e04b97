"""The gate as one call: predict a recipe with what is known about the tool, and check it before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from labkit.core.limits import Limit
from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.runs.knowledge import Knowledge
from labkit.runs.predict import Prediction, correct, predict
from labkit.runs.preflight import Preflight, better_recipe, preflight

if TYPE_CHECKING:
    import xarray as xr


def check(
    process: Process, recipe: Recipe, wafer: xr.Dataset, known: Knowledge, limits: tuple[Limit, ...], level: float
) -> tuple[Prediction, Preflight]:
    """Prediction of *recipe* and the outcome of its pre-flight, a better recipe included where it is refused."""
    prediction = predict(process, recipe, wafer, known.history, level=level)

    def corrected(values: Mapping[str, float]) -> dict[str, float]:
        return {e.name: e.value for e in correct(process, recipe, values, known.history, level)}

    offer = preflight(
        process, recipe, prediction, limits, lambda: better_recipe(process, recipe, wafer, limits, corrected)
    )
    return prediction, offer
