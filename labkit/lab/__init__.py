"""The Lab: what a notebook opens. It ties store, tools and runs together; nothing below imports it."""

import labkit.accessor  # noqa: F401 (gives every Dataset its .lab)
from labkit.lab.handle import Run
from labkit.lab.job import Batch, Job
from labkit.lab.opening import load_recipe, open, restore
from labkit.lab.workbench import Lab

__all__ = ["Batch", "Job", "Lab", "Run", "load_recipe", "open", "restore"]
