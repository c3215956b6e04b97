"""Prediction: quasi-steady physics without noise, corrected by what this tool's past residuals have taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.core.errors import NotFound
from labkit.core.process import Finding, Process
from labkit.core.recipe import Recipe
from labkit.models.residual import ResidualModel

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class History:
    """Past healthy runs of one tool and recipe family: knob settings (n, d) and residuals per indicator (n,)."""

    inputs: tuple[tuple[float, ...], ...] = ()
    residuals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Estimate:
    """What one indicator is expected to be.

    ``physics`` is the model alone; ``value`` and ``low`` … ``high`` include the tool's past residuals and contain the
    next measurement with the prediction's level. ``covered`` is false where no past run lies near these settings.
    """

    name: str
    units: str
    physics: float
    value: float
    low: float
    high: float
    covered: bool

    def contains(self, measured: float) -> bool:
        """Whether *measured* lies in the interval."""
        return self.low <= measured <= self.high


@dataclass(frozen=True)
class Prediction:
    """What a recipe is expected to do on a tool, before it runs."""

    recipe_hash: str
    level: float
    rows: int
    estimates: tuple[Estimate, ...]
    findings: tuple[Finding, ...] = ()
    dataset: xr.Dataset | None = field(default=None, compare=False, repr=False)

    @property
    def values(self) -> dict[str, float]:
        """Expected value of every indicator."""
        return {e.name: e.value for e in self.estimates}

    @property
    def physics(self) -> dict[str, float]:
        """Expected value of every indicator by physics alone."""
        return {e.name: e.physics for e in self.estimates}

    def estimate(self, name: str) -> Estimate:
        """The estimate of one indicator.

        Raises
        ------
        NotFound
            If the process has no such indicator.
        """
        for estimate in self.estimates:
            if estimate.name == name:
                return estimate
        raise NotFound(f"no prediction of {name!r}", allowed=", ".join(e.name for e in self.estimates))

    def document(self) -> dict[str, Any]:
        """The prediction as JSON for the run's record."""
        return {
            "recipe_hash": self.recipe_hash,
            "level": self.level,
            "rows": self.rows,
            "estimates": [vars(e) for e in self.estimates],
            "findings": [{"message": f.message, "fix": f.fix, "blocking": f.blocking} for f in self.findings],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Prediction:
        """The prediction that :meth:`document` wrote, without its Dataset."""
        return cls(
            document["recipe_hash"],
            document["level"],
            document["rows"],
            tuple(_estimate(e) for e in document["estimates"]),
            tuple(Finding(**f) for f in document["findings"]),
        )

    def __repr__(self) -> str:
        lines = [f"prediction from physics and {self.rows} past runs, {100 * self.level:g} % intervals"]
        lines += [
            f"  {e.name:28} {e.value:10.5g}  [{e.low:.5g}, {e.high:.5g}] {e.units}"
            + ("" if e.covered else "  (new ground)")
            for e in self.estimates
        ]
        return "\n".join(lines)


def predict(
    process: Process,
    recipe: Recipe,
    wafer: xr.Dataset,
    history: History,
    *,
    level: float = 0.95,
    forecast: xr.Dataset | None = None,
) -> Prediction:
    """Predict every indicator of *recipe* on the tool that *history* comes from.

    A recipe that the process has no engine for yields its findings and no estimates. *forecast* is what ``simulate``
    gives for this recipe and these wafers, where it is known already.
    """
    findings = process.findings(recipe)
    if any(f.blocking for f in findings):
        return Prediction(recipe.content_hash, level, len(history), (), findings)
    dataset = process.simulate(recipe, wafer) if forecast is None else forecast
    physics = process.summarise(recipe, dataset)
    estimates = correct(process, recipe, physics, history, level)
    return Prediction(recipe.content_hash, level, len(history), estimates, findings, dataset)


def correct(
    process: Process, recipe: Recipe, physics: Mapping[str, float], history: History, level: float
) -> tuple[Estimate, ...]:
    """Estimates from *physics* and the residuals in *history*."""
    knobs = process.knobs(recipe)
    point = settings_of(process, recipe)
    estimates = []
    for indicator in process.indicators:
        expected = physics[indicator.name]
        model = ResidualModel.fit(
            history.inputs, history.residuals.get(indicator.name, ()), prior_sigma=indicator.sigma, knobs=knobs
        )
        residual = model.predict(point, level)
        value, low, high = (indicator.restore(r, expected) for r in (residual.mean, residual.low, residual.high))
        estimates.append(Estimate(indicator.name, indicator.units, expected, value, low, high, residual.covered))
    return tuple(estimates)


def settings_of(process: Process, recipe: Recipe) -> tuple[float, ...]:
    """Knob settings of *recipe*, in the order of the process's knobs."""
    return tuple(float(recipe.value(knob.path)) for knob in process.knobs(recipe))


def history_from(rows: Sequence[Mapping[str, Any]], process: Process, recipe: Recipe) -> History:
    """History from stored training rows, in run order; rows with other knobs than *recipe* has are left out."""
    paths = [knob.path for knob in process.knobs(recipe)]
    usable = [row for row in rows if set(paths) == set(row["inputs"])]
    inputs = tuple(tuple(float(row["inputs"][path]) for path in paths) for row in usable)
    residuals = {i.name: tuple(_number(row["outputs"].get(i.name)) for row in usable) for i in process.indicators}
    return History(inputs, residuals)


def _estimate(document: Mapping[str, Any]) -> Estimate:
    numbers = {name: _number(document[name]) for name in ("physics", "value", "low", "high")}
    return Estimate(name=document["name"], units=document["units"], covered=document["covered"], **numbers)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
