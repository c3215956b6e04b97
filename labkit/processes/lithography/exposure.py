"""From recipe to printed line: the optics a recipe asks for, their image through focus, and the width it prints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from labkit.processes.lithography import cd, imaging, mask, source
from labkit.processes.lithography.mask import Grating
from labkit.processes.lithography.pupil import Lens
from labkit.processes.lithography.recipe import LithographyRecipe
from labkit.processes.lithography.scanner import LithographyCondition
from labkit.processes.lithography.source import Source

MONITOR_SIGMA = 0.3
"""Partial coherence for the focus monitor: small, since the phase step must interfere with itself (brunner1994)."""
MONITOR_LINE = 0.5
"""Line of the focus monitor in units of λ/NA."""
MONITOR_PERIOD = 4.0
"""Period (two lines) of the focus monitor in units of λ/NA: a line's neighbour is two resolution units away."""
MONITOR_THRESHOLD = 0.3
"""Intensity at which the focus monitor's own exposure dose puts the resist's threshold."""
_TOLERANCE = 1e-6
"""Part of the pitch to which a line must print at its target for its dose to be called the dose to size."""
_OPTICAL_FIELDS = (
    "wavelength_nm",
    "na",
    "immersion_index",
    "source_shape",
    "sigma",
    "sigma_inner",
    "pole_opening_deg",
    "mask_type",
    "mask_transmission",
    "mask_phase_deg",
    "resist_tone",
    "pitch_nm",
    "mask_line_nm",
)


@dataclass(frozen=True)
class Optics:
    """Mask, source and lens of an exposure."""

    mask: Grating
    source: Source
    lens: Lens


def optics(recipe: LithographyRecipe) -> Optics:
    """The mask, source and lens that *recipe* asks for, built once per combination."""
    return _optics(*(getattr(recipe, field) for field in _OPTICAL_FIELDS))


@lru_cache(maxsize=128)
def _optics(
    wavelength: float,
    na: float,
    index: float,
    shape: str,
    sigma: float,
    inner: float,
    opening: float,
    mask_type: str,
    transmission: float,
    phase: float,
    tone: str,
    pitch: float,
    line: float,
) -> Optics:
    lens = Lens(na, wavelength, index)
    light = source.upper_half(
        {
            "conventional": lambda: source.conventional(sigma),
            "annular": lambda: source.annular(inner, sigma),
            "dipole": lambda: source.dipole(inner, sigma, opening),
            "quadrupole": lambda: source.quadrupole(inner, sigma, opening),
        }[shape]()
    )
    bright = tone == "negative"
    if mask_type == "alternating":
        highest = imaging.highest_order(2 * pitch, lens, light.sigma)
        return Optics(mask.alternating(pitch, line, bright_line=bright, phase_deg=phase, highest=highest), light, lens)
    dark = mask.shifter(transmission, phase) if mask_type == "attenuated" else 0j
    highest = imaging.highest_order(pitch, lens, light.sigma)
    amplitudes = {"line_amplitude": 1.0 + 0j, "space_amplitude": dark} if bright else {"line_amplitude": dark}
    return Optics(mask.line_space(pitch, line, highest=highest, **amplitudes), light, lens)


@lru_cache(maxsize=32)
def _monitor_optics(wavelength: float, na: float, index: float) -> Optics:
    lens, unit = Lens(na, wavelength, index), wavelength / na
    light = source.upper_half(source.conventional(MONITOR_SIGMA))
    highest = imaging.highest_order(MONITOR_PERIOD * unit, lens, light.sigma)
    monitor = mask.phase_shift_focus_monitor(MONITOR_PERIOD * unit, MONITOR_LINE * unit, highest=highest)
    return Optics(monitor, light, lens)


def image(made: Optics, defocus: np.ndarray, condition: LithographyCondition) -> np.ndarray:
    """Fourier series of the image at each *defocus* nm, with the condition's flare and vibration."""
    unique, position = np.unique(np.asarray(defocus, dtype=float), return_inverse=True)
    series = imaging.image_series(made.mask, made.source, made.lens, unique)
    series = imaging.flared(imaging.blurred(series, made.mask.period, condition.stage_vibration_nm), condition.flare)
    found: np.ndarray = series[position.reshape(np.shape(defocus))]
    return found


def printed_line(
    recipe: LithographyRecipe, defocus: np.ndarray, dose: np.ndarray, condition: LithographyCondition
) -> tuple[np.ndarray, np.ndarray]:
    """Line width, nm, and NILS at its edges (mean of both, for the target width).

    Parameters
    ----------
    recipe : LithographyRecipe
        What is exposed; its focus and dose are not used.
    defocus, dose : array
        Distance from best focus, nm, and dose at the wafer, mJ/cm²; shapes broadcast.
    condition : LithographyCondition
        Flare and vibration.

    Returns
    -------
    cd, nils : array
        NaN where no line prints.
    """
    made = optics(recipe)
    series, period = image(made, defocus, condition), made.mask.period
    left, right = cd.edges(series, period, recipe.dose_to_clear_mj_cm2 / dose, bright=recipe.resist_tone == "negative")
    quality = [cd.normalised_log_slope(series, period, edge, recipe.cd_target_nm) for edge in (left, right)]
    return right - left, 0.5 * (quality[0] + quality[1])


def focus_monitor_shift(
    recipe: LithographyRecipe, defocus: np.ndarray, dose_factor: np.ndarray, condition: LithographyCondition
) -> np.ndarray:
    """Sideways displacement, nm, of a phase-shift focus monitor's line: odd in *defocus* and so shows its sign.

    The monitor is exposed in fields of its own with conventional illumination of σ = 0.3 at a dose that puts the
    threshold at 0.3 of the open frame, times *dose_factor*. Reference: brunner1994.
    """
    made = _monitor_optics(recipe.wavelength_nm, recipe.na, recipe.immersion_index)
    left, right = cd.edges(image(made, defocus, condition), made.mask.period, MONITOR_THRESHOLD / dose_factor)
    shift: np.ndarray = 0.5 * (left + right)
    return shift


def dose_to_size(recipe: LithographyRecipe, condition: LithographyCondition | None = None) -> float:
    """Dose, mJ/cm², at which the line prints at its target; NaN where none does.

    The image is even in x, so it is the dose that puts the threshold on the target's edge, provided the line printed
    at that dose is indeed the target.
    """
    state = condition or LithographyCondition()
    made = optics(recipe)
    series = image(made, np.asarray(recipe.focus_nm), state)
    level = float(imaging.intensity(series, made.mask.period, np.asarray(recipe.cd_target_nm / 2)))
    if not level > 1e-9:
        return float("nan")
    dose = recipe.dose_to_clear_mj_cm2 / level
    width, _ = printed_line(recipe, np.asarray(recipe.focus_nm), np.asarray(dose), state)
    return dose if abs(float(width) - recipe.cd_target_nm) < _TOLERANCE * recipe.pitch_nm else float("nan")


def modulation(recipe: LithographyRecipe) -> float:
    """Contrast of the nominal image at the recipe's focus; 0 where the lens lets no pair of orders through."""
    made = optics(recipe)
    series: Any = image(made, np.asarray(recipe.focus_nm), LithographyCondition())
    return float(cd.contrast(series, made.mask.period)) if float(np.real(series[0])) > 0.0 else 0.0
