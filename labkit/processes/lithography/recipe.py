"""The lithography recipe: one exposure of a line/space layer, with its mask, illumination, dose, focus and target.

Conventions. The resist switches where dose_mj_cm2 × I = dose_to_clear_mj_cm2, with the image intensity I in units of
an open frame, so the intensity threshold is dose_to_clear_mj_cm2 / dose_mj_cm2. A positive resist keeps the line where
the image is darker than that; a negative one (or a negative-tone developer) where it is brighter. Dimensions are at
wafer scale; focus_nm is 0 at the image's best focus and positive beyond it, away from the lens.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from labkit.core.recipe import Recipe, knob

EUV_WAVELENGTH_NM = 20.0
"""Below this wavelength the optics are mirrors in vacuum."""
NA_LIMIT_EUV = 0.55
"""Largest numerical aperture of a 13.5 nm scanner (hyper-NA stages are beyond it). Reference: levinson2019."""
NA_LIMIT_DRY = 0.93
"""Largest numerical aperture of a dry scanner. Reference: levinson2019."""
NA_LIMIT_IMMERSION = 1.35
"""Largest numerical aperture of a water immersion scanner. Reference: levinson2019."""


class LithographyRecipe(Recipe):
    """The knobs of one lithography run. See the module for conventions on tone, threshold, focus and scale."""

    process: ClassVar[str] = "lithography"

    wavelength_nm: float = knob(
        193.0, units="nm", ge=10.0, le=450.0, description="Vacuum wavelength: EUV 13.5, ArF 193, KrF 248, i-line 365"
    )
    na: float = knob(
        0.75,
        ge=0.1,
        le=NA_LIMIT_IMMERSION,
        description="Numerical aperture: at most 0.55 at EUV, 0.93 dry, 1.35 immersed",
    )
    immersion_index: float = knob(
        1.0, ge=1.0, le=1.7, description="Refractive index above the resist: 1 dry or vacuum, 1.436 water at 193 nm"
    )
    source_shape: Literal["conventional", "annular", "dipole", "quadrupole"] = knob(
        "annular", description="Shape of the illumination; a dipole lies across the lines, a quadrupole diagonally"
    )
    sigma: float = knob(
        0.8, ge=0.1, le=1.0, description="Partial coherence: outer radius of the source in units of the NA"
    )
    sigma_inner: float = knob(
        0.5, ge=0.0, lt=1.0, description="Inner radius of the source; not used by a conventional one"
    )
    pole_opening_deg: float = knob(
        40.0, units="degree", ge=5.0, le=90.0, description="Angular width of each pole of a dipole or quadrupole"
    )
    mask_type: Literal["binary", "attenuated", "alternating"] = knob("binary", description="Kind of mask")
    mask_transmission: float = knob(
        0.06, ge=0.0, le=0.5, description="Intensity transmission of an attenuated mask's film"
    )
    mask_phase_deg: float = knob(
        180.0,
        units="degree",
        ge=90.0,
        le=270.0,
        description="Phase of an attenuated film or of every second alternating opening",
    )
    resist_tone: Literal["positive", "negative"] = knob(
        "positive", description="Whether exposed resist dissolves (positive) or stays (negative)"
    )
    pitch_nm: float = knob(240.0, units="nm", ge=10.0, le=5000.0, description="Distance from line to line on the wafer")
    cd_target_nm: float = knob(100.0, units="nm", ge=5.0, le=4000.0, description="Width the printed line should have")
    mask_bias_nm: float = knob(
        0.0,
        units="nm",
        ge=-500.0,
        le=500.0,
        description="Width of the line on the mask, at wafer scale, minus cd_target_nm",
    )
    dose_mj_cm2: float = knob(29.2, units="mJ/cm2", ge=1.0, le=100.0, description="Exposure dose in a large open area")
    dose_to_clear_mj_cm2: float = knob(
        10.0, units="mJ/cm2", ge=0.1, le=100.0, description="Dose at which the resist switches in a large open area"
    )
    focus_nm: float = knob(
        0.0, units="nm", ge=-2000.0, le=2000.0, description="Focus setting: distance of the resist beyond best focus"
    )
    resist_thickness_nm: float = knob(150.0, units="nm", ge=5.0, le=2000.0, description="Thickness of the resist film")
    cd_tolerance_pct: float = knob(
        10.0,
        units="percent",
        gt=0.0,
        le=50.0,
        description="Allowed departure of the line width from its target, either way",
    )
    wafer_count: int = knob(5, ge=1, le=25, description="Wafers in the lot")

    @property
    def threshold(self) -> float:
        """Intensity, in units of the open frame, at which the resist switches."""
        return self.dose_to_clear_mj_cm2 / self.dose_mj_cm2

    @property
    def mask_line_nm(self) -> float:
        """Width of the line on the mask, at wafer scale."""
        return self.cd_target_nm + self.mask_bias_nm

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        euv = self.wavelength_nm < EUV_WAVELENGTH_NM
        limit = NA_LIMIT_EUV if euv else NA_LIMIT_DRY if self.immersion_index == 1.0 else NA_LIMIT_IMMERSION
        if self.na > limit:
            cure = "" if euv or self.immersion_index > 1.0 else ", or set immersion_index"
            raise ValueError(
                f"na at most {limit:g} at {self.wavelength_nm:g} nm and immersion_index "
                f"{self.immersion_index:g}: lower na{cure}"
            )
        if self.na >= self.immersion_index:
            raise ValueError(f"na below immersion_index {self.immersion_index:g}: lower na or raise immersion_index")
        if euv and self.immersion_index != 1.0:
            raise ValueError("immersion_index 1 at EUV, which needs vacuum")
        if self.source_shape != "conventional" and self.sigma_inner >= self.sigma:
            raise ValueError(f"sigma_inner below sigma = {self.sigma:g}: lower sigma_inner or raise sigma")
        if not 0.0 < self.mask_line_nm < self.pitch_nm:
            raise ValueError(f"cd_target_nm + mask_bias_nm above 0 and below pitch_nm = {self.pitch_nm:g}")
        if self.cd_target_nm >= self.pitch_nm:
            raise ValueError(f"cd_target_nm below pitch_nm = {self.pitch_nm:g}")
        return self
