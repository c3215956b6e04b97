"""Deposited films: composition, density and refractive index, with their sources and validity.

The molar volume (film volume per formula unit) turns a deposition flux in mol/(m² s) into a growth rate in m/s.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.core.errors import LabkitError


@dataclass(frozen=True)
class Film:
    """A film: ``molar_mass`` in kg/mol and ``density`` in kg/m³ of one formula unit, ``index`` at 632.8 nm.

    ``source`` says where density and index come from.
    """

    name: str
    molar_mass: float
    density: float
    index: float
    source: str
    aliases: tuple[str, ...] = ()

    @property
    def molar_volume(self) -> float:
        """Film volume per mole of formula units, m³/mol."""
        return self.molar_mass / self.density


FILMS: dict[str, Film] = {
    film.name: film
    for film in (
        Film(
            "SiO2",
            60.084e-3,
            2200.0,
            1.457,
            "vitreous silica: CRC Handbook (density 2.20 g/cm3); Malitson 1965, "
            "doi:10.1364/JOSA.55.001205 (index 1.4570 at 632.8 nm)",
            ("oxide", "HTO", "LTO"),
        ),
        Film(
            "poly-Si",
            28.085e-3,
            2329.0,
            3.88,
            "crystalline silicon: CRC Handbook (density 2.329 g/cm3); Aspnes & Studna 1983, "
            "doi:10.1103/PhysRevB.27.985 (index 3.88 at 632.8 nm); "
            "as-grown polysilicon is within about 1 % of this density",
            ("Si", "polysilicon", "poly"),
        ),
    )
}
"""Films that an engine can grow, by name."""


def film(name: str) -> Film:
    """The film called *name* or known under that alias (case does not matter).

    Raises
    ------
    LabkitError
        If there are no data for it.
    """
    wanted = name.strip().lower()
    for entry in FILMS.values():
        if wanted in {entry.name.lower(), *(alias.lower() for alias in entry.aliases)}:
            return entry
    raise LabkitError(
        f"no film data for {name[:60]!r}",
        allowed=", ".join(FILMS),
        fix="use one of these, or add the film with its source to labkit.materials.films",
    )
