"""Lumped surface kinetics: one rate law per film and source, with what each constant rests on.

A law gives the deposition flux of formula units in mol/(m² s):

    r = r_ref exp[-E/k (1/T - 1/T_ref)] Π (pᵢ/pᵢ,ref)^nᵢ Π θⱼ(pⱼ)/θⱼ(pⱼ,ref),   θ = K p / (1 + K p)

so that ``flux_ref`` is the flux at the law's own reference state. Tags: S read in a public source, T general
knowledge (unverified), I illustrative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from labkit.core.arrays import Array, namespace
from labkit.core.errors import LabkitError
from labkit.core.units import BOLTZMANN_EV, TORR, ZERO_CELSIUS
from labkit.materials.films import film

NM_PER_MIN = 1e-9 / 60.0
"""One nm/min in m/s."""
SCARCE = 1e-4
"""Share of the reference pressure below which any order goes over to first: a surface short of gas takes what arrives,
and a fractional order would need infinite steepness there. At the reference pressure this changes a rate by 3e-9."""


@dataclass(frozen=True)
class RateLaw:
    """One rate law.

    ``activation_ev`` eV; ``flux_ref`` mol/(m² s) at ``temperature_ref`` K and partial pressures ``reference`` Pa;
    ``orders`` and Langmuir constants ``langmuir`` (1/Pa) by gas; ``stoichiometry`` in moles per formula unit of film,
    negative when consumed; ``validity`` in words; ``sources`` maps each constant to tag and origin.
    """

    name: str
    film: str
    reactant: str
    activation_ev: float
    temperature_ref: float
    flux_ref: float
    reference: Mapping[str, float]
    orders: Mapping[str, float]
    stoichiometry: Mapping[str, float]
    validity: str
    temperature_range_c: tuple[float, float]
    sources: Mapping[str, str]
    references: tuple[str, ...]
    langmuir: Mapping[str, float] = field(default_factory=dict)
    illustrative: tuple[str, ...] = ()

    @property
    def expansion(self) -> float:
        """Moles of gas gained per formula unit deposited, Δν."""
        return sum(self.stoichiometry.values())

    @property
    def molar_volume(self) -> float:
        """Film volume per formula unit, m³/mol."""
        return film(self.film).molar_volume

    def rate_constant(self, temperature: Array) -> Array:
        """Flux at the law's reference composition, mol/(m² s), at *temperature* K."""
        xp = namespace(temperature)
        return self.flux_ref * xp.exp(
            -self.activation_ev / BOLTZMANN_EV * (1.0 / temperature - 1.0 / self.temperature_ref)
        )

    def composition_factor(self, partial: Mapping[str, Array]) -> Array:
        """Rate at *partial* pressures Pa relative to the reference composition; negative pressures count as none."""
        xp = namespace(*partial.values())
        factor: Array = 1.0
        for name, order in self.orders.items():
            reduced = xp.clip(partial[name], 0.0, None) / self.reference[name]
            factor = factor * (reduced if order == 1.0 else reduced * (reduced**2 + SCARCE**2) ** (0.5 * (order - 1.0)))
        for name, constant in self.langmuir.items():
            at_reference = constant * self.reference[name]
            loading = constant * xp.clip(partial[name], 0.0, None)
            factor = factor * loading / (1.0 + loading) * ((1.0 + at_reference) / at_reference)
        return factor

    def flux(self, temperature: Array, partial: Mapping[str, Array]) -> Array:
        """Deposition flux, mol/(m² s), at *temperature* K and *partial* pressures Pa; shapes broadcast."""
        return self.rate_constant(temperature) * self.composition_factor(partial)

    def local_orders(self, partial: Mapping[str, Array]) -> dict[str, Array]:
        """Local orders d ln r / d ln pᵢ at *partial* pressures Pa, by gas."""
        found: dict[str, Array] = {}
        for name, order in self.orders.items():
            square = (partial[name] / self.reference[name]) ** 2
            found[name] = 1.0 + (order - 1.0) * square / (square + SCARCE**2)
        for name, constant in self.langmuir.items():
            found[name] = found.get(name, 0.0) + 1.0 / (1.0 + constant * partial[name])
        return found

    def growth(self, flux: Array) -> Array:
        """Growth rate in nm/min of *flux* mol/(m² s)."""
        return flux * (self.molar_volume / NM_PER_MIN)


def _flux(film_name: str, nm_per_min: float) -> float:
    return nm_per_min * NM_PER_MIN / film(film_name).molar_volume


_POLY = {"SiH4": -1.0, "H2": 2.0}

SIO2_N2O = RateLaw(
    name="sio2-sih4-n2o",
    film="SiO2",
    reactant="SiH4",
    activation_ev=1.76,
    temperature_ref=800.0 + ZERO_CELSIUS,
    flux_ref=_flux("SiO2", 5.5),
    reference={"SiH4": 0.5 / 3.0 * TORR, "N2O": 1.0 / 3.0 * TORR},
    orders={"SiH4": 1.0},
    langmuir={"N2O": 0.05},
    stoichiometry={"SiH4": -1.0, "N2O": -2.0, "H2": 2.0, "N2": 2.0},
    validity="700-900 degC, 0.1-2 torr, N2O/SiH4 from 1 to 20; no public rate was found for this chemistry",
    temperature_range_c=(700.0, 900.0),
    sources={
        "flux_ref": "I: 5.5 nm/min at the tube inlet, so that a load of 25 wafers averages the 5 nm/min that the "
        "recipe's own 100 nm in 1200 s claims",
        "activation_ev": "I: 1.7e5 J/mol, a usual figure for reaction-limited silane oxidation at these temperatures",
        "orders": "I: first order in silane",
        "langmuir": "I: N2O coverage of about 0.7 at the recipe's pressure",
    },
    references=(),
    illustrative=("SiH4+N2O rate, activation energy and orders (no public rate for this chemistry at 800 degC)",),
)

POLY_SI_KUEHNE = RateLaw(
    name="poly-si-half-order",
    film="poly-Si",
    reactant="SiH4",
    activation_ev=2.25,
    temperature_ref=620.0 + ZERO_CELSIUS,
    flux_ref=_flux("poly-Si", 10.0),
    reference={"SiH4": 0.225 * TORR},
    orders={"SiH4": 0.5},
    stoichiometry=_POLY,
    validity="900-950 K, neat silane, hot-wall tube",
    temperature_range_c=(580.0, 680.0),
    sources={
        "activation_ev": "S: 52 kcal/mol, open isothermal tube, 900-950 K",
        "orders": "S: half order, same source",
        "flux_ref": "T: middle of the 8-12 nm/min often quoted at 620 degC and 200-250 mtorr",
    },
    references=("kuhne3",),
    illustrative=("absolute poly-Si rate (middle of an often-quoted band)",),
)

POLY_SI_APPARENT = RateLaw(
    name="poly-si-apparent",
    film="poly-Si",
    reactant="SiH4",
    activation_ev=1.65,
    temperature_ref=620.0 + ZERO_CELSIUS,
    flux_ref=_flux("poly-Si", 10.0),
    reference={"SiH4": 0.225 * TORR},
    orders={"SiH4": 0.5},
    stoichiometry=_POLY,
    validity="580-650 degC, apparent in production tubes",
    temperature_range_c=(580.0, 650.0),
    sources={
        "activation_ev": "T: middle of the often-quoted 1.6-1.7 eV",
        "orders": "S: half order (900-950 K source)",
        "flux_ref": "T: middle of the 8-12 nm/min often quoted at 620 degC and 200-250 mtorr",
    },
    references=("kuhne3",),
    illustrative=("poly-Si activation energy and absolute rate (often quoted, unsourced)",),
)

LAWS: dict[str, RateLaw] = {law.name: law for law in (SIO2_N2O, POLY_SI_KUEHNE, POLY_SI_APPARENT)}
"""Rate laws by name; the first law of a film is its default."""


def laws_for(film_name: str) -> tuple[RateLaw, ...]:
    """Every rate law for a film, the default first."""
    return tuple(law for law in LAWS.values() if law.film == film_name)


def law(name: str) -> RateLaw:
    """The rate law called *name*.

    Raises
    ------
    LabkitError
        If there is none.
    """
    try:
        return LAWS[name]
    except KeyError:
        raise LabkitError(f"no rate law {name[:60]!r}", allowed=", ".join(LAWS)) from None
