"""The scanner's state, and what it makes each exposed field receive: focus, dose, flare and blur.

Magnitudes called illustrative are plausible guesses of the right order; scanner makers keep theirs confidential.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.core.arrays import Array
from labkit.core.process import Condition
from labkit.core.recipe import knob
from labkit.processes.lithography.recipe import LithographyRecipe

NOMINAL_FLARE = 0.01
"""Part of the light that a sound lens scatters over the field; a per cent or so (illustrative)."""
NOMINAL_VIBRATION_NM = 1.0
"""Moving standard deviation of the stage during an exposure (illustrative)."""
LENS_TEMPERATURE_C = 22.0
"""Temperature at which the lens is kept (illustrative)."""
LENS_FOCUS_NM_PER_K = 200.0
"""Shift of best focus per kelvin of lens heating that the scanner does not compensate (illustrative)."""
_TILT_BASE_MM = 100.0


class LithographyCondition(Condition):
    """How a scanner and its wafer stand; the defaults are nominal.

    The dose reaching the wafer is set-point × ``illumination_gain`` × ``dose_gain``; the dose sensor reports set-point
    × ``illumination_gain`` alone, since ``dose_gain`` is that sensor's own error.
    """

    dose_gain: float = knob(1.0, gt=0.5, lt=1.5, description="Dose at the wafer over dose reported: sensor drift")
    illumination_gain: float = knob(
        1.0, gt=0.5, lt=1.5, description="Dose reported over dose asked for: light that is missing"
    )
    dose_bow_pct: float = knob(
        0.0,
        units="percent",
        ge=-20.0,
        le=20.0,
        description="Effective dose at the edge above that at the centre, quadratic (bake plate)",
    )
    focus_offset_nm: float = knob(
        0.0,
        units="nm",
        ge=-500.0,
        le=500.0,
        description="Error of the levelling system's zero: wafer beyond the intended focus",
    )
    focus_tilt_x_nm_per_100mm: float = knob(
        0.0, units="nm", ge=-500.0, le=500.0, description="Focus error per 100 mm along x: chuck against levelling"
    )
    wafer_bow_nm: float = knob(
        0.0,
        units="nm",
        ge=-500.0,
        le=500.0,
        description="Focus error at the edge against the centre, quadratic: poor clamping",
    )
    lens_heating_k: float = knob(
        0.0,
        units="K",
        ge=-1.0,
        le=1.0,
        description="Lens temperature above its set-point, not compensated by the scanner",
    )
    flare: float = knob(NOMINAL_FLARE, ge=0.0, le=0.3, description="Part of the light scattered over the field")
    stage_vibration_nm: float = knob(
        NOMINAL_VIBRATION_NM,
        units="nm",
        ge=0.0,
        le=50.0,
        description="Standard deviation of stage against image during an exposure",
    )

    @property
    def lens_temperature_c(self) -> float:
        """Lens temperature as its sensor reads it."""
        return LENS_TEMPERATURE_C + self.lens_heating_k

    def dose_reported(self, recipe: LithographyRecipe) -> float:
        """Dose, mJ/cm², as the scanner reports it."""
        return recipe.dose_mj_cm2 * self.illumination_gain


@dataclass(frozen=True)
class FieldErrors:
    """What each field gets beyond the recipe: ``focus`` in nm, ``dose`` as a factor; arrays over sites."""

    focus: Array
    dose: Array


def field_errors(condition: LithographyCondition, x: Array, y: Array, radius: float) -> FieldErrors:
    """Focus error δ, nm, and dose factor E/E₀ of fields at *x*, *y* mm (arrays) on a wafer of *radius* mm.

    Offsets and tilts add; gains multiply:

        δ = offset + heating + tilt x/100 mm + bow r²/R²;   E/E₀ = illumination gain × dose gain × (1 + bow r²/R²)
    """
    edge = (x * x + y * y) / radius**2
    focus = (
        condition.focus_offset_nm
        + LENS_FOCUS_NM_PER_K * condition.lens_heating_k
        + condition.focus_tilt_x_nm_per_100mm * x / _TILT_BASE_MM
        + condition.wafer_bow_nm * edge
    )
    dose = condition.illumination_gain * condition.dose_gain * (1.0 + condition.dose_bow_pct / 100.0 * edge)
    return FieldErrors(focus, dose)
