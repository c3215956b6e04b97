"""What is under test: the process by name, and the runs that several tests look at, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
import xarray as xr

from labkit.core import registry
from labkit.core.process import Channel, Process, Telemetry, Twin
from labkit.core.recipe import Recipe


class Subject:
    """A process found through the registry, as everything else in labkit finds it."""

    process_name: ClassVar[str] = ""

    @property
    def process(self) -> Process:
        """The process under test."""
        if not self.process_name:
            raise TypeError(f'{type(self).__name__} must set process_name, e.g. process_name = "cvd"')
        return registry.process(self.process_name)

    @property
    def examples(self) -> tuple[Recipe, ...]:
        """Its example recipes."""
        return self.process.example_recipes()


@lru_cache(maxsize=32)
def simulated(name: str, example: int) -> xr.Dataset:
    """What example recipe number *example* does on nominal equipment; treat as read-only."""
    process = registry.process(name)
    recipe = process.example_recipes()[example]
    return process.simulate(recipe, process.incoming_wafers(recipe))


@lru_cache(maxsize=32)
def completed(name: str, seed: int) -> tuple[Telemetry, xr.Dataset]:
    """Telemetry and wafers of the first example recipe run to its end in one block; treat as read-only."""
    twin = started(name, seed)
    telemetry = twin.advance(twin.samples)
    return telemetry, twin.finish()


def started(name: str, seed: int) -> Twin:
    """A twin about to run the first example recipe on nominal equipment."""
    process = registry.process(name)
    recipe = process.example_recipes()[0]
    return process.twin(recipe, process.incoming_wafers(recipe), seed=seed)


def is_finite(value: object) -> bool:
    """Whether *value* is a float that is a number."""
    return isinstance(value, float) and bool(np.isfinite(value))


def joined(blocks: Sequence[Telemetry]) -> Telemetry:
    """Blocks of telemetry as one."""
    return {channel: np.concatenate([block[channel] for block in blocks]) for channel in blocks[0]}


def as_dataset(telemetry: Telemetry, channels: Iterable[Channel]) -> xr.Dataset:
    """Telemetry as the Dataset that ``summarise`` reads: dim ``time``, one variable per channel with its unit."""
    units = {channel.name: channel.units for channel in channels}
    return xr.Dataset(
        {name: ("time", values, {"units": units[name]}) for name, values in telemetry.items() if name != "time"},
        coords={"time": ("time", telemetry["time"], {"units": "s"})},
    )
