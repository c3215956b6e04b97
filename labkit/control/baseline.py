"""The frozen baseline: how a qualified tool's residuals scatter, measured once and never moved by later runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from labkit.control.cusum import Cusum
from labkit.control.moderation import declaration_dof
from labkit.control.state import Stored
from labkit.core.errors import LabkitError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Baseline(Stored):
    """Centre, sigma and correlation of each indicator's residual over the qualification runs.

    ``runs`` and ``dof`` are per indicator: measured runs n, and degrees of freedom of sigma (n − 1 + prior weight).
    ``correlation`` is shrunk towards independence and is positive definite for any number of runs.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    sigma: tuple[float, ...]
    runs: tuple[int, ...]
    dof: tuple[float, ...]
    correlation: tuple[tuple[float, ...], ...]

    @classmethod
    def qualify(cls, residuals: Mapping[str, Sequence[float]], prior_sigma: Mapping[str, float]) -> Baseline:
        """The baseline of a tool from its qualification runs.

        ``σ² = (ν₀ σ₀² + Σ(x − x̄)²) / (ν₀ + n − 1)``, known to ν₀ + n − 1 degrees of freedom. How much the declared σ₀
        count (ν₀) is learned from all indicators together, see :func:`~labkit.control.moderation.declaration_dof`.
        Correlations are those of an
        inverse-Wishart posterior around independence that weighs as much as p + 2 runs.

        Parameters
        ----------
        residuals
            Per indicator the residuals in run order, equally long; NaN where a run was not measured.
        prior_sigma
            Per indicator the declared run-to-run standard deviation σ₀.

        Raises
        ------
        LabkitError
            If an indicator has fewer than two measured runs or no positive prior sigma.

        References
        ----------
        Gelman et al., Bayesian Data Analysis, 3rd ed. (2013), sections 3.3 and 3.6.
        """
        names = tuple(residuals)
        table = np.array([np.asarray(residuals[n], dtype=float) for n in names]).T.reshape(-1, len(names))
        prior = np.array([float(prior_sigma.get(n, math.nan)) for n in names])
        runs = np.isfinite(table).sum(axis=0)
        for name, count, guess in zip(names, runs, prior, strict=True):
            if count < 2 or not guess > 0.0:
                raise LabkitError(
                    f"no baseline for {name}: {count} measured runs, prior sigma {guess:g}",
                    allowed="at least 2 runs and a prior sigma above 0",
                    fix="measure more qualification runs or leave the indicator out",
                )
        centre = np.nanmean(table, axis=0)
        deviations = np.where(np.isfinite(table), table - centre, 0.0)
        squares = np.sum(deviations**2, axis=0)
        weight = declaration_dof(*(list(map(float, a)) for a in (squares / (runs - 1.0), runs - 1.0, prior**2)))
        dof = weight + runs - 1.0
        sigma = np.sqrt((weight * prior**2 + squares) / dof)
        return cls(
            names,
            tuple(map(float, centre)),
            tuple(map(float, sigma)),
            tuple(map(int, runs)),
            tuple(map(float, dof)),
            tuple(tuple(map(float, row)) for row in _correlation(deviations)),
        )

    @property
    def pooled_dof(self) -> float:
        """Degrees of freedom of a test on several indicators at once.

        Those of sigma, but no more than the correlations have: an inverse-Wishart posterior of n − 1 runs and p + 2
        prior ones leaves n + 2 to a test of p indicators.
        """
        return min(*self.dof, float(min(self.runs) + 2))

    def standardised(self, residuals: Mapping[str, float]) -> dict[str, float]:
        """Residuals of one run in standard deviations from the centre; NaN where there is none."""
        return {
            name: (float(residuals.get(name, math.nan)) - centre) / sigma
            for name, centre, sigma in zip(self.names, self.centre, self.sigma, strict=True)
        }

    def shewhart_width(self, name: str, false_alarm: float = 0.0027) -> float:
        """Half-width, in standard deviations, beyond which a healthy run falls with probability *false_alarm*.

        ``t_{ν}(1 − α/2) sqrt(1 + 1/n)``: the prediction interval of one more run, wider than 3σ because centre and
        sigma are estimates.
        """
        index = self._index(name)
        return float(stdtrit(self.dof[index], 1.0 - 0.5 * false_alarm)) * math.sqrt(1.0 + 1.0 / self.runs[index])

    def cusum(
        self, name: str, average_run_length: float = 370.0, *, reference: float | None = None, charts: int = 1
    ) -> Cusum:
        """A CUSUM for *name* that keeps its false-alarm rate although this baseline is an estimate."""
        index = self._index(name)
        return Cusum.designed(
            average_run_length, reference=reference, baseline_runs=self.runs[index], dof=self.dof[index], charts=charts
        )

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise LabkitError(f"the baseline has no indicator {name!r}", allowed=", ".join(self.names))
        return self.names.index(name)


def _correlation(deviations: Floats) -> Floats:
    """Correlation of the columns of *deviations* (zero where missing), shrunk by p + 2 runs of independence."""
    runs, count = deviations.shape
    norms = np.sqrt(np.sum(deviations**2, axis=0))
    scaled = deviations / np.where(norms > 0.0, norms, 1.0)
    sample = scaled.T @ scaled
    weight = (runs - 1.0) / (runs - 1.0 + count + 2.0)
    shrunk: Floats = weight * sample
    np.fill_diagonal(shrunk, 1.0)
    return shrunk
