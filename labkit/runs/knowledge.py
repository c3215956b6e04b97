"""What the catalogue knows about a tool and a recipe family: history, charts, controller — recalled and remembered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit.core.limits import Limit
from labkit.core.process import Process
from labkit.core.recipe import Recipe
from labkit.models.residual import MOST_ROWS
from labkit.operations.limits import ConstraintProfile, limits_for
from labkit.runs.judge import Charts, ChartState
from labkit.runs.learn import Correction
from labkit.runs.predict import History, history_from
from labkit.store import learning, tables
from labkit.store.catalogue import Transaction
from labkit.store.clock import now

CORRECTION = "run-to-run"
"""Kind of suggestion that run-to-run control makes."""


@dataclass(frozen=True)
class Knowledge:
    """Everything a run on one tool is predicted and judged with."""

    history: History
    charts: Charts | None
    state: ChartState
    steering: Mapping[str, Any] | None
    profiles: tuple[ConstraintProfile, ...]
    baseline_id: str | None
    mark: str = ""
    """Changes whenever something changes that a prediction or its pre-flight depends on."""

    def limits(
        self, process: Process, recipe: Recipe, *, tool: str | None = None, product: str | None = None
    ) -> tuple[Limit, ...]:
        """Limits in force for a run of *recipe*: the process's, matching profiles' and the recipe's own targets."""
        return (*limits_for(process, self.profiles, tool=tool, product=product), *process.targets(recipe))


def recall(tx: Transaction, process: Process, recipe: Recipe, *, tool: str, origin: str) -> Knowledge:
    """Knowledge about *recipe*'s family on *tool*, from data of the same *origin* only.

    Simulated runs never enter a real tool's history, charts or controller, nor the other way round.
    """
    family = process.family(recipe)
    baseline = learning.baseline(tx, tool=tool, process=process.name, family=family)
    state = learning.chart_state(tx, _key("judge", tool, family, origin))
    rows = learning.training_rows(tx, process=process.name, origins=[origin], tool=tool, family=family, limit=MOST_ROWS)
    in_force = learning.profiles(tx, process=process.name)
    mark = [max((row["number"] for row in rows), default=0), len(rows), [[p["name"], p["version"]] for p in in_force]]
    return Knowledge(
        history_from(rows, process, recipe),
        None if baseline is None else Charts.from_document(baseline["document"]),
        ChartState() if state is None else ChartState.from_document(state),
        learning.chart_state(tx, _key("steer", tool, family, origin)),
        tuple(ConstraintProfile.model_validate(row["document"]) for row in in_force),
        None if baseline is None else baseline["id"],
        json.dumps(mark),
    )


def remember(
    tx: Transaction,
    process: Process,
    recipe: Recipe,
    tool: str,
    origin: str,
    state: ChartState,
    steering: Mapping[str, Any] | None,
    run_id: str,
) -> None:
    """Keep the charts' and the controller's next state, in the run's own transaction."""
    family = process.family(recipe)
    learning.keep_chart_state(tx, _key("judge", tool, family, origin), state.document(), run=run_id)
    if steering is not None:
        learning.keep_chart_state(tx, _key("steer", tool, family, origin), dict(steering), run=run_id)


def restart_charts(tx: Transaction, family: str, tool: str, origin: str) -> None:
    """Set the charts back to their start: after a repair, or when a new baseline is frozen."""
    learning.keep_chart_state(tx, _key("judge", tool, family, origin), ChartState().document())


def profiles(tx: Transaction, process: str) -> tuple[ConstraintProfile, ...]:
    """Every constraint profile of a process, in its latest version."""
    return tuple(ConstraintProfile.model_validate(row["document"]) for row in learning.profiles(tx, process=process))


def propose(tx: Transaction, recipe: Recipe, tool: str, family: str, run_id: str, correction: Correction) -> None:
    """Put a correction before the engineers; an older open proposal for the same tool and recipe gives way to it."""
    for row in learning.suggestions(tx, status="proposed", tool=tool, process=recipe.process):
        if (row["recipe_name"], row["recipe_version"]) == (recipe.name, recipe.version):
            tx.update(
                tables.suggestions,
                {"id": row["id"]},
                {"changes": correction.changes, "reason": correction.reason, "run": run_id, "created": now()},
            )
            return
    learning.suggest(
        tx,
        kind=CORRECTION,
        tool=tool,
        process=recipe.process,
        changes=correction.changes,
        family=family,
        reason=correction.reason,
        run=run_id,
        recipe_name=recipe.name,
        recipe_version=recipe.version,
    )


def _key(purpose: str, tool: str, family: str, origin: str) -> str:
    return "/".join((purpose, tool, family, origin))
