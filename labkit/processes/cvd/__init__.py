"""Chemical vapour deposition: surface kinetics, a hot-wall tube, its wafers and its equipment in time."""

from labkit.processes.cvd.process import ChemicalVapourDeposition
from labkit.processes.cvd.recipe import CVDRecipe

__all__ = ["CVDRecipe", "ChemicalVapourDeposition"]
