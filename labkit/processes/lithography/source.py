"""Illumination sources: points in the pupil of the condenser with weights that add to one.

Coordinates are partial-coherence units: 1 is the edge of the projection lens's pupil, NA/λ. Extended sources are
tiled by polar cells; each point sits at the centroid of its cell and weighs the cell's exact area, so that the tiling
has no error in the source's shape and is of second order in the cell size inside it. The cell's size goes with it, so
that an image can count a cell that the pupil's edge cuts by the part that passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from labkit.core import arrays
from labkit.core.arrays import Array
from labkit.core.errors import LabkitError

CELL = 0.06
"""Default cell size, in units of NA/λ: images then stand within about 0.1 % of those of much finer sources."""
_Cell = tuple[float, float, float, float]


@dataclass(frozen=True)
class Source:
    """Mutually incoherent source points, all of shape (points,).

    ``x``, ``y`` and the cell ``size`` (root of its area, 0 for a true point) are in units of NA/λ; ``weight`` adds
    to 1.
    """

    x: Array
    y: Array
    weight: Array
    size: Array

    @property
    def sigma(self) -> float:
        """A radius that holds every cell: the bound for the orders that can take part."""
        xp = arrays.namespace(self.x)
        return float(xp.max(xp.sqrt(self.x**2 + self.y**2) + self.size))


def points(positions: Iterable[tuple[float, float]], *, like: Array | float = 0.0) -> Source:
    """Point sources of equal weight at *positions* (x, y); one at the origin is coherent, on-axis illumination."""
    listed = list(positions)
    if not listed:
        raise LabkitError("a source without points", fix="give at least one (x, y)")
    return _source([(x, y, 1.0, 0.0) for x, y in listed], like)


def coherent(*, like: Array | float = 0.0) -> Source:
    """The single on-axis point."""
    return points([(0.0, 0.0)], like=like)


def conventional(sigma: float, *, cell: float = CELL, like: Array | float = 0.0) -> Source:
    """A uniformly filled disc of radius *sigma*."""
    return annular(0.0, sigma, cell=cell, like=like)


def annular(sigma_inner: float, sigma: float, *, cell: float = CELL, like: Array | float = 0.0) -> Source:
    """A uniformly filled ring between *sigma_inner* and *sigma*."""
    return _source(_sector_cells(sigma_inner, sigma, 0.0, math.pi, cell), like)


def dipole(
    sigma_inner: float, sigma: float, opening_deg: float, *, cell: float = CELL, like: Array | float = 0.0
) -> Source:
    """Two ring sectors on the x axis, each *opening_deg* wide: for lines along y."""
    return _poles(sigma_inner, sigma, opening_deg, (0.0, math.pi), cell, like)


def quadrupole(
    sigma_inner: float, sigma: float, opening_deg: float, *, cell: float = CELL, like: Array | float = 0.0
) -> Source:
    """Four ring sectors on the diagonals, each *opening_deg* wide."""
    return _poles(sigma_inner, sigma, opening_deg, tuple(math.pi * (0.25 + 0.5 * k) for k in range(4)), cell, like)


def upper_half(source: Source) -> Source:
    """The half y > 0 of *source* with doubled weights.

    A grating along x gives the same image for source points at ±y. Valid for a source symmetric in y without points
    on y = 0, and for a pupil even in y.
    """
    chosen = source.y > 0.0
    return Source(source.x[chosen], source.y[chosen], 2.0 * source.weight[chosen], source.size[chosen])


def _poles(
    inner: float, outer: float, opening_deg: float, centres: tuple[float, ...], cell: float, like: Array | float
) -> Source:
    limit = 360.0 / len(centres)
    if not 0.0 < opening_deg <= limit:
        raise LabkitError(f"poles opening {opening_deg:g} degrees", allowed=f"above 0, at most {limit:g}")
    half = math.radians(opening_deg) / 2
    return _source([part for centre in centres for part in _sector_cells(inner, outer, centre, half, cell)], like)


def _sector_cells(inner: float, outer: float, centre: float, half: float, cell: float) -> list[_Cell]:
    if not 0.0 <= inner < outer:
        raise LabkitError(f"a source between radii {inner:g} and {outer:g}", allowed="0 ≤ inner < outer")
    if not cell > 0.0:
        raise LabkitError(f"source cells of size {cell:g}", allowed="above 0")
    rings = math.ceil((outer - inner) / cell * (1.0 - 1e-12))
    step = (outer - inner) / rings
    cells: list[_Cell] = []
    for ring in range(rings):
        low, high = inner + ring * step, inner + (ring + 1) * step
        # Multiples of four per ring keep every source symmetric in x and in y, with no point on an axis.
        count = max(4, 4 * round(half * (low + high) / step / 4))
        angle = half / count
        radius = 2.0 / 3.0 * (high**3 - low**3) / (high**2 - low**2) * math.sin(angle) / angle
        area = angle * (high**2 - low**2)
        turns = [centre + (2 * k + 1 - count) * angle for k in range(count)]
        cells.extend((radius * math.cos(turn), radius * math.sin(turn), area, math.sqrt(area)) for turn in turns)
    return cells


def _source(cells: list[_Cell], like: Array | float) -> Source:
    xp = arrays.namespace(like)
    x, y, area, size = zip(*cells, strict=True)
    total = math.fsum(area)
    columns = (x, y, [part / total for part in area], size)
    return Source(*(arrays.like(list(column), like, dtype=xp.float64) for column in columns))
