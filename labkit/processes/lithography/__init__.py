"""Lithography: partially coherent image of a grating, constant-threshold line width, process window, scanner twin."""

from labkit.processes.lithography.exposure import dose_to_size
from labkit.processes.lithography.focus_exposure import focus_exposure_matrix
from labkit.processes.lithography.process import Lithography
from labkit.processes.lithography.process_window import bossung, process_window
from labkit.processes.lithography.recipe import LithographyRecipe
from labkit.processes.lithography.scanner import LithographyCondition

__all__ = [
    "Lithography",
    "LithographyCondition",
    "LithographyRecipe",
    "bossung",
    "dose_to_size",
    "focus_exposure_matrix",
    "process_window",
]
