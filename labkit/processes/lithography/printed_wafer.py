"""The exposed wafer as a Dataset, and the numbers an engineer reads off it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.core import provenance
from labkit.core.arrays import to_numpy
from labkit.core.schema import DatasetSchema, Variable
from labkit.processes.lithography.evidence import ILLUSTRATIVE, REFERENCES
from labkit.processes.lithography.exposure import focus_monitor_shift, printed_line
from labkit.processes.lithography.recipe import LithographyRecipe
from labkit.processes.lithography.scanner import LithographyCondition, field_errors

_FIELD = ("slot", "site")
SCHEMA = DatasetSchema(
    "lithography",
    (
        Variable("cd", _FIELD, "nm", "width of the printed line", low=0.0, missing=True),
        Variable("nils", _FIELD, "1", "normalised image log slope at the printed edges", low=0.0, missing=True),
        Variable("focus_error", _FIELD, "nm", "focus received minus focus asked for"),
        Variable("dose_error", _FIELD, "percent", "dose received against dose asked for", low=-100.0),
        Variable("dose_monitor", _FIELD, "mJ/cm2", "dose read from open pads in the resist", low=0.0, missing=True),
        Variable("focus_monitor", _FIELD, "nm", "sideways shift of the phase-shift focus monitor", missing=True),
        Variable("flare_monitor", _FIELD, "percent", "scattered light read from opaque pads", missing=True),
        Variable("exposed", _FIELD, "1", "whether the field was exposed", kind="b"),
        Variable("dose_reported", (), "mJ/cm2", "mean dose as the scanner's sensor reports it", low=0.0),
        Variable("lens_temperature", (), "degC", "mean lens temperature"),
        Variable("stage_vibration", (), "nm", "mean moving standard deviation of the stage", low=0.0),
    ),
    coords=(Variable("x", ("site",), "mm"), Variable("y", ("site",), "mm")),
)


def wafer_radius(wafer: xr.Dataset) -> float:
    """Radius of *wafer*, mm: half its nominal diameter or, without one, its outermost site."""
    if "diameter_mm" in wafer.attrs:
        return float(wafer.attrs["diameter_mm"]) / 2
    return max(float(np.hypot(wafer["x"].values, wafer["y"].values).max()), 1.0)


def printed_wafer(
    recipe: LithographyRecipe,
    wafer: xr.Dataset,
    condition: LithographyCondition,
    *,
    seed: int = 0,
    dose_noise: np.ndarray | float = 0.0,
    focus_noise: np.ndarray | float = 0.0,
    exposed: np.ndarray | None = None,
) -> xr.Dataset:
    """*wafer* after exposure of *recipe* on a scanner in *condition*.

    Pure: *seed* is recorded only. *dose_noise* (fraction) and *focus_noise* (nm), of shape (slot, site), add to what
    the condition does; fields where *exposed* is false carry no line, and NaN.
    """
    shape = (wafer.sizes["slot"], wafer.sizes["site"])
    errors = field_errors(condition, to_numpy(wafer["x"].values), to_numpy(wafer["y"].values), wafer_radius(wafer))
    focus = np.broadcast_to(errors.focus, shape) + focus_noise
    factor = np.broadcast_to(errors.dose, shape) * (1.0 + dose_noise)
    done = np.ones(shape, dtype=bool) if exposed is None else exposed
    defocus, rows = recipe.focus_nm + focus, factor
    if bool((focus == focus[:1]).all()) and bool((factor == factor[:1]).all()):
        defocus, rows = defocus[:1], factor[:1]
    width, nils = printed_line(recipe, defocus, recipe.dose_mj_cm2 * rows, condition)
    monitor = focus_monitor_shift(recipe, defocus, rows, condition)
    results = assembled(
        wafer,
        {
            "cd": np.where(done, width, np.nan),
            "nils": np.where(done, nils, np.nan),
            "focus_error": focus,
            "dose_error": 100.0 * (factor - 1.0),
            "dose_monitor": np.where(done, recipe.dose_mj_cm2 * factor, np.nan),
            "focus_monitor": np.where(done, monitor, np.nan),
            "exposed": done,
            "flare_monitor": np.where(done, 100.0 * condition.flare, np.nan),
            "dose_reported": np.asarray(condition.dose_reported(recipe)),
            "lens_temperature": np.asarray(condition.lens_temperature_c),
            "stage_vibration": np.asarray(condition.stage_vibration_nm),
        },
    )
    return SCHEMA.check(provenance.stamp(results, recipe, seed=seed, references=REFERENCES, illustrative=ILLUSTRATIVE))


def assembled(wafer: xr.Dataset, values: dict[str, np.ndarray]) -> xr.Dataset:
    """*wafer* with the chapter's variables added, each with its unit and name."""
    dims = {variable.name: variable.dims for variable in SCHEMA.variables}
    return SCHEMA.describe(wafer.assign({name: (dims[name], array) for name, array in values.items()}))


def wafer_signature(field: xr.DataArray, radius: float) -> dict[str, float]:
    """Least-squares ``tilt_x`` (per 100 mm) and ``bow`` (edge minus centre) of *field* over all slots and sites.

        f = a + b x/100 mm + c y/100 mm + d r²/R²

    NaN where any field is missing or the sites cannot tell the terms apart.
    """
    values = np.asarray(field.transpose("slot", "site").values, dtype=float).mean(axis=0)
    x, y = np.asarray(field["x"].values), np.asarray(field["y"].values)
    design = np.stack([np.ones_like(x), x / 100.0, y / 100.0, (x * x + y * y) / radius**2], axis=1)
    if not np.isfinite(values).all() or np.linalg.matrix_rank(design) < design.shape[1]:
        return {"tilt_x": float("nan"), "bow": float("nan")}
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    return {"tilt_x": float(solution[1]), "bow": float(solution[3])}
