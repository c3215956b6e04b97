"""The conformance suite of a process: everything the rest of labkit relies on, as tests a chapter inherits."""

from __future__ import annotations

from labkit.testing.declaration_contract import DeclarationContract
from labkit.testing.metrology_contract import MetrologyContract
from labkit.testing.recipe_contract import RecipeContract
from labkit.testing.simulation_contract import SimulationContract
from labkit.testing.twin_contract import TwinContract


class ProcessTests(DeclarationContract, RecipeContract, SimulationContract, TwinContract, MetrologyContract):
    """Everything a process must keep, by theme; inherit it and set ``process_name``.

    * :class:`DeclarationContract`: units, faults, knobs, limits, interlocks say what they promise.
    * :class:`RecipeContract`: documents become a recipe or a clear refusal, never anything else.
    * :class:`SimulationContract`: the physics is a pure function that keeps its schema.
    * :class:`TwinContract`: the equipment in time is reproducible, however it is stepped, and may be stopped.
    * :class:`MetrologyContract`: measurements are honest and a healthy run looks healthy.

    Class attributes
    ----------------
    process_name : str
        The name under which the process is registered.
    mutated_simulations : int
        How many of the mutated recipes that are accepted are also simulated.
    """
