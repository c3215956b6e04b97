"""Gratings on the mask and the diffraction orders they send out (thin mask, dimensions at wafer scale).

Amplitudes are those of the transmitted field for the time dependence exp(−iωt): a longer optical path is a positive
phase. Lines run along y and the feature that is measured is centred on x = 0.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterable
from dataclasses import dataclass

from labkit.core import arrays
from labkit.core.arrays import Array
from labkit.core.errors import LabkitError


@dataclass(frozen=True)
class Grating:
    """A periodic mask: ``period`` in nm and the complex amplitudes ``orders`` of shape (2M + 1,), orders −M … M."""

    period: float
    orders: Array

    @property
    def highest(self) -> int:
        """The highest order kept, M."""
        return int((self.orders.shape[0] - 1) // 2)


def piecewise(
    period: float,
    segments: Iterable[tuple[float, float, complex]],
    *,
    background: complex,
    highest: int,
    like: Array | float = 0.0,
) -> Grating:
    """A mask of constant *background* amplitude with *segments* (centre nm, width nm, amplitude) in each period.

        a_m = b δ_m0 + Σ_j (t_j − b) (w_j/P) sinc(m w_j/P) exp(−2πi m c_j/P),   sinc(u) = sin(πu)/(πu)

    Segments must not overlap. Orders −*highest* … *highest* are returned, exactly.
    Thin (Kirchhoff) mask: valid for openings of several wavelengths at mask scale.
    Reference: goodman2017, mack2007.
    """
    listed = list(segments)
    if not period > 0.0 or sum(width for _, width, _ in listed) > period * (1 + 1e-12):
        raise LabkitError(
            f"segments do not fit a period of {period:g} nm", allowed="widths that add up to at most the period"
        )
    orders = []
    for m in range(-highest, highest + 1):
        amplitude = complex(background) if m == 0 else 0j
        for centre, width, transmitted in listed:
            duty = width / period
            shape = 1.0 if m == 0 else math.sin(math.pi * m * duty) / (math.pi * m * duty)
            amplitude += (transmitted - background) * duty * shape * cmath.exp(-2j * math.pi * m * centre / period)
        orders.append(amplitude)
    return Grating(period, arrays.like(orders, like, dtype=arrays.namespace(like).complex128))


def shifter(transmission: float, phase_deg: float) -> complex:
    """Amplitude behind a film of intensity *transmission* that delays by *phase_deg*: 6 % and 180° give −0.245."""
    return math.sqrt(transmission) * cmath.exp(1j * math.radians(phase_deg))


def line_space(
    pitch: float,
    line: float,
    *,
    line_amplitude: complex = 0.0,
    space_amplitude: complex = 1.0,
    highest: int,
    like: Array | float = 0.0,
) -> Grating:
    """Lines of width *line* on *pitch*, both nm: binary (amplitude 0 and 1), attenuated, or bright lines on dark."""
    _check_line(pitch, line)
    return piecewise(pitch, [(0.0, line, line_amplitude)], background=space_amplitude, highest=highest, like=like)


def alternating(
    pitch: float,
    line: float,
    *,
    bright_line: bool = False,
    phase_deg: float = 180.0,
    highest: int,
    like: Array | float = 0.0,
) -> Grating:
    """An alternating phase-shifting mask: every second opening is shifted by *phase_deg*; the period is two pitches.

    The feature at x = 0 of width *line* is opaque, between two openings, or with *bright_line* an opening itself.
    """
    _check_line(pitch, line)
    shifted = cmath.exp(1j * math.radians(phase_deg))
    if bright_line:
        openings = [(0.0, line, 1.0 + 0j), (pitch, line, shifted)]
    else:
        openings = [(pitch / 2, pitch - line, 1.0 + 0j), (-pitch / 2, pitch - line, shifted)]
    return piecewise(2 * pitch, openings, background=0.0, highest=highest, like=like)


def phase_shift_focus_monitor(
    period: float, line: float, *, phase_deg: float = 90.0, highest: int, like: Array | float = 0.0
) -> Grating:
    """Opaque lines between clear areas (x > 0) and areas delayed by *phase_deg* (x < 0): defocus moves them sideways.

    At 90° the two sides interfere with opposite sign on either side of focus, so that the line's displacement is odd
    in defocus; the next line, half a period on, moves the other way and serves as the reference of an overlay reading.
    Reference: brunner1994.
    """
    _check_line(period / 2, line)
    width = period / 2 - line
    openings = [(period / 4, width, 1.0 + 0j), (-period / 4, width, cmath.exp(1j * math.radians(phase_deg)))]
    return piecewise(period, openings, background=0.0, highest=highest, like=like)


def _check_line(pitch: float, line: float) -> None:
    if not 0.0 < line < pitch:
        raise LabkitError(
            f"a line of {line:g} nm on a pitch of {pitch:g} nm", allowed=f"above 0 and below {pitch:g} nm"
        )
