"""Process gases: molar mass, Lennard-Jones parameters and hazards, each with its source.

Lennard-Jones diameters and well depths of H2, N2, O2, N2O, Ar and NH3 are those of the GRI-Mech 3.0 transport file;
those of He are CHEMKIN's (Kee, Dixon-Lewis, Warnatz, Coltrin, Miller, Sandia report SAND86-8246, 1986). Those of SiH4
are the usual CHEMKIN values, attributed to Svehla (NASA TR R-132, 1962) and not verified there. Molar masses follow
from IUPAC 2021 atomic weights. Dipoles are neglected, which for NH3 makes diffusivities at deposition temperatures a
few percent too high.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.core.errors import LabkitError


@dataclass(frozen=True)
class Gas:
    """One gas: ``molar_mass`` in kg/mol, Lennard-Jones ``diameter`` in m and ``well_depth`` (ε/k) in K.

    ``hazards`` are plain words for people and interlock lists, after the GHS classes on safety data sheets, and on the
    careful side where sheets differ. They are a reminder; the supplier's sheet holds.
    """

    name: str
    molar_mass: float
    diameter: float
    well_depth: float
    hazards: tuple[str, ...] = ()


_ANGSTROM = 1e-10

GASES: dict[str, Gas] = {
    gas.name: gas
    for gas in (
        Gas("SiH4", 32.117e-3, 4.084 * _ANGSTROM, 207.6, ("pyrophoric", "flammable", "toxic")),
        Gas("N2O", 44.013e-3, 3.828 * _ANGSTROM, 232.4, ("oxidiser",)),
        Gas("H2", 2.016e-3, 2.920 * _ANGSTROM, 38.0, ("flammable",)),
        Gas("N2", 28.014e-3, 3.621 * _ANGSTROM, 97.53, ("asphyxiant",)),
        Gas("O2", 31.998e-3, 3.458 * _ANGSTROM, 107.4, ("oxidiser",)),
        Gas("Ar", 39.948e-3, 3.330 * _ANGSTROM, 136.5, ("asphyxiant",)),
        Gas("He", 4.0026e-3, 2.576 * _ANGSTROM, 10.2, ("asphyxiant",)),
        Gas("NH3", 17.031e-3, 2.920 * _ANGSTROM, 481.0, ("toxic", "corrosive", "flammable")),
    )
}
"""Gases with sourced transport data, by formula."""

HAZARDS: dict[str, tuple[str, ...]] = {
    **{gas.name: gas.hazards for gas in GASES.values()},
    "PH3": ("highly toxic", "pyrophoric"),
    "B2H6": ("highly toxic", "flammable"),
    "AsH3": ("highly toxic", "flammable"),
    "SiH2Cl2": ("flammable", "corrosive", "toxic"),
    "SiHCl3": ("pyrophoric", "flammable", "corrosive"),
    "WF6": ("highly toxic", "corrosive"),
    "TEOS": ("flammable",),
    "TMGa": ("pyrophoric",),
    "TMAl": ("pyrophoric",),
    "TMIn": ("pyrophoric",),
    "TEGa": ("pyrophoric",),
    "TMA": ("pyrophoric",),
    "O3": ("toxic", "oxidiser"),
    "GeH4": ("highly toxic", "flammable"),
    "Si2H6": ("pyrophoric", "flammable"),
    "CH4": ("flammable",),
    "NF3": ("oxidiser", "toxic"),
}
"""Hazards in plain words by formula; a gas that is not listed has no statement here."""

METAL_ORGANICS: frozenset[str] = frozenset({"TMGa", "TEGa", "TMAl", "TMA", "TMIn", "DEZn", "Cp2Mg", "TDMAHf", "TEMAHf"})
"""Precursors delivered by a carrier through a bubbler: a recipe's flow for them is carrier flow, not vapour."""


def gas(name: str) -> Gas:
    """The gas called *name*.

    Raises
    ------
    LabkitError
        If there are no transport data for it.
    """
    try:
        return GASES[name]
    except KeyError:
        raise LabkitError(
            f"no transport data for gas {name[:40]!r}",
            allowed=", ".join(GASES),
            fix="use one of these, or add it with its source to labkit.materials.gases",
        ) from None
