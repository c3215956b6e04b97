"""What past runs say about the next one's residual: a bias, a smooth dependence on the knobs, an honest interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from labkit.control.state import Stored
from labkit.core.errors import LabkitError
from labkit.core.process import Knob
from labkit.numerics.student_process import squared_exponential

Floats = NDArray[np.float64]

MOST_ROWS = 200
"""Rows kept, newest last: beyond that a prediction would take longer than 5 ms and old rows say little."""
LENGTHSCALE = 0.5
"""Prior length over which the residual changes, in units of each knob's range (illustrative: half the range)."""
BIAS_RATIO = 3.0
"""Prior standard deviation of a tool's constant bias, in noise standard deviations (illustrative)."""
FUNCTION_RATIO = 1.0
"""Prior standard deviation of the dependence on the knobs, in noise standard deviations (illustrative)."""
PRIOR_DOF = 3.0
"""Weight, in runs, of the declared sigma (illustrative): the least whole number whose Student-t has a variance."""
REACH = 1.0
"""Length-scales from the nearest past run up to which a prediction counts as covered (correlation 0.61)."""


@dataclass(frozen=True)
class ResidualPrediction(Stored):
    """The residual to expect and the interval that the next run's residual falls into with probability *level*.

    ``covered`` is false outside the distance where past runs say anything; the interval is then the prior's width.
    """

    mean: float
    low: float
    high: float
    dof: float
    distance: float | None
    covered: bool
    level: float


@dataclass(frozen=True)
class ResidualModel:
    """A Student-t process on the residuals of past runs (see :mod:`labkit.numerics.student_process`).

    Priors: tool bias N(0, (3σ)²), a smooth function of the knobs N(0, σ²) with length-scale of half of each knob's
    range (logarithmic for knobs that act multiplicatively), noise σ² scaled inverse χ² around ``prior_sigma`` with the
    weight of three runs. All of them scale with the σ that the data show.

    Validity: residuals with independent noise; a drift is seen as noise until the window of rows has moved on.
    """

    inputs: tuple[tuple[float, ...], ...]
    residuals: tuple[float, ...]
    prior_sigma: float
    knobs: tuple[Knob, ...] = ()

    @classmethod
    def fit(
        cls,
        inputs: Sequence[Sequence[float]] | Floats,
        residuals: Sequence[float] | Floats,
        *,
        prior_sigma: float,
        knobs: Sequence[Knob] = (),
    ) -> ResidualModel:
        """A model of *residuals* (n,) at knob settings *inputs* (n, d), in run order; n may be 0.

        Rows whose residual is missing (NaN) are dropped; of the rest the newest 200 are kept.

        Raises
        ------
        LabkitError
            If the shapes do not match, an input is not finite, or *prior_sigma* is not positive.
        """
        y = np.asarray(residuals, dtype=float).reshape(-1)
        rows, x = _table(inputs)
        if x.size == 0 and not (len(y) and len(knobs)):
            x = x.reshape(len(y), len(knobs))
        if x.shape != (len(y), len(knobs)):
            raise LabkitError(
                f"inputs of shape {np.shape(inputs)} for {len(y)} residuals and {len(knobs)} knobs",
                allowed=f"({len(y)}, {len(knobs)})",
            )
        if not (math.isfinite(prior_sigma) and prior_sigma > 0.0):
            raise LabkitError(f"prior sigma {prior_sigma:g}", allowed="a finite number above 0")
        if not np.isfinite(x).all():
            raise LabkitError("an input is not a finite number", allowed="finite knob settings")
        keep = np.flatnonzero(np.isfinite(y))[-MOST_ROWS:]
        rows = rows if len(rows) == len(y) else tuple(() for _ in y)
        return cls(
            rows if len(keep) == len(rows) else tuple(rows[at] for at in keep.tolist()),
            tuple(y[keep].tolist()),
            float(prior_sigma),
            tuple(knobs),
        )

    def predict(self, point: Sequence[float] = (), level: float = 0.95) -> ResidualPrediction:
        """The residual to expect at knob settings *point* (d,), with a two-sided interval of probability *level*."""
        if len(point) != len(self.knobs):
            raise LabkitError(f"{len(point)} knob settings", allowed=f"{len(self.knobs)}")
        ground = _ground(self.inputs, self.knobs, tuple(map(float, point)))
        dof = PRIOR_DOF + len(self.residuals)
        white = ground.whitening @ np.array(self.residuals)
        centre = float(white @ ground.reach)
        variance = (PRIOR_DOF * self.prior_sigma**2 + float(white @ white)) / dof
        half = float(stdtrit(dof, 0.5 * (1.0 + level))) * math.sqrt(variance * ground.spread)
        nearest = ground.nearest
        return ResidualPrediction(
            centre, centre - half, centre + half, dof, nearest, nearest is not None and nearest <= REACH, level
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable document of this model."""
        return {
            "inputs": [list(row) for row in self.inputs],
            "residuals": list(self.residuals),
            "prior_sigma": self.prior_sigma,
            "knobs": [asdict(knob) for knob in self.knobs],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ResidualModel:
        """The model that *document* describes."""
        try:
            knobs = tuple(Knob(**k) for k in document["knobs"])
            return cls.fit(document["inputs"], document["residuals"], prior_sigma=document["prior_sigma"], knobs=knobs)
        except (KeyError, TypeError, ValueError) as error:
            raise LabkitError(
                f"stored residual model cannot be read: {type(error).__name__}: {error}",
                allowed="inputs, residuals, prior_sigma and knobs",
            ) from error


@dataclass(frozen=True)
class _Ground:
    """What a prediction takes from the settings alone, the same for every indicator measured in the same runs.

    With the covariance K = L Lᵀ of the data and k* that of the data with the query, both in units of σ²: ``whitening``
    is L⁻¹ (n, n), ``reach`` is L⁻¹ k* (n,), and ``spread`` is 1 + r_b² + r_f² − k*ᵀ K⁻¹ k*.
    """

    whitening: Floats
    reach: Floats
    spread: float
    nearest: float | None


@lru_cache(maxsize=16)
def _ground(inputs: tuple[tuple[float, ...], ...], knobs: tuple[Knob, ...], point: tuple[float, ...]) -> _Ground:
    """The ground of a prediction at *point* (d,) from runs at *inputs* (n, d); factorised once for all indicators."""
    function = FUNCTION_RATIO**2 if knobs else 0.0
    settings = np.array([*inputs, point], dtype=float).reshape(len(inputs) + 1, len(knobs))
    past, query = _scaled(knobs, settings[:-1]), _scaled(knobs, settings[-1:])
    total = 1.0 + BIAS_RATIO**2 + function
    if not inputs:
        return _Ground(np.zeros((0, 0)), np.zeros(0), total, None)
    covariance = BIAS_RATIO**2 + function * squared_exponential(past, past, LENGTHSCALE) + np.eye(len(past))
    across = BIAS_RATIO**2 + function * squared_exponential(past, query, LENGTHSCALE)[:, 0]
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    reach = whitening @ across
    nearest = float(np.sqrt(np.sum((past - query) ** 2, axis=1).min())) / LENGTHSCALE
    return _Ground(whitening, reach, total - float(reach @ reach), nearest)


def _table(inputs: Any) -> tuple[tuple[tuple[float, ...], ...], Floats]:
    """Rows of knob settings as tuples of floats, and as an array."""
    if type(inputs) is tuple and all(type(row) is tuple for row in inputs):
        return _read(inputs)
    table = np.asarray(inputs, dtype=float)
    return tuple(map(tuple, table.tolist())) if table.ndim == 2 else (), table


@lru_cache(maxsize=4)
def _read(inputs: tuple[tuple[float, ...], ...]) -> tuple[tuple[tuple[float, ...], ...], Floats]:
    """The table of a history, which is the same for a dozen indicators in turn."""
    table = np.array(inputs, dtype=float)
    table.flags.writeable = False
    return tuple(map(tuple, table.tolist())) if table.ndim == 2 else (), table


def _scaled(knobs: tuple[Knob, ...], settings: Floats) -> Floats:
    """Knob settings (n, d) with each knob's range mapped to 0 … 1."""
    if not knobs:
        return settings
    return np.stack([_unit(knob, settings[:, i]) for i, knob in enumerate(knobs)], axis=1)


def _unit(knob: Knob, values: Floats) -> Floats:
    if not knob.log:
        return np.asarray((values - knob.low) / (knob.high - knob.low))
    if values.size and not values.min() > 0.0:
        raise LabkitError(f"{knob.path} is a logarithmic knob and got {values.min():g}", allowed="settings above 0")
    return np.asarray(np.log(values / knob.low) / math.log(knob.high / knob.low))
