"""What the wafers became, as a Dataset: thickness map, index, rate and film stack."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.core.provenance import stamp
from labkit.core.schema import DatasetSchema, Variable
from labkit.materials.wafers import with_film
from labkit.processes.cvd.batch import Batch
from labkit.processes.cvd.kinetics import RateLaw

SCHEMA = DatasetSchema(
    "cvd",
    (
        Variable("thickness", ("slot", "site"), "nm", "thickness of the deposited film", low=0.0),
        Variable("refractive_index", ("slot",), "1", "refractive index at 632.8 nm", low=1.0, high=5.0, missing=True),
        Variable("deposition_rate", ("slot",), "nm/min", "mean rate while gas flowed", low=0.0, missing=True),
        Variable("film_thickness", ("slot", "film", "site"), "nm", "film thickness, substrate upwards", missing=True),
    ),
    coords=(
        Variable("slot", ("slot",), "1", "slot in the load", kind="i"),
        Variable("x", ("site",), "mm", "distance from centre along x"),
        Variable("y", ("site",), "mm", "distance from centre along y"),
    ),
)
"""What every CVD result carries."""

ILLUSTRATIVE = ("tube geometry, thermal and vacuum constants", "run-to-run repeatability of the instruments")
REFERENCES = (
    "jensen1983",
    "danckwerts1953",
    "grassmann1985",
    "thiele1939",
    "bird2002",
    "neufeld1972",
    "blanc1908",
    "kee1986",
    "dlmf",
)


def wafer_dataset(
    batch: Batch, wafer: xr.Dataset, *, thickness: np.ndarray, index: np.ndarray, minutes: float
) -> xr.Dataset:
    """Result on *wafer*: *thickness* (slot, site) nm, *index* (slot,), *minutes* of gas flow."""
    film = xr.DataArray(thickness, dims=("slot", "site"), coords={"slot": wafer["slot"]})
    found = with_film(wafer, batch.law.film, film)
    rate = thickness.mean(axis=1) / minutes if minutes > 0.0 else np.full(thickness.shape[0], np.nan)
    return SCHEMA.describe(
        found.assign(thickness=film, refractive_index=("slot", index), deposition_rate=("slot", rate))
    )


def stamped(dataset: xr.Dataset, batch: Batch, *, seed: int, duration_s: float) -> xr.Dataset:
    """*dataset* with provenance: recipe, seed, sources, and what in it is illustrative."""
    law = batch.law
    return stamp(
        dataset.assign_attrs(rate_law=law.name, rate_law_validity=law.validity),
        batch.recipe,
        seed=seed,
        duration_s=duration_s,
        references=(*REFERENCES, *law.references),
        illustrative=caveats(law),
    )


def caveats(law: RateLaw) -> tuple[str, ...]:
    """What is a plausible guess in results with *law*."""
    extra = ("silicon-rich oxide index",) if law.film == "SiO2" else ()
    return (*law.illustrative, *extra, *ILLUSTRATIVE)
