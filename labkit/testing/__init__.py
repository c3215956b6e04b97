"""Contract kits: inherit a test case, name your plug-in, receive the whole specification.

A package that offers a process tests it with three lines (``pip install 'labkit[testing]'``)::

    from labkit.testing import ProcessTests

    class TestSpinCoating(ProcessTests):
        process_name = "spin_coating"

Nothing in labkit imports this package at run time.
"""

import pytest

pytest.register_assert_rewrite(
    "labkit.testing.subject",
    "labkit.testing.recipe_contract",
    "labkit.testing.declaration_contract",
    "labkit.testing.simulation_contract",
    "labkit.testing.twin_contract",
    "labkit.testing.metrology_contract",
)

from labkit.testing.process_contract import ProcessTests  # noqa: E402 (after the rewrite of assertions is arranged)

__all__ = ["ProcessTests"]
