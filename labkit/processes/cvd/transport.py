"""Gas diffusion at low pressure: Chapman–Enskog, Blanc's law, mean free path, Péclet and Damköhler numbers.

All kernels take arrays of any library and work in SI units.
"""

from __future__ import annotations

from collections.abc import Mapping

from labkit.core.arrays import Array, namespace
from labkit.core.units import GAS_CONSTANT
from labkit.materials.gases import Gas, gas

AVOGADRO = 6.02214076e23
"""Avogadro constant, 1/mol (exact)."""


def collision_integral(reduced_temperature: Array) -> Array:
    """Reduced collision integral for diffusion Ω(1,1)* of the Lennard-Jones 12-6 potential.

    Ω = A T*^-B + C e^(-D T*) + E e^(-F T*) + G e^(-H T*)

    *reduced_temperature* is kT/ε (any shape). Valid for 0.3 ≤ T* ≤ 100, where it reproduces the tabulated integrals
    within 0.2 %. Reference: neufeld1972.
    """
    xp = namespace(reduced_temperature)
    t = xp.asarray(reduced_temperature)
    return (
        1.06036 * t**-0.15610
        + 0.19300 * xp.exp(-0.47635 * t)
        + 1.03587 * xp.exp(-1.52996 * t)
        + 1.76474 * xp.exp(-3.89411 * t)
    )


def binary_diffusivity(first: Gas, second: Gas, temperature: Array, pressure: Array) -> Array:
    """Chapman–Enskog binary diffusivity, m²/s.

    D = 3/(8 n σ² Ω) √(kT / (2π μ)), n = p/kT, μ the reduced molecular mass,
    with σ the arithmetic and ε the geometric mean of the pair.

    *temperature* K, *pressure* Pa, shapes broadcast. First approximation, non-polar; good to about 5 % (10 % for
    silane, whose parameters are estimates). Reference: bird2002, eq. 17.3-11.
    """
    xp = namespace(temperature, pressure)
    sigma = 0.5 * (first.diameter + second.diameter)
    well = (first.well_depth * second.well_depth) ** 0.5
    reduced_mass = first.molar_mass * second.molar_mass / (first.molar_mass + second.molar_mass)
    t = xp.asarray(temperature, dtype=xp.float64)
    density = pressure * AVOGADRO / (GAS_CONSTANT * t)
    speed = xp.sqrt(GAS_CONSTANT * t / (2.0 * xp.pi * reduced_mass))
    return 3.0 / 8.0 * speed / (density * sigma**2 * collision_integral(t / well))


def mixture_diffusivity(species: str, fractions: Mapping[str, float], temperature: Array, pressure: Array) -> Array:
    """Diffusivity of *species* in a mixture by Blanc's law, m²/s: 1/D = Σ xⱼ / Dⱼ.

    *fractions* are mole fractions by formula (they are normalised); the species' own share counts with its
    self-diffusivity, so that the neat gas has a limit. Exact for a trace species. Reference: blanc1908.
    """
    total = sum(fractions.values())
    inverse: Array = 0.0
    for name, fraction in fractions.items():
        if fraction > 0.0:
            inverse = inverse + fraction / total / binary_diffusivity(gas(species), gas(name), temperature, pressure)
    return 1.0 / inverse


def mean_free_path(molecule: Gas, temperature: Array, pressure: Array) -> Array:
    """Mean free path of a hard-sphere gas, m: λ = kT / (√2 π d² p). Divide by a gap to get its Knudsen number."""
    return GAS_CONSTANT * temperature / (2.0**0.5 * 3.141592653589793 * molecule.diameter**2 * pressure * AVOGADRO)


def peclet(
    molar_flow: Array, length: Array, area: Array, temperature: Array, pressure: Array, diffusivity: Array
) -> Array:
    """Axial Péclet number u L / D of *molar_flow* (mol/s) through *area* (m²) over *length* (m)."""
    velocity = molar_flow * GAS_CONSTANT * temperature / (pressure * area)
    return velocity * length / diffusivity


def damkoehler(flux: Array, surface: Array, reactant_flow: Array) -> Array:
    """First Damköhler number: uptake of *surface* (m²) at *flux* (mol/(m² s)) per reactant fed (mol/s)."""
    return flux * surface / reactant_flow
