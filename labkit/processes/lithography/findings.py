"""What pre-flight has to say about a lithography recipe: no image, no print, wrong size, weak image, tall lines."""

from __future__ import annotations

import math

import numpy as np

from labkit.core.process import Finding
from labkit.processes.lithography.exposure import dose_to_size, modulation, printed_line
from labkit.processes.lithography.recipe import LithographyRecipe
from labkit.processes.lithography.scanner import LithographyCondition

WEAK_NILS = 1.0
"""NILS below which no production resist is expected to hold a line (levinson2019, rule of thumb)."""
SCALAR_NA = 0.8
"""Aperture above which a scalar image overstates the contrast of unpolarised light appreciably (mack2007)."""
ASPECT_RATIO = 3.5
"""Height over width above which resist lines tend to collapse in the rinse (illustrative)."""
_NO_MODULATION = 1e-6


def smallest_pitch(recipe: LithographyRecipe) -> float:
    """Pitch, nm, below which no pair of diffraction orders passes together: λ/((1 + σ) NA), or λ/(2 NA) alternating.

    For source shapes whose poles lie off the x axis it is a lower bound. Reference: mack2007.
    """
    reach = 2.0 if recipe.mask_type == "alternating" else 1.0 + recipe.sigma
    return recipe.wavelength_nm / (reach * recipe.na)


def findings(recipe: LithographyRecipe) -> tuple[Finding, ...]:
    """Everything worth saying about *recipe* before it runs, blocking findings first."""
    if modulation(recipe) < _NO_MODULATION:
        return (_no_image(recipe),)
    focus, dose = np.asarray(recipe.focus_nm), np.asarray(recipe.dose_mj_cm2)
    width, nils = (float(value) for value in printed_line(recipe, focus, dose, LithographyCondition()))
    return (*_size(recipe, width), *_quality(recipe, nils), *_caveats(recipe))


def _no_image(recipe: LithographyRecipe) -> Finding:
    limit = smallest_pitch(recipe)
    aperture = recipe.na * limit / recipe.pitch_nm
    return Finding(
        f"no image: pitch_nm = {recipe.pitch_nm:g} sends no pair of diffraction orders through the lens",
        fix=f"set pitch_nm well above {limit:.4g}, raise na above {aperture:.3g}, or put source poles across the lines",
        blocking=True,
    )


def _size(recipe: LithographyRecipe, width: float) -> tuple[Finding, ...]:
    on_target = dose_to_size(recipe)
    reachable = 1.0 <= on_target <= 100.0
    cure = (
        f"set dose_mj_cm2 = {on_target:.4g} to print {recipe.cd_target_nm:g} nm"
        if reachable
        else "move focus_nm towards 0, or change mask_bias_nm or the illumination: no dose of 1 to 100 mJ/cm² does"
    )
    if math.isnan(width):
        return (
            Finding(
                f"no line prints at dose_mj_cm2 = {recipe.dose_mj_cm2:g}, focus_nm = {recipe.focus_nm:g}",
                cure,
                blocking=True,
            ),
        )
    error = 100.0 * (width / recipe.cd_target_nm - 1.0)
    if abs(error) > recipe.cd_tolerance_pct:
        return (
            Finding(
                f"the line prints {width:.4g} nm wide, {error:+.1f} % from cd_target_nm = {recipe.cd_target_nm:g}", cure
            ),
        )
    return ()


def _quality(recipe: LithographyRecipe, nils: float) -> tuple[Finding, ...]:
    if nils < WEAK_NILS:
        return (
            Finding(
                f"the image is weak: NILS {nils:.2f} is below {WEAK_NILS:g}",
                "raise na, widen pitch_nm, use off-axis illumination or a phase-shifting mask",
            ),
        )
    return ()


def _caveats(recipe: LithographyRecipe) -> tuple[Finding, ...]:
    found = []
    if recipe.na > SCALAR_NA:
        found.append(
            Finding(
                f"the scalar image is optimistic at na = {recipe.na:g}: polarisation is not modelled",
                "read contrast and latitude as upper bounds, reached only by light polarised along the lines",
            )
        )
    ratio = recipe.resist_thickness_nm / recipe.cd_target_nm
    if ratio > ASPECT_RATIO:
        found.append(
            Finding(
                f"resist lines {ratio:.1f} times as tall as wide may collapse",
                f"set resist_thickness_nm to at most {ASPECT_RATIO * recipe.cd_target_nm:.4g}",
            )
        )
    return tuple(found)
