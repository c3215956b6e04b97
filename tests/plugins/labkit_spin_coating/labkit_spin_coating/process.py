"""The spin coater as a labkit process: recipe, equipment condition, physics, twin, metrology."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from labkit.core import provenance
from labkit.core.limits import Limit, Severity
from labkit.core.process import Channel, Condition, FaultMode, Indicator, Knob, Process, Telemetry
from labkit.core.recipe import Recipe, knob
from labkit.core.schema import DatasetSchema, Variable
from labkit.materials import wafers
from labkit_spin_coating import thinning

_SPEED_NOISE_RPM = 2.0
_ELLIPSOMETER_NOISE = 0.002


class SpinCoatingRecipe(Recipe):
    """One resist on one wafer at one speed."""

    process: ClassVar[str] = "spin_coating"

    spin_speed_rpm: float = knob(3000.0, units="rpm", ge=500, le=8000, description="Spindle speed")
    spin_time_s: float = knob(60.0, units="s", ge=1, le=600, description="Time at speed")
    solids_fraction: float = knob(
        0.25, ge=0.01, le=0.5, description="Volume fraction of solids in the resist as dispensed"
    )
    viscosity_mpa_s: float = knob(
        20.0, units="mPa s", ge=0.5, le=500, description="Viscosity of the resist as dispensed"
    )
    density_kg_m3: float = knob(1000.0, units="kg/m3", ge=700, le=1500, description="Density of the resist")
    evaporation_um_s: float = knob(
        0.2, units="um/s", ge=0.01, le=5, description="Evaporation at 3000 rpm; it grows as the root of the speed"
    )


class SpinCoaterCondition(Condition):
    """How far a coater is from nominal."""

    speed_gain: float = knob(1.0, description="Actual over set spindle speed", gt=0.5, lt=2)
    evaporation_gain: float = knob(
        1.0, description="Actual over nominal evaporation (exhaust, humidity)", gt=0.1, lt=10
    )


class SpinCoaterTwin:
    """A coater that spins one wafer; its film is what it is when the spindle stops."""

    def __init__(self, recipe: SpinCoatingRecipe, wafer: xr.Dataset, condition: SpinCoaterCondition, seed: int) -> None:
        self._recipe, self._wafer, self._condition = recipe, wafer, condition
        self.samples = max(1, round(recipe.spin_time_s))
        self.done = 0
        self._noise = np.random.default_rng(seed).normal(0.0, _SPEED_NOISE_RPM, self.samples)

    def advance(self, samples: int) -> Telemetry:
        """The next *samples* samples (fewer at the end)."""
        part = slice(self.done, min(self.done + samples, self.samples))
        self.done = part.stop
        speed = self._recipe.spin_speed_rpm * self._condition.speed_gain + self._noise[part]
        return {
            "time": np.arange(part.start, part.stop, dtype=np.float64),
            "spindle_speed_rpm": speed.astype(np.float32),
        }

    def finish(self) -> xr.Dataset:
        """The film at the moment the spindle stopped."""
        spun = self._recipe.spin_time_s * self.done / self.samples
        return _coated(self._recipe, self._wafer, self._condition, spun)


class SpinCoating(Process):
    """Thickness of a spun resist film from speed, viscosity, solids and evaporation [meyerhofer1978]."""

    name = "spin_coating"
    title = "Spin coating of resist"
    recipe_type = SpinCoatingRecipe
    condition_type = SpinCoaterCondition
    schema = DatasetSchema(
        "spin_coating",
        (
            Variable("thickness", ("slot", "site"), "nm", "dry film thickness", low=0.0),
            Variable("spindle_speed", ("slot",), "rpm", "actual spindle speed", low=0.0),
        ),
    )
    channels = (Channel("spindle_speed_rpm", "rpm", "Spindle speed from the tachometer"),)
    indicators = (
        Indicator("thickness_mean_nm", "nm", "Mean dry thickness", sigma=0.002),
        Indicator("spindle_speed_mean_rpm", "rpm", "Mean spindle speed", source="telemetry", sigma=0.0005),
    )
    fault_modes = (
        FaultMode("spindle_speed", "speed_gain", 0.01, "Spindle runs off its set speed", "Calibrate the tachometer."),
        FaultMode("exhaust", "evaporation_gain", 0.05, "Exhaust flow has changed", "Check the bowl's exhaust damper."),
    )
    limits = (Limit("spin_speed_rpm", 1000.0, 6000.0, "rpm", Severity.SOFT, "usual range of a 200 mm coater"),)
    interlocks = ("lid_closed", "vacuum_chuck")
    safe_state = "spindle stopped, exhaust on"

    def example_recipes(self) -> tuple[SpinCoatingRecipe, ...]:
        """A resist of about 1 µm."""
        return (SpinCoatingRecipe(name="Resist, 1 µm", required_interlocks=self.interlocks),)

    def incoming_wafers(self, recipe: Recipe) -> xr.Dataset:
        """One wafer: a coater takes them singly."""
        return wafers.load(1, sites=9)

    def simulate(
        self, recipe: Recipe, wafer: xr.Dataset, *, condition: Condition | None = None, seed: int = 0
    ) -> xr.Dataset:
        """Dry film after the recipe's time at speed; solids only, if it stops before the film is dry."""
        return _coated(_own(recipe), wafer, _condition(condition), _own(recipe).spin_time_s, seed)

    def twin(
        self, recipe: Recipe, wafer: xr.Dataset, *, condition: Condition | None = None, seed: int = 0
    ) -> SpinCoaterTwin:
        """The coater in time."""
        return SpinCoaterTwin(_own(recipe), wafer, _condition(condition), seed)

    def measure(self, truth: xr.Dataset, *, seed: int) -> xr.Dataset:
        """Ellipsometry with an illustrative 0.2 % repeatability."""
        error = np.random.default_rng(seed).normal(0.0, _ELLIPSOMETER_NOISE, truth["thickness"].shape)
        return truth.assign(thickness=(truth["thickness"] * (1.0 + error)).assign_attrs(truth["thickness"].attrs))

    def summarise(self, recipe: Recipe, results: xr.Dataset, telemetry: xr.Dataset | None = None) -> dict[str, float]:
        """Mean thickness and mean speed."""
        speed = results["spindle_speed"] if telemetry is None else telemetry["spindle_speed_rpm"].astype("float64")
        return {"thickness_mean_nm": float(results["thickness"].mean()), "spindle_speed_mean_rpm": float(speed.mean())}

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """By its spindle."""
        return "spin_speed_rpm" in document

    def knobs(self, recipe: Recipe) -> tuple[Knob, ...]:
        """Speed is what a coater is tuned with."""
        return (Knob("spin_speed_rpm", 500.0, 8000.0, "rpm", log=True),)


def _own(recipe: Recipe) -> SpinCoatingRecipe:
    assert isinstance(recipe, SpinCoatingRecipe)
    return recipe


def _condition(condition: Condition | None) -> SpinCoaterCondition:
    return condition if isinstance(condition, SpinCoaterCondition) else SpinCoaterCondition()


def _coated(
    recipe: SpinCoatingRecipe, wafer: xr.Dataset, condition: SpinCoaterCondition, spun_s: float, seed: int = 0
) -> xr.Dataset:
    speed_rpm = recipe.spin_speed_rpm * condition.speed_gain
    evaporation = recipe.evaporation_um_s * 1e-6 * condition.evaporation_gain * np.sqrt(speed_rpm / 3000.0)
    scale = thinning.transition_thickness(
        speed_rpm * 2.0 * np.pi / 60.0, recipe.viscosity_mpa_s * 1e-3, recipe.density_kg_m3, evaporation
    )
    x = thinning.liquid_thickness(np.asarray(spun_s * evaporation / scale))
    solid_nm = recipe.solids_fraction * scale * float(thinning.solid_thickness(x)) * 1e9
    result = wafer.assign(
        thickness=(("slot", "site"), np.full((wafer.sizes["slot"], wafer.sizes["site"]), solid_nm)),
        spindle_speed=("slot", np.full(wafer.sizes["slot"], speed_rpm)),
    )
    return provenance.stamp(
        SpinCoating.schema.describe(result),
        recipe,
        seed=seed,
        references=("emslie1958", "meyerhofer1978", "karpitschka2015"),
        illustrative=("ellipsometer repeatability", "tachometer noise"),
    )
