"""Thinning of an evaporating liquid film on a spinning wafer, in closed form.

A film of thickness h that drains and evaporates obeys dh/dt = −2 K h³ − E with K = ρ ω² / (3 η) [emslie1958,
meyerhofer1978, karpitschka2015]. In units of the thickness where both losses are equal, h* = (E / 2K)^(1/3), and with
x = h / h*, an initially thick film needs the time (h* / E) ∫ₓ^∞ dx' / (1 + x'³) to reach x; its solid part, which only
drainage removes, is then c₀ h* (1 + x³)^(1/3).

Valid for dilute solutions of constant viscosity on a wafer at full speed.
"""

from __future__ import annotations

import numpy as np


def transition_thickness(speed: float, viscosity: float, density: float, evaporation: float) -> float:
    """Thickness h*, m, at which drainage and evaporation thin the film equally (SI units, *speed* in rad/s)."""
    drainage = density * speed**2 / (3.0 * viscosity)
    return float((evaporation / (2.0 * drainage)) ** (1.0 / 3.0))


def remaining_time(x: np.ndarray) -> np.ndarray:
    """∫₀ˣ dx' / (1 + x'³): time, in h*/E, that a film of x·h* still needs to dry."""
    angle = np.arctan((2.0 * x - 1.0) / np.sqrt(3.0)) + np.pi / 6.0
    return np.asarray(np.log((1.0 + x) ** 2 / (x**2 - x + 1.0)) / 6.0 + angle / np.sqrt(3.0))


DRYING = 2.0 * np.pi / (3.0 * np.sqrt(3.0))
"""∫₀^∞ dx / (1 + x³): time, in h*/E, in which a thick film dries."""
_X = np.concatenate([[0.0], np.geomspace(1e-4, 1e4, 4001)])
_T = DRYING - remaining_time(_X)


def liquid_thickness(time: np.ndarray) -> np.ndarray:
    """Film thickness, in h*, at *time*, in h*/E after a thick film began to thin; 0 once it is dry."""
    return np.interp(time, _T[::-1], _X[::-1], left=_X[-1], right=0.0)


def solid_thickness(x: np.ndarray) -> np.ndarray:
    """Thickness of the solid part in a film of x·h*, in c₀ h*."""
    return np.asarray((1.0 + x**3) ** (1.0 / 3.0))
