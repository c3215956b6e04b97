"""The lithography chapter: what the loop needs to predict, run, watch and judge an exposure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import xarray as xr

from labkit.core.errors import LabkitError
from labkit.core.limits import Limit
from labkit.core.process import Channel, Condition, FaultMode, Finding, Indicator, Knob, Process, Steering, Twin
from labkit.core.recipe import Recipe
from labkit.core.schema import DatasetSchema
from labkit.materials import wafers
from labkit.processes.lithography import findings, metrology
from labkit.processes.lithography.dynamics import CHANNELS, SAMPLE_PERIOD_S, ScannerTwin
from labkit.processes.lithography.focus_exposure import rayleigh_unit
from labkit.processes.lithography.printed_wafer import SCHEMA, printed_wafer, wafer_radius, wafer_signature
from labkit.processes.lithography.recipe import LithographyRecipe
from labkit.processes.lithography.scanner import LithographyCondition

_EXAMPLES: tuple[dict[str, Any], ...] = (
    {"name": "ArF binary 100 nm lines", "dose_mj_cm2": 29.2, "required_interlocks": ("laser_enclosure", "stage_area")},
    {
        "name": "ArF immersion attenuated 40 nm lines",
        "na": 1.35,
        "immersion_index": 1.436,
        "source_shape": "dipole",
        "sigma": 0.9,
        "sigma_inner": 0.6,
        "mask_type": "attenuated",
        "pitch_nm": 90.0,
        "cd_target_nm": 40.0,
        "dose_mj_cm2": 34.6,
        "resist_thickness_nm": 100.0,
        "required_interlocks": ("laser_enclosure", "stage_area"),
    },
    {
        "name": "EUV 16 nm lines",
        "wavelength_nm": 13.5,
        "na": 0.33,
        "source_shape": "dipole",
        "sigma": 0.9,
        "sigma_inner": 0.4,
        "pole_opening_deg": 90.0,
        "pitch_nm": 36.0,
        "cd_target_nm": 16.0,
        "dose_mj_cm2": 28.7,
        "resist_thickness_nm": 30.0,
        "safety_hazard_level": 2,
        "required_interlocks": ("laser_enclosure", "stage_area"),
    },
)


class Lithography(Process):
    """Exposure of a line/space layer: scalar partially coherent image, constant-threshold resist, a lot of wafers.

    Indicator sigmas are those that the stated noise of scanner and metrology gives for the default recipe.
    """

    name: ClassVar[str] = "lithography"
    title: ClassVar[str] = "optical and EUV lithography of line/space layers"
    recipe_type: ClassVar[type[Recipe]] = LithographyRecipe
    condition_type: ClassVar[type[Condition]] = LithographyCondition
    schema: ClassVar[DatasetSchema] = SCHEMA
    channels: ClassVar[tuple[Channel, ...]] = CHANNELS
    sample_period_s: ClassVar[float] = SAMPLE_PERIOD_S
    interlocks: ClassVar[tuple[str, ...]] = ("laser_enclosure", "stage_area", "lens_purge")
    safe_state: ClassVar[str] = "shutter closed, light source off, stages parked"
    indicators: ClassVar[tuple[Indicator, ...]] = (
        Indicator("cd_mean_nm", "nm", "mean width of the printed line", sigma=0.0019),
        Indicator("cd_bow_nm", "nm", "line width at the wafer's edge minus centre", residual="difference", sigma=0.079),
        Indicator("dose_monitor_mj_cm2", "mJ/cm2", "mean dose read from open pads in the resist", sigma=0.0018),
        Indicator("focus_monitor_nm", "nm", "mean shift of the focus monitor", residual="difference", sigma=0.30),
        Indicator(
            "focus_monitor_tilt_nm", "nm", "focus monitor shift per 100 mm along x", residual="difference", sigma=0.036
        ),
        Indicator(
            "focus_monitor_bow_nm",
            "nm",
            "focus monitor shift at the wafer's edge minus centre",
            residual="difference",
            sigma=0.088,
        ),
        Indicator(
            "flare_monitor_pct",
            "percent",
            "mean scattered light read from opaque pads",
            residual="difference",
            sigma=0.051,
        ),
        Indicator(
            "dose_reported_mj_cm2", "mJ/cm2", "mean dose as the scanner reports it", source="telemetry", sigma=0.0005
        ),
        Indicator(
            "lens_temperature_c",
            "degC",
            "mean lens temperature",
            source="telemetry",
            residual="difference",
            sigma=0.002,
        ),
        Indicator(
            "stage_vibration_nm", "nm", "mean moving standard deviation of the stage", source="telemetry", sigma=0.03
        ),
    )
    fault_modes: ClassVar[tuple[FaultMode, ...]] = (
        FaultMode(
            "dose_drift",
            "dose_gain",
            0.01,
            "The dose sensor drifts: the wafer gets more dose than reported",
            "calibrate the dose sensor against a traceable one; correct dose_mj_cm2 meanwhile",
            opposite="The dose sensor drifts: the wafer gets less dose than reported",
        ),
        FaultMode(
            "illumination_loss",
            "illumination_gain",
            -0.01,
            "Too little light: the scanner reports less dose than asked for",
            "check light source energy, attenuator and illuminator transmission",
            opposite="Too much light: the scanner reports more dose than asked for",
        ),
        FaultMode(
            "bake_bow",
            "dose_bow_pct",
            1.0,
            "Resist sensitivity varies from centre to edge",
            "check the bake plates' temperature map and the developer dispense of the track",
            opposite="Resist sensitivity varies from centre to edge, lower at the edge",
        ),
        FaultMode(
            "focus_offset",
            "focus_offset_nm",
            15.0,
            "The levelling system's zero has moved",
            "run a focus calibration; correct focus_nm meanwhile",
            opposite="The levelling system's zero has moved towards the lens",
        ),
        FaultMode(
            "focus_tilt",
            "focus_tilt_x_nm_per_100mm",
            10.0,
            "The wafer lies tilted against the levelling reference along x",
            "inspect the chuck for particles and calibrate levelling tilt",
            opposite="The wafer lies tilted the other way against the levelling reference along x",
        ),
        FaultMode(
            "wafer_bow",
            "wafer_bow_nm",
            20.0,
            "Wafers are not flat on the chuck: edge and centre focus differ",
            "check chuck vacuum and incoming wafer bow",
            opposite="Wafers are not flat on the chuck: the edge stands nearer to the lens than the centre",
        ),
        FaultMode(
            "lens_heating",
            "lens_heating_k",
            0.05,
            "The lens runs warm and its focus follows",
            "check lens cooling and the lens heating model; let the lens cool down",
            opposite="The lens runs cold and its focus follows",
        ),
        FaultMode(
            "flare",
            "flare",
            0.01,
            "Scattered light: contrast is lost though the dose is right",
            "measure flare with opaque pads; clean the lens and inspect the reticle",
        ),
        FaultMode(
            "stage_vibration",
            "stage_vibration_nm",
            1.0,
            "The stage shakes during exposure and blurs the image",
            "check stage servo, cable slab and floor vibration",
        ),
    )
    limits: ClassVar[tuple[Limit, ...]] = (
        Limit("na", 0.1, 1.35, reason="0.55 at EUV, 0.93 dry, 1.35 in water: the recipe checks which one holds"),
        Limit("dose_mj_cm2", 1.0, 100.0, units="mJ/cm2", reason="range of the dose control"),
        Limit("sigma", 0.1, 1.0, reason="range of the illuminator"),
        Limit("resist_thickness_nm", 5.0, 200.0, units="nm", reason="films that the track is qualified for"),
    )

    def example_recipes(self) -> tuple[LithographyRecipe, ...]:
        """An ArF, an ArF immersion and an EUV layer; the first is the default."""
        return tuple(LithographyRecipe(**example) for example in _EXAMPLES)

    def incoming_wafers(self, recipe: Recipe) -> xr.Dataset:
        """A lot of 300 mm wafers with 25 fields measured on each."""
        return wafers.load(_own(recipe).wafer_count, diameter_mm=300.0, sites=25)

    def simulate(
        self, recipe: Recipe, wafer: xr.Dataset, *, condition: Condition | None = None, seed: int = 0
    ) -> xr.Dataset:
        """Line width, image quality and monitors in every field. Pure and noise-free; *seed* is recorded only."""
        return printed_wafer(_own(recipe), wafer, _state(condition), seed=seed)

    def twin(self, recipe: Recipe, wafer: xr.Dataset, *, condition: Condition | None = None, seed: int = 0) -> Twin:
        """The scanner exposing field after field."""
        return ScannerTwin(_own(recipe), wafer, _state(condition), seed)

    def measure(self, truth: xr.Dataset, *, seed: int) -> xr.Dataset:
        """CD-SEM, open-pad and overlay readings of *truth*."""
        return metrology.measured(truth, seed=seed)

    def summarise(self, recipe: Recipe, results: xr.Dataset, telemetry: xr.Dataset | None = None) -> dict[str, float]:
        """Indicator values; NaN where a field did not print."""
        monitor = wafer_signature(results["focus_monitor"], wafer_radius(results))
        scanner = results if telemetry is None or telemetry.sizes["time"] == 0 else telemetry
        names = {
            "dose_reported_mj_cm2": ("dose_reported", "dose_mj_cm2"),
            "lens_temperature_c": ("lens_temperature", "lens_temperature_c"),
            "stage_vibration_nm": ("stage_vibration", "stage_vibration_nm"),
        }
        read = {
            indicator: float(scanner[pair[scanner is telemetry]].astype(float).mean())
            for indicator, pair in names.items()
        }
        return {
            "cd_mean_nm": float(results["cd"].mean(skipna=False)),
            "cd_bow_nm": wafer_signature(results["cd"], wafer_radius(results))["bow"],
            "dose_monitor_mj_cm2": float(results["dose_monitor"].mean(skipna=False)),
            "focus_monitor_nm": float(results["focus_monitor"].mean(skipna=False)),
            "focus_monitor_tilt_nm": monitor["tilt_x"],
            "focus_monitor_bow_nm": monitor["bow"],
            "flare_monitor_pct": float(results["flare_monitor"].mean(skipna=False)),
            **read,
        }

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Whether *document* has an aperture, a wavelength and a pitch."""
        return {"na", "wavelength_nm", "pitch_nm"} <= set(document)

    def findings(self, recipe: Recipe) -> tuple[Finding, ...]:
        """What stands in the way of a good print; see :mod:`~labkit.processes.lithography.findings`."""
        return findings.findings(_own(recipe))

    def knobs(self, recipe: Recipe) -> tuple[Knob, ...]:
        """Dose, focus within a Rayleigh unit, and partial coherence."""
        own = _own(recipe)
        reach = min(rayleigh_unit(own), 2000.0)
        inner = 0.0 if own.source_shape == "conventional" else own.sigma_inner
        return (
            Knob("dose_mj_cm2", 1.0, 100.0, "mJ/cm2", log=True),
            Knob("focus_nm", -reach, reach, "nm"),
            Knob(
                "sigma", max(0.1, math.ceil((inner + 0.05) * 100.0) / 100.0) if inner <= 0.95 else own.sigma, 1.0, "1"
            ),
        )

    def family(self, recipe: Recipe) -> str:
        """Recipes that print one pattern at one wavelength."""
        own = _own(recipe)
        return f"{own.wavelength_nm:g} nm {own.mask_type} {own.cd_target_nm:g}/{own.pitch_nm:g}"

    def steering(self, recipe: Recipe) -> Steering:
        """Line width is kept by dose."""
        own = _own(recipe)
        return Steering("cd_mean_nm", self.knobs(own)[0], own.cd_target_nm)

    def targets(self, recipe: Recipe) -> tuple[Limit, ...]:
        """Mean line width within the recipe's tolerance."""
        own = _own(recipe)
        slack = own.cd_target_nm * own.cd_tolerance_pct / 100.0
        return (
            Limit(
                "cd_mean_nm",
                own.cd_target_nm - slack,
                own.cd_target_nm + slack,
                units="nm",
                reason=f"target {own.cd_target_nm:g} nm ± {own.cd_tolerance_pct:g} %",
            ),
        )


def _own(recipe: Recipe) -> LithographyRecipe:
    if not isinstance(recipe, LithographyRecipe):
        raise LabkitError(f"a {recipe.process} recipe was given to lithography", allowed="a LithographyRecipe")
    return recipe


def _state(condition: Condition | None) -> LithographyCondition:
    if condition is None:
        return LithographyCondition()
    if not isinstance(condition, LithographyCondition):
        raise LabkitError(f"a {type(condition).__name__} was given to lithography", allowed="a LithographyCondition")
    return condition
