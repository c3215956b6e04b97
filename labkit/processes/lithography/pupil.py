"""The projection lens's pupil: aperture, defocus and aberrations.

Fields vary as exp(−iωt), the wave travels towards +z, and defocus is positive where the wafer lies beyond focus, away
from the lens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from labkit.core import arrays
from labkit.core.arrays import Array
from labkit.core.errors import LabkitError

FRINGE_TERMS = {
    2: "x tilt",
    3: "y tilt",
    4: "defocus",
    5: "astigmatism 0°",
    6: "astigmatism 45°",
    7: "x coma",
    8: "y coma",
    9: "spherical",
}
"""Fringe Zernike terms that a lens here may carry."""
_ROUNDING = 1e-9
"""Relative slack at the aperture's edge, so that an order exactly on it is not lost to rounding."""


@dataclass(frozen=True)
class Lens:
    """A projection lens seen from the wafer.

    ``na`` numerical aperture, ``wavelength`` in vacuum, nm, ``index`` of the medium above the resist, ``zernikes``
    pairs (fringe term 2 … 9, coefficient in waves).
    """

    na: float
    wavelength: float
    index: float = 1.0
    zernikes: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 < self.na < self.index:
            raise LabkitError(
                f"numerical aperture {self.na:g} in a medium of index {self.index:g}",
                allowed=f"above 0, below {self.index:g}",
                fix="lower na or raise the immersion index",
            )
        unknown = [term for term, _ in self.zernikes if term not in FRINGE_TERMS]
        if unknown:
            raise LabkitError(f"fringe Zernike term {unknown[0]}", allowed="2 to 9")

    @property
    def cutoff(self) -> float:
        """The highest spatial frequency that passes, NA/λ, nm⁻¹."""
        return self.na / self.wavelength


def aperture(fx: Array, fy: Array, lens: Lens, size: Array | float = 0.0) -> Array:
    """The part, 0 to 1, of a source cell that the aperture lets through at spatial frequency (*fx*, *fy*), nm⁻¹.

    A true point (*size* 0) passes or not; a cell of *size* (units of NA/λ) whose centre lies at pupil radius ρ passes
    by ½ + (1 − ρ)/size: the aperture's edge taken as straight across one cell.
    """
    xp = arrays.namespace(fx, fy)
    radius = xp.sqrt(fx * fx + fy * fy) / lens.cutoff
    width = arrays.like(size, radius, dtype=xp.float64) + 0.0 * radius
    extended = width > 0.0
    part = 0.5 + (1.0 - radius) / xp.where(extended, width, xp.ones_like(width))
    part = xp.where(part < 0.0, xp.zeros_like(part), xp.where(part > 1.0, xp.ones_like(part), part))
    return xp.where(extended, part, xp.astype(radius <= 1.0 + _ROUNDING, xp.float64))


def phase_factor(fx: Array, fy: Array, lens: Lens, defocus: Array | float) -> Array:
    """Complex phase factor of the pupil at spatial frequency (*fx*, *fy*).

        exp[i (2π W(ρ, θ) − φ)],   φ = (2πδ/λ) (n − √(n² − λ²f²))

    Parameters
    ----------
    fx, fy : array
        Spatial frequency, nm⁻¹; shapes broadcast with *defocus*. Beyond the aperture the edge's φ is held.
    lens : Lens
        Aperture, wavelength, medium and wavefront W in waves.
    defocus : array
        δ, nm.

    Returns
    -------
    array
        Complex, of the broadcast shape. The carrier phase 2πnδ/λ common to all frequencies is left out.

    Notes
    -----
    The defocus phase is exact, with no paraxial expansion. Scalar: no polarisation, no radiometric (obliquity) factor,
    so contrast is overstated for unpolarised light once NA exceeds about 0.7 to 0.8. Reference: born1999, mack2007.
    """
    xp = arrays.namespace(fx, fy)
    focus = arrays.like(defocus, fx, dtype=xp.float64)
    squared = fx * fx + fy * fy
    edge = lens.cutoff**2
    bounded = xp.where(squared < edge, squared, edge + 0.0 * squared)
    path = lens.index - xp.sqrt(lens.index**2 - lens.wavelength**2 * bounded)
    phase = -2.0 * math.pi / lens.wavelength * focus * path
    if lens.zernikes:
        phase = phase + 2.0 * math.pi * wavefront(fx / lens.cutoff, fy / lens.cutoff, lens)
    return xp.exp(1j * xp.astype(phase, xp.complex128))


def wavefront(x: Array, y: Array, lens: Lens) -> Array:
    """Wavefront error W, waves, at pupil position (*x*, *y*) in units of the aperture: Σ c_j Z_j in the fringe order.

    Reference: born1999.
    """
    squared = x * x + y * y
    error = 0.0 * squared
    for term, coefficient in lens.zernikes:
        error = error + coefficient * _fringe(term, x, y, squared)
    return error


def _fringe(term: int, x: Array, y: Array, squared: Array) -> Array:
    if term in (2, 3):
        return x if term == 2 else y
    if term == 4:
        return 2.0 * squared - 1.0
    if term in (5, 6):
        return x * x - y * y if term == 5 else 2.0 * x * y
    if term in (7, 8):
        return (3.0 * squared - 2.0) * (x if term == 7 else y)
    return 6.0 * squared * squared - 6.0 * squared + 1.0
