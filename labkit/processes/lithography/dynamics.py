"""The scanner in time: one field after another, one telemetry sample each, and what every field then received.

All random numbers of a run are drawn when it begins, so that what a sample holds does not depend on how the run is cut
into blocks. Noise magnitudes are illustrative.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.core.process import Channel, Telemetry
from labkit.processes.lithography.printed_wafer import assembled, printed_wafer
from labkit.processes.lithography.recipe import LithographyRecipe
from labkit.processes.lithography.scanner import LithographyCondition

SAMPLE_PERIOD_S = 0.3
"""Time from field to field: about 100 fields on a wafer at some 100 wafers per hour (illustrative)."""
DOSE_RUN, DOSE_FIELD = 0.0015, 0.001
"""Relative standard deviation of the dose at the wafer, from run to run and field to field."""
FOCUS_RUN_NM, FOCUS_FIELD_NM = 3.0, 3.0
"""Standard deviation of focus at the wafer, from run to run and field to field, nm."""
DOSE_SENSOR_RUN, DOSE_SENSOR_FIELD = 0.0005, 0.001
"""Relative standard deviation of the reported dose, from run to run and field to field."""
FOCUS_SENSOR_NM = 2.0
"""Standard deviation of the levelling residual that the scanner reports per field, nm."""
LENS_RUN_K, LENS_SENSOR_K = 0.002, 0.001
"""Standard deviation of the lens temperature reading, from run to run and sample to sample, K."""
VIBRATION_RUN, VIBRATION_FIELD = 0.03, 0.05
"""Relative standard deviation of the stage's moving standard deviation, from run to run and field to field."""

CHANNELS = (
    Channel("slot", "1", "slot of the wafer on the stage", "int16"),
    Channel("site", "1", "field being exposed, counted from 0", "int16"),
    Channel("dose_mj_cm2", "mJ/cm2", "dose as the scanner's own sensor reports it"),
    Channel("focus_nm", "nm", "focus as the levelling system reports it, against its own zero"),
    Channel("stage_vibration_nm", "nm", "moving standard deviation of stage against image during the exposure"),
    Channel("lens_temperature_c", "degC", "lens temperature"),
)


class ScannerTwin:
    """A scanner exposing the lot in *wafer*, slot by slot and field by field (a :class:`~labkit.core.process.Twin`)."""

    def __init__(
        self, recipe: LithographyRecipe, wafer: xr.Dataset, condition: LithographyCondition, seed: int
    ) -> None:
        self._recipe, self._wafer, self._condition = recipe, wafer, condition
        self._shape = (wafer.sizes["slot"], wafer.sizes["site"])
        self._done, self._seed = 0, seed
        random = np.random.default_rng([seed, 1])
        self._dose_noise = self._noise(random, DOSE_RUN, DOSE_FIELD)
        self._focus_noise = self._noise(random, FOCUS_RUN_NM, FOCUS_FIELD_NM)
        self._telemetry = self._reports(random)

    def _noise(self, random: np.random.Generator, run: float, field: float) -> np.ndarray:
        return run * random.standard_normal() + field * random.standard_normal(self._shape)

    def _reports(self, random: np.random.Generator) -> Telemetry:
        condition, recipe = self._condition, self._recipe
        slots = np.repeat(np.asarray(self._wafer["slot"].values), self._shape[1])
        values = {
            "time": SAMPLE_PERIOD_S * np.arange(1, self.samples + 1),
            "slot": slots,
            "site": np.tile(np.arange(self._shape[1]), self._shape[0]),
            "dose_mj_cm2": condition.dose_reported(recipe)
            * (1.0 + self._noise(random, DOSE_SENSOR_RUN, DOSE_SENSOR_FIELD)),
            "focus_nm": recipe.focus_nm + self._noise(random, 0.0, FOCUS_SENSOR_NM),
            "stage_vibration_nm": condition.stage_vibration_nm
            * (1.0 + self._noise(random, VIBRATION_RUN, VIBRATION_FIELD)),
            "lens_temperature_c": condition.lens_temperature_c + self._noise(random, LENS_RUN_K, LENS_SENSOR_K),
        }
        dtypes = {"time": "float64", **{channel.name: channel.dtype for channel in CHANNELS}}
        return {name: np.ravel(array).astype(dtypes[name]) for name, array in values.items()}

    @property
    def samples(self) -> int:
        """Fields of the lot."""
        return self._shape[0] * self._shape[1]

    @property
    def done(self) -> int:
        """Fields exposed so far."""
        return self._done

    def advance(self, samples: int) -> Telemetry:
        """Expose the next *samples* fields and return their telemetry."""
        chosen = slice(self._done, min(self._done + max(samples, 0), self.samples))
        self._done = chosen.stop
        return {name: array[chosen].copy() for name, array in self._telemetry.items()}

    def finish(self) -> xr.Dataset:
        """The lot as it left the scanner; fields not reached are not exposed and hold NaN."""
        exposed = (np.arange(self.samples) < self._done).reshape(self._shape)
        results = printed_wafer(
            self._recipe,
            self._wafer,
            self._condition,
            seed=self._seed,
            dose_noise=self._dose_noise,
            focus_noise=self._focus_noise,
            exposed=exposed,
        )
        reports = {
            "dose_reported": "dose_mj_cm2",
            "lens_temperature": "lens_temperature_c",
            "stage_vibration": "stage_vibration_nm",
        }
        if self._done:
            results = assembled(
                results,
                {
                    name: self._telemetry[channel][: self._done].astype(float).mean()
                    for name, channel in reports.items()
                },
            )
        return results
