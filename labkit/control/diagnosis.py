"""Cause of a departure: which fault's signature explains the residuals since the change point, if any does."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, stdtrit

from labkit.control.baseline import Baseline
from labkit.control.state import Stored
from labkit.core.errors import LabkitError

Floats = NDArray[np.float64]

SHAPES = ("step", "drift")
"""How a fault develops over the runs: at once and constant, or in proportion to the runs since the change point."""


@dataclass(frozen=True)
class Candidate(Stored):
    """One fault as an explanation.

    ``amplitude`` (with interval ``low`` … ``high``) is in units of the fault's declared step; for a drift it is the
    value at the latest run. ``weight`` compares the candidates and "healthy" and sums to 1 with the latter.
    ``explained`` is the share of the departure (squared, in standard deviations) that the fault accounts for;
    ``misfit`` is the probability of as poor a fit if the fault were the cause.
    """

    fault: str
    shape: str
    amplitude: float
    low: float
    high: float
    weight: float
    explained: float
    misfit: float
    significance: float


@dataclass(frozen=True)
class Diagnosis:
    """The verdict and its grounds.

    ``verdict`` is ``"healthy"``, a fault's name, ``"unknown"`` or ``"ambiguous: a | b"``. ``significance`` is the
    probability that healthy residuals depart this far. ``undetectable`` are faults that move no measured indicator.
    ``isolated`` names, with an unknown cause, the one indicator that departs while all others stay: its own gauge, say.
    """

    verdict: str
    candidates: tuple[Candidate, ...]
    significance: float
    level: float
    runs: int
    undetectable: tuple[str, ...] = ()
    isolated: str = ""

    @property
    def faults(self) -> tuple[str, ...]:
        """The faults that the verdict names, likeliest first."""
        return _named(self.verdict)


@dataclass(frozen=True)
class _Departure:
    """Departure of one temporal shape: estimate y (p,), its information matrix (p, p), and the shape's name."""

    shape: str
    estimate: Floats
    information: Floats

    @property
    def distance(self) -> float:
        """Squared Mahalanobis length of the departure."""
        return float(self.estimate @ self.information @ self.estimate)


def diagnose(
    residuals: Sequence[Mapping[str, float]],
    signatures: Mapping[str, Mapping[str, float]],
    baseline: Baseline,
    *,
    level: float = 0.01,
    tolerance: float = 0.15,
    separation: float = 0.05,
    one_sided: Collection[str] = (),
) -> Diagnosis:
    """Which fault explains the *residuals* of the runs since the change point.

    Each fault f predicts ``z_t = a g_t s_f + u + e_t`` with g_t = 1 (step) or t/m (drift), run-to-run scatter e of
    the baseline's correlation, and the baseline's own centre error u common to all runs. Amplitude a by generalised
    least squares, shape by likelihood. A signature is a linearisation, so it may be wrong by *tolerance* times its
    length in any direction. All tests are F tests that allow for the estimated covariance:

    * *healthy* unless some fault, or the departure as a whole, is significant at *level* (Bonferroni over all tests);
    * *unknown* if no significant fault fits (lack of fit beyond *level* for every one), or if a departure of one
      indicator alone is likelier than the leading fault by more than 1/*separation*;
    * *ambiguous* if a runner-up's likelihood is at least *separation* times the leader's.

    Parameters
    ----------
    residuals
        One mapping per run, indicator to residual (in the indicator's residual unit); absent or NaN where unmeasured.
    signatures
        Per fault the change of each indicator's residual for one step of the fault; an absent indicator does not move.
    baseline
        What healthy residuals look like.
    one_sided
        Faults that exist with positive amplitude only; with a negative one they explain nothing.

    Raises
    ------
    LabkitError
        If there are no runs, nothing was measured, or a signature is not finite.

    Validity: runs chosen without looking at them. A window that starts at a CUSUM's change point was chosen because
    it departs, so *level* then is per alarm an underestimate; the chart's own false-alarm rate still bounds the total.

    References
    ----------
    Yoon, MacGregor, Journal of Process Control 11 (2001) 387 (fault signatures);
    Kass, Raftery, JASA 90 (1995) 773 (likelihood weights by BIC), doi:10.1080/01621459.1995.10476572.
    """
    table = np.array([[float(run.get(n, math.nan)) for n in baseline.names] for run in residuals]).reshape(
        len(residuals), len(baseline.names)
    )
    seen = np.isfinite(table).any(axis=0)
    if not len(residuals) or not seen.any():
        raise LabkitError(
            "nothing to diagnose: no run with a measured indicator of the baseline",
            allowed="at least one of " + ", ".join(baseline.names),
        )
    sigma = np.array(baseline.sigma)[seen]
    z = (table[:, seen] - np.array(baseline.centre)[seen]) / sigma
    names = [n for n, s in zip(baseline.names, seen, strict=True) if s]
    vectors = {
        fault: np.array([float(signature.get(n, 0.0)) for n in names]) / sigma
        for fault, signature in signatures.items()
    }
    for fault, vector in vectors.items():
        if not np.isfinite(vector).all():
            raise LabkitError(f"the signature of fault {fault!r} is not finite", allowed="finite numbers")
    undetectable = tuple(f for f, v in vectors.items() if not np.any(np.abs(v) > 1e-9))
    vectors = {f: v for f, v in vectors.items() if f not in undetectable}
    departures = _departures(
        z,
        np.array(baseline.correlation)[np.ix_(seen, seen)],
        np.array(baseline.runs)[seen],
        _inflation(baseline, len(names)),
    )
    scales = _Scales(names, baseline.pooled_dof, z.shape[0], level, tolerance, separation, frozenset(one_sided))
    return _judge(departures, vectors, undetectable, scales)


def _inflation(baseline: Baseline, count: int) -> float:
    """Factor by which the covariance of a departure exceeds the estimated correlation, for *count* indicators.

    An inverse-Wishart posterior of ν degrees of freedom predicts with ν/(ν − p + 1) times its scale matrix. The F tests
    already carry the uncertainty of the sigmas, so the full factor would count that twice; its square root keeps the
    stated level (Monte Carlo: 5 to 60 qualification runs, 1 to 10 indicators, correlations 0 to 0.9).
    """
    dof = baseline.pooled_dof
    return math.sqrt((dof + count - 1.0) / dof)


def _departures(z: Floats, correlation: Floats, runs: NDArray[np.int_], inflation: float) -> list[_Departure]:
    """Generalised least squares departure for each shape, the baseline's centre error integrated out."""
    count, size = z.shape
    centre_error = correlation / np.sqrt(np.outer(runs, runs))
    shapes = {"step": np.ones(count), "drift": np.arange(1, count + 1) / count}
    if count == 1:
        del shapes["drift"]
    precision = np.zeros((count, size, size))
    for pattern in np.unique(np.isfinite(z), axis=0):
        if pattern.any():
            block = np.ix_(pattern, pattern)
            where = (np.isfinite(z) == pattern).all(axis=1)
            embedded = np.zeros((size, size))
            embedded[block] = np.linalg.inv(correlation[block])
            precision[where] = embedded
    weighted = np.einsum("tij,tj->ti", precision, np.nan_to_num(z))
    common = np.linalg.inv(centre_error) + precision.sum(axis=0)
    found = []
    for name, g in shapes.items():
        cross = np.einsum("t,tij->ij", g, precision)
        information = np.einsum("t,tij->ij", g * g, precision) - cross @ np.linalg.solve(common, cross)
        pull = g @ weighted - cross @ np.linalg.solve(common, weighted.sum(axis=0))
        found.append(_Departure(name, np.linalg.solve(information, pull), information / inflation))
    return found


def _fit(departure: _Departure, vector: Floats, tolerance: float) -> tuple[float, float, float, float]:
    """Amplitude, its variance, squared misfit and log-determinant ratio of one fault for one shape."""
    size = len(vector)
    sampling = np.asarray(np.linalg.inv(departure.information), dtype=np.float64)
    pull = departure.information @ vector
    amplitude = float(pull @ departure.estimate / (pull @ vector))
    covariance = sampling
    for _ in range(3):
        slack = (tolerance * amplitude) ** 2 * float(vector @ vector) / size
        covariance = np.asarray(sampling + slack * np.eye(size), dtype=np.float64)
        pull = np.asarray(np.linalg.solve(covariance, vector), dtype=np.float64)
        amplitude = float(pull @ departure.estimate / (pull @ vector))
    rest = departure.estimate - amplitude * vector
    misfit = float(rest @ np.linalg.solve(covariance, rest))
    spread = float(np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(sampling)[1])
    return amplitude, 1.0 / float(pull @ vector), misfit, spread


@dataclass(frozen=True)
class _Scales:
    """What the tests of one diagnosis share: indicators, degrees of freedom, runs, and the levels asked for."""

    names: list[str]
    dof: float
    runs: int
    level: float
    tolerance: float
    separation: float
    one_sided: frozenset[str]

    @property
    def penalty(self) -> float:
        """Log-likelihood that one free amplitude costs (BIC)."""
        return 0.5 * math.log(self.runs * len(self.names))

    def gain(self, reference: float, explained: float) -> float:
        """Log-likelihood gained by explaining *explained* of the squared departure *reference*."""
        remaining = max(self.dof + reference - explained, 1e-12)
        return 0.5 * (self.dof + len(self.names)) * math.log((self.dof + reference) / remaining) - self.penalty


def _judge(
    departures: list[_Departure], vectors: Mapping[str, Floats], undetectable: tuple[str, ...], scales: _Scales
) -> Diagnosis:
    size, dof, tolerance = len(scales.names), scales.dof, scales.tolerance
    reference = max(d.distance for d in departures)
    tests = [float(fdtrc(size, dof, d.distance / size)) * len(departures) for d in departures]
    drafts: list[tuple[float, Candidate]] = []
    for fault, vector in vectors.items():
        best: tuple[float, Candidate] | None = None
        for departure in departures:
            pull = departure.information @ vector
            single = float((pull @ departure.estimate) ** 2 / (pull @ vector))
            significance = min(1.0, float(fdtrc(1.0, dof, single)) * len(departures) * len(vectors))
            amplitude, variance, misfit, spread = _fit(departure, vector, tolerance)
            if fault in scales.one_sided and amplitude <= 0.0:
                continue
            gain = scales.gain(reference, departure.distance - misfit) - 0.5 * spread
            half = float(stdtrit(dof, 0.975)) * math.sqrt(variance)
            lack = 1.0 if size == 1 else float(fdtrc(size - 1.0, dof, misfit / (size - 1.0)))
            rest = departure.estimate - amplitude * vector
            left = float(rest @ departure.information @ rest) / max(departure.distance, 1e-300)
            draft = Candidate(
                fault,
                departure.shape,
                amplitude,
                amplitude - half,
                amplitude + half,
                0.0,
                max(0.0, 1.0 - left),
                lack,
                significance,
            )
            if best is None or gain > best[0]:
                best = (gain, draft)
            tests.append(significance)
        if best is not None:
            drafts.append(best)
    candidates = _weighted(drafts)
    overall = min(1.0, 2.0 * min(tests))
    verdict = _verdict(candidates, overall, scales.level, scales.separation)
    alone, lack, name = _isolated(departures, reference, scales)
    named = [gain for gain, candidate in drafts if candidate.fault in _named(verdict)]
    if named and alone > max(named) - math.log(scales.separation):
        verdict = "unknown"
    isolated = name if verdict == "unknown" and lack >= scales.level else ""
    return Diagnosis(verdict, candidates, overall, scales.level, scales.runs, undetectable, isolated)


def _isolated(departures: list[_Departure], reference: float, scales: _Scales) -> tuple[float, float, str]:
    """Log-likelihood gain and lack of fit of the likeliest departure of one indicator alone, and which it is.

    It is granted the same tolerance as a fault, so that neither is the likelier for being taken as exact.
    """
    size, best = len(scales.names), (-math.inf, 0.0, "")
    if size == 1:
        return best
    for departure in departures:
        pull = departure.information @ departure.estimate
        index = int(np.argmax(pull**2 / np.diag(departure.information)))
        _, _, misfit, spread = _fit(departure, np.eye(size)[index], scales.tolerance)
        gain = scales.gain(reference, departure.distance - misfit) - 0.5 * spread
        if gain > best[0]:
            best = (gain, float(fdtrc(size - 1.0, scales.dof, misfit / (size - 1.0))), scales.names[index])
    return best


def _named(verdict: str) -> tuple[str, ...]:
    return () if verdict in ("healthy", "unknown") else tuple(verdict.removeprefix("ambiguous: ").split(" | "))


def _weighted(drafts: list[tuple[float, Candidate]]) -> tuple[Candidate, ...]:
    """Candidates, heaviest first, with weights that sum to 1 together with "healthy" (whose gain is 0)."""
    top = max([0.0, *(gain for gain, _ in drafts)])
    total = math.exp(-top) + sum(math.exp(gain - top) for gain, _ in drafts)
    ranked = sorted(drafts, key=lambda item: -item[0])
    return tuple(replace(candidate, weight=math.exp(gain - top) / total) for gain, candidate in ranked)


def _verdict(candidates: tuple[Candidate, ...], overall: float, level: float, separation: float) -> str:
    if overall >= level:
        return "healthy"
    fitting = [c for c in candidates if c.misfit >= level and c.significance < level]
    if not fitting:
        return "unknown"
    close = [c.fault for c in fitting if c.weight >= separation * fitting[0].weight]
    return close[0] if len(close) == 1 else "ambiguous: " + " | ".join(close)
