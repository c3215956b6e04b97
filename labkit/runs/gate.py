"""The gate as one call: predict a recipe with what is known about the tool, and check it before anything is started."""

from __future__ import annotations

import threading
from collections import OrderedDict
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


class Forecasts:
    """The physics of the last few recipes on blank wafers, so that a queue of equal batches computes it once.

    ``simulate`` is pure, so a kept result is the result; nobody changes the Datasets.
    """

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, xr.Dataset] = OrderedDict()

    def of_blanks(self, process: Process, recipe: Recipe, wafer: xr.Dataset) -> xr.Dataset | None:
        """What *recipe* does to a full load of blanks; None if the process has no engine for it."""
        if any(finding.blocking for finding in process.findings(recipe)):
            return None
        with self._lock:
            found = self._kept.get(recipe.content_hash)
        if found is None:
            found = process.simulate(recipe, wafer)
        with self._lock:
            self._kept[recipe.content_hash] = found
            self._kept.move_to_end(recipe.content_hash)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found


def check(
    process: Process,
    recipe: Recipe,
    wafer: xr.Dataset,
    known: Knowledge,
    limits: tuple[Limit, ...],
    level: float,
    forecast: xr.Dataset | None = None,
) -> tuple[Prediction, Preflight]:
    """Prediction of *recipe* and the outcome of its pre-flight, a better recipe included where it is refused.

    *forecast* is what ``simulate`` gives for this recipe and these wafers, where it is known already.
    """
    prediction = predict(process, recipe, wafer, known.history, level=level, forecast=forecast)

    def corrected(values: Mapping[str, float]) -> dict[str, float]:
        return {e.name: e.value for e in correct(process, recipe, values, known.history, level)}

    offer = preflight(
        process, recipe, prediction, limits, lambda: better_recipe(process, recipe, wafer, limits, corrected)
    )
    return prediction, offer
