"""Refractive index of the film at 632.8 nm from the gas it grew in."""

from __future__ import annotations

from collections.abc import Mapping

from labkit.core.arrays import Array
from labkit.materials.films import film

EXCESS_SILICON = 0.05
"""Index gained per unit of the local SiH4/N2O pressure ratio. Illustrative: oxide from silane and nitrous oxide turns
silicon-rich as the ratio rises; the size is a guess between stoichiometric oxide and what low-ratio recipes show."""


def refractive_index(film_name: str, partial: Mapping[str, Array]) -> Array:
    """Index of a film grown at *partial* pressures (Pa, any shape), at 632.8 nm.

    Oxide from SiH4 and N2O: n = n_SiO2 + g x / (1 + g x / (n_Si - n_SiO2)) with x = p(SiH4)/p(N2O) and g = 0.05,
    which ends at silicon; illustrative, for N2O/SiH4 from 1 to 20.
    Other films: the tabulated constant.
    """
    nominal = film(film_name).index
    silane = partial["SiH4"]
    if film_name != "SiO2":
        return nominal + 0.0 * silane
    gain = EXCESS_SILICON * silane
    return nominal + gain / (partial["N2O"] + gain / (film("poly-Si").index - nominal))
