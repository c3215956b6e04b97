"""How far declared repeatabilities can be trusted, learned from many indicators at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import digamma, polygamma

MOST_DOF = 10.0
"""Most degrees of freedom that agreement among indicators may earn. Correlated indicators agree by chance, so without
a cap (60, say) charts on ten runs of indicators correlated at 0.8 alarm twice as often as stated; at 10 they do not."""
FEWEST_INDICATORS = 4
"""With fewer indicators the scatter of their variance ratios says nothing, and a declaration weighs LONE_DOF runs."""
LONE_DOF = 2.0
"""Weight, in runs, of a declared sigma on its own: a guess good to a factor of about two."""


def declaration_dof(variances: Sequence[float], dof: Sequence[float], declared: Sequence[float]) -> float:
    """Degrees of freedom that the declared variances are worth, from how evenly the measured ones agree with them.

    With s²_i the measured variances (d_i degrees of freedom) and v_i the declared ones, the ratios s²_i/v_i follow
    s₀² F(d_i, d₀). With e_i = ln(s²_i/v_i) − ψ(d_i/2) + ln(d_i/2), d₀ solves ψ′(d₀/2) = var(e) − mean ψ′(d_i/2).
    Declarations that are each wrong in their own way count for little. The common factor s₀ is left at 1: its estimate
    would follow the chance that correlated indicators share.

    Returns
    -------
    float
        d₀, at most :data:`MOST_DOF`.

    References
    ----------
    Smyth, Statistical Applications in Genetics and Molecular Biology 3 (2004) 3, section 6.2,
    doi:10.2202/1544-6115.1027.
    """
    s2, d, v = (np.asarray(a, dtype=float) for a in (variances, dof, declared))
    usable = (s2 > 0.0) & (d > 0.0)
    if usable.sum() < FEWEST_INDICATORS:
        return LONE_DOF
    e = np.log(s2[usable] / v[usable]) - digamma(d[usable] / 2.0) + np.log(d[usable] / 2.0)
    excess = float(np.var(e, ddof=1) - np.mean(polygamma(1, d[usable] / 2.0)))
    return MOST_DOF if excess <= 0.0 else min(2.0 * _inverse_trigamma(excess), MOST_DOF)


def _inverse_trigamma(value: float) -> float:
    """The x with ψ′(x) = *value* (above 0), by Newton's method on 1/ψ′, which is nearly linear."""
    x = 0.5 + 1.0 / value
    for _ in range(50):
        step = float(polygamma(1, x)) * (1.0 - float(polygamma(1, x)) / value) / float(polygamma(2, x))
        x += step
        if -step < 1e-10 * x:
            break
    return x
