"""How often a chart cries wolf: average run lengths of CUSUM and EWMA charts, for known and estimated baselines."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtr

from labkit.core.errors import LabkitError

Floats = NDArray[np.float64]


def _density(z: Floats) -> Floats:
    return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi))


@lru_cache(maxsize=16)
def _gauss_legendre(order: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def _one_sided(reference: float, interval: float, mean: Floats, scale: Floats, head_start: float) -> Floats:
    """ARL of the upper CUSUM for each pair of *mean* and *scale* of the standardised measurement (same shape)."""
    points = min(24 + 2 * int(np.ceil(interval * max(1.0, 1.0 / float(scale.min())))), 200)
    unit, weights = _gauss_legendre(points)
    x, w = interval * unit, interval * weights
    mu, sd = mean[..., None, None], scale[..., None, None]
    origin = np.concatenate([[0.0], x])
    kernel = w * _density((x + reference - origin[:, None] - mu) / sd) / sd
    stay = ndtr((reference - origin[:, None] - mu) / sd)
    matrix = np.eye(len(origin)) - np.concatenate([stay, kernel], axis=-1)
    lengths = np.linalg.solve(matrix, np.ones((*matrix.shape[:-1], 1)))[..., 0]
    if head_start == 0.0:
        return np.asarray(lengths[..., 0])
    onward = w * _density((x + reference - head_start - mu[..., 0]) / sd[..., 0]) / sd[..., 0]
    reset = ndtr((reference - head_start - mean) / scale)
    return np.asarray(1.0 + reset * lengths[..., 0] + np.sum(onward * lengths[..., 1:], axis=-1))


def cusum_average_run_length(
    reference: float, interval: float, *, shift: float = 0.0, head_start: float = 0.0, two_sided: bool = True
) -> float:
    """Average number of runs until a CUSUM of standard normal measurements signals.

    Page's integral equation, solved by Gauss–Legendre collocation (Goel and Wu); two sides combine as
    ``1/ARL = 1/ARL⁺ + 1/ARL⁻``, exact without a head start.

    Parameters
    ----------
    reference, interval
        k and h, in standard deviations.
    shift
        True mean in standard deviations; 0 is in control.
    head_start
        Starting value of the sum(s), in standard deviations; only for one side.

    References
    ----------
    Goel, Wu, Technometrics 13 (1971) 221; Lucas, Crosier, Technometrics 24 (1982) 199.
    """
    if head_start and two_sided:
        raise LabkitError(
            "the two-sided run length with a head start has no closed combination",
            fix="ask for two_sided=False, or simulate",
        )
    one = np.ones(1)
    upper = float(_one_sided(reference, interval, shift * one, one, head_start)[0])
    if not two_sided:
        return upper
    lower = float(_one_sided(reference, interval, -shift * one, one, 0.0)[0])
    return 1.0 / (1.0 / upper + 1.0 / lower)


def ewma_average_run_length(weight: float, width: float, *, shift: float = 0.0) -> float:
    """Average number of runs until an EWMA chart with asymptotic limits signals.

    Crowder's integral equation, solved by Gauss–Legendre collocation.

    References
    ----------
    Crowder, Technometrics 29 (1987) 401.
    """
    half = width * np.sqrt(weight / (2.0 - weight))
    points = 24 + 2 * int(np.ceil(2.0 * half / weight))
    unit, weights = _gauss_legendre(points)
    x, w = half * (2.0 * unit - 1.0), 2.0 * half * weights
    origin = np.concatenate([[0.0], x])
    kernel = w / weight * _density((x - (1.0 - weight) * origin[:, None]) / weight - shift)
    matrix = np.eye(len(x)) - kernel[1:]
    lengths = np.linalg.solve(matrix, np.ones(len(x)))
    return float(1.0 + kernel[0] @ lengths)


@lru_cache(maxsize=512)
def cusum_false_alarm_rate(
    reference: float, interval: float, *, baseline_runs: int | None = None, dof: float | None = None
) -> float:
    """Share of healthy runs at which a two-sided CUSUM, restarted after every signal, cries wolf.

    For a known baseline this is 1/ARL. A baseline of n runs puts its centre wrong by N(0, 1/n) standard
    deviations and its sigma by a factor sqrt(χ²_ν/ν); both shift every later run alike. The rate is the average of
    1/ARL over those errors, i.e. over laboratories that qualified a tool with n runs.

    Parameters
    ----------
    reference, interval
        k and h, in estimated standard deviations.
    baseline_runs
        n; ``None`` means the baseline is known exactly.
    dof
        ν, degrees of freedom of the estimated sigma; ``None`` takes n − 1.

    Validity: independent normal residuals.

    References
    ----------
    Jones, Champ, Rigdon, Journal of Quality Technology 36 (2004) 95 (run length of the CUSUM with estimated
    parameters).
    """
    if baseline_runs is None:
        return 1.0 / cusum_average_run_length(reference, interval)
    freedom = float(baseline_runs - 1 if dof is None else dof)
    if baseline_runs < 2 or freedom <= 0.0:
        raise LabkitError(
            f"a baseline of {baseline_runs} runs with {freedom:g} degrees of freedom",
            allowed="at least 2 runs and 1 degree of freedom",
        )
    offsets, offset_weights = np.polynomial.hermite_e.hermegauss(31)
    keep = offsets >= 0.0
    offset_weights = offset_weights[keep] * np.where(offsets[keep] == 0.0, 1.0, 2.0) / np.sqrt(2.0 * np.pi)
    unit, unit_weights = _gauss_legendre(16)
    ratio = np.sqrt(chdtri(freedom, 1.0 - unit) / freedom)
    shift = offsets[keep][:, None] / np.sqrt(baseline_runs) / ratio
    scale = np.broadcast_to(1.0 / ratio, shift.shape)
    upper = _one_sided(reference, interval, shift, scale, 0.0)
    lower = _one_sided(reference, interval, -shift, scale, 0.0)
    return float(offset_weights @ (1.0 / upper + 1.0 / lower) @ unit_weights)


@lru_cache(maxsize=128)
def cusum_interval(
    average_run_length: float, reference: float = 0.5, *, baseline_runs: int | None = None, dof: float | None = None
) -> float:
    """Decision interval h at which the false-alarm rate is 1/*average_run_length*.

    Raises
    ------
    LabkitError
        If no h up to 40 standard deviations keeps the rate: the baseline is too short for that k.
    """
    if not average_run_length > 2.0:
        raise LabkitError(f"an in-control average run length of {average_run_length:g}", allowed="above 2")
    wanted = 1.0 / average_run_length

    def excess(h: float) -> float:
        return float(np.log(cusum_false_alarm_rate(reference, h, baseline_runs=baseline_runs, dof=dof) / wanted))

    low, high = 0.05, 4.0
    while excess(high) > 0.0:
        low, high = high, 1.5 * high
        if high > 40.0:
            raise LabkitError(
                f"a baseline of {baseline_runs} runs cannot give a CUSUM with k = {reference:g} an "
                f"in-control average run length of {average_run_length:g}",
                fix="qualify the tool with more runs, or raise k towards 3/sqrt(runs)",
            )
    while high - low > 1e-4 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0.0 else (low, middle)
    return 0.5 * (low + high)
