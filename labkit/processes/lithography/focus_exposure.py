"""The focus–exposure matrix: line width and image quality over a grid of focus and dose, in one call."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from labkit.core import provenance
from labkit.core.errors import LabkitError
from labkit.core.schema import DatasetSchema, Variable
from labkit.processes.lithography.evidence import ILLUSTRATIVE_IMAGE, REFERENCES
from labkit.processes.lithography.exposure import printed_line
from labkit.processes.lithography.recipe import LithographyRecipe
from labkit.processes.lithography.scanner import LithographyCondition

FEM_SCHEMA = DatasetSchema(
    "focus-exposure matrix",
    (
        Variable("cd", ("focus", "dose"), "nm", "width of the printed line", low=0.0, missing=True),
        Variable(
            "nils", ("focus", "dose"), "1", "normalised image log slope at the printed edges", low=0.0, missing=True
        ),
    ),
    coords=(
        Variable("focus", ("focus",), "nm", "distance of the resist beyond best focus"),
        Variable("dose", ("dose",), "mJ/cm2", "dose at the wafer", low=0.0),
    ),
)


def rayleigh_unit(recipe: LithographyRecipe) -> float:
    """Defocus, nm, with a quarter-wave error at the pupil's edge: λ/(4 (n − √(n² − NA²))), λ/(2 NA²) at low NA.

    Reference: born1999.
    """
    n = recipe.immersion_index
    return recipe.wavelength_nm / (4.0 * (n - math.sqrt(n * n - recipe.na**2)))


def focus_exposure_matrix(
    recipe: LithographyRecipe,
    focus_nm: Sequence[float] | np.ndarray | None = None,
    dose_mj_cm2: Sequence[float] | np.ndarray | None = None,
    *,
    condition: LithographyCondition | None = None,
) -> xr.Dataset:
    """Line width and NILS of *recipe* at every focus and dose.

    Parameters
    ----------
    recipe : LithographyRecipe
        Mask, optics and resist; its own dose and focus only centre the default axes.
    focus_nm : sequence, optional
        Distances of the resist beyond best focus, ascending; 41 within 2.5 Rayleigh units of the recipe's focus.
    dose_mj_cm2 : sequence, optional
        Doses at the wafer, ascending; 25 from 25 % below to 25 % above the recipe's, evenly in ln dose.
    condition : LithographyCondition, optional
        Flare and vibration of the scanner; its focus and dose errors do not act, the axes being what the wafer gets.

    Returns
    -------
    xarray.Dataset
        ``cd(focus, dose)`` in nm and ``nils(focus, dose)``, NaN where no line prints.

    Raises
    ------
    LabkitError
        If an axis is empty, not ascending, not finite, or a dose is not positive.
    """
    state = condition or LithographyCondition()
    reach = rayleigh_unit(recipe)
    focus = _axis(
        "focus_nm", recipe.focus_nm + np.linspace(-2.5 * reach, 2.5 * reach, 41) if focus_nm is None else focus_nm
    )
    dose = _axis(
        "dose_mj_cm2", recipe.dose_mj_cm2 * np.geomspace(0.75, 1.25, 25) if dose_mj_cm2 is None else dose_mj_cm2
    )
    if dose[0] <= 0.0:
        raise LabkitError(f"dose of {dose[0]:g} mJ/cm²", allowed="above 0")
    width, nils = printed_line(recipe, focus[:, None], dose, state)
    matrix = xr.Dataset(
        {"cd": (("focus", "dose"), width), "nils": (("focus", "dose"), nils)},
        coords={"focus": focus, "dose": dose},
        attrs={"cd_target_nm": recipe.cd_target_nm, "cd_tolerance_pct": recipe.cd_tolerance_pct},
    )
    provenance.stamp(matrix, recipe, seed=0, references=REFERENCES, illustrative=ILLUSTRATIVE_IMAGE)
    return FEM_SCHEMA.check(FEM_SCHEMA.describe(matrix))


def _axis(name: str, values: Sequence[float] | np.ndarray) -> np.ndarray:
    axis = np.asarray(values, dtype=float).reshape(-1)
    if axis.size == 0 or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any():
        raise LabkitError(
            f"{name} does not ascend",
            allowed="one or more finite numbers, each above the last",
            fix=f"sort {name} and drop repeats",
        )
    return axis
