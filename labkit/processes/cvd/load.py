"""One load in one tube: the axial balance and the wafer stack put together, for any number of moments at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.core.units import GAS_CONSTANT
from labkit.materials.silicon import wafer_thickness
from labkit.processes.cvd.equipment import TubeFurnace
from labkit.processes.cvd.kinetics import RateLaw
from labkit.processes.cvd.transport import mixture_diffusivity
from labkit.processes.cvd.tube import TubeSolution, deplete
from labkit.processes.cvd.wafer_stack import effectiveness, radial_profile, thiele_modulus

END_CELLS = 4
"""Cells of bare tube before and after the load."""


@dataclass(frozen=True)
class Load:
    """Wafers in a tube: cell areas m², spacings m, zone weights (cell, 3), and the gap between wafers."""

    tube: TubeFurnace
    slots: int
    radius: float
    gap: float
    annulus: float
    area: np.ndarray
    spacing: np.ndarray
    weights: np.ndarray

    @property
    def wafers(self) -> slice:
        """The cells that hold a wafer."""
        return slice(END_CELLS, END_CELLS + self.slots)


def arrange(tube: TubeFurnace, slots: int, diameter_mm: float) -> Load:
    """The load of *slots* wafers of *diameter_mm* centred in *tube*; film grows on both faces, boat and tube wall."""
    radius = 0.5e-3 * diameter_mm
    positions = np.array(tube.slot_positions(slots))
    end = tube.end_length / END_CELLS
    before = positions[0] - 0.5 * tube.wafer_pitch - end * (np.arange(END_CELLS)[::-1] + 0.5)
    after = positions[-1] + 0.5 * tube.wafer_pitch + end * (np.arange(END_CELLS) + 0.5)
    centres = np.concatenate([before, positions, after])
    lengths = np.concatenate([np.full(END_CELLS, end), np.full(slots, tube.wafer_pitch), np.full(END_CELLS, end)])
    area = np.pi * tube.inner_diameter * lengths
    faces = 2.0 * np.pi * radius**2
    area[END_CELLS : END_CELLS + slots] += faces * (1.0 + tube.boat_area_fraction)
    return Load(
        tube=tube,
        slots=slots,
        radius=radius,
        gap=tube.wafer_pitch - wafer_thickness(diameter_mm),
        annulus=tube.cross_section - np.pi * radius**2,
        area=area,
        spacing=np.diff(centres),
        weights=np.array([tube.zone_weights(z) for z in centres]),
    )


@dataclass(frozen=True)
class Growth:
    """Growth of the film, nm/min: ``edge`` at the wafer edge (row, slot); ``modulus`` Thiele (row, slot)."""

    edge: np.ndarray
    modulus: np.ndarray
    solution: TubeSolution


def grow(
    load: Load,
    law: RateLaw,
    *,
    zones_c: np.ndarray,
    pressure: np.ndarray,
    flows: dict[str, np.ndarray],
    activity: float = 1.0,
) -> Growth:
    """Growth rates for many moments.

    *zones_c* (row, 3) true wafer temperature by zone °C; *pressure* (row,) Pa of process gas; *flows* mol/s by gas,
    each (row,), positive somewhere in every row.
    """
    kelvin = zones_c @ load.weights.T + 273.15
    total = np.sum(np.stack(list(flows.values())), axis=0)
    feed = {name: flow / total for name, flow in flows.items()}
    for name, coefficient in law.stoichiometry.items():
        if coefficient < 0.0:
            feed.setdefault(name, np.zeros_like(total))
    mean_kelvin = np.mean(kelvin[:, load.wafers], axis=1)
    composition = {name: float(np.mean(fraction)) for name, fraction in feed.items()}
    diffusivity = mixture_diffusivity(law.reactant, composition, mean_kelvin, pressure)
    concentration = pressure / (GAS_CONSTANT * mean_kelvin)
    modulus = _modulus(load, law, kelvin[:, load.wafers], pressure, feed, diffusivity, activity)
    inside = np.ones_like(kelvin)
    faces = 2.0 * np.pi * load.radius**2
    share = faces / load.area[load.wafers]
    inside[:, load.wafers] = 1.0 - share * (1.0 - effectiveness(modulus))
    solution = deplete(
        law,
        temperature=kelvin,
        pressure=pressure,
        feed=feed,
        molar_flow=total,
        area=load.area,
        conductance=load.annulus * concentration * diffusivity,
        spacing=load.spacing,
        activity=activity,
        effectiveness=inside,
    )
    return Growth(edge=law.growth(solution.flux[:, load.wafers]), modulus=modulus, solution=solution)


def _modulus(
    load: Load,
    law: RateLaw,
    kelvin: np.ndarray,
    pressure: np.ndarray,
    feed: dict[str, np.ndarray],
    diffusivity: np.ndarray,
    activity: float,
) -> np.ndarray:
    """Thiele modulus at feed composition (depletion changes it by second order only)."""
    partial = {name: fraction[:, None] * pressure[:, None] for name, fraction in feed.items()}
    flux = activity * law.flux(kelvin, partial)
    reactant = np.clip(partial[law.reactant], 1e-12, None)
    per_reactant = sum(
        order
        * law.stoichiometry[name]
        / law.stoichiometry[law.reactant]
        * reactant
        / np.clip(partial[name], 1e-12, None)
        for name, order in law.local_orders(partial).items()
    )
    slope = flux * per_reactant * GAS_CONSTANT * kelvin / reactant
    return np.asarray(thiele_modulus(slope, load.radius, diffusivity[:, None], load.gap))


def site_map(edge: np.ndarray, modulus: np.ndarray, relative_radius: np.ndarray) -> np.ndarray:
    """Value at each site, shape (slot, site), from the *edge* value (slot,), *modulus* (slot,) and r/R (site,)."""
    return np.asarray(edge[:, None] * radial_profile(modulus[:, None], relative_radius[None, :]))
