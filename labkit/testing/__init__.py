"""Contract kits: inherit a test case, name your plug-in, receive the whole specification.

A package that offers a process tests it with three lines (``pip install 'labkit[testing]'``)::

    from labkit.testing import ProcessTests

    class TestSpinCoating(ProcessTests):
        process_name = "spin_coating"

A driver of a tool is tested in the same way with ``DeviceTests``.

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
    "labkit.testing.device_subject",
    "labkit.testing.device_start_contract",
    "labkit.testing.device_telemetry_contract",
    "labkit.testing.device_stop_contract",
)

from labkit.testing.device_contract import DeviceTests  # noqa: E402 (after the rewrite of assertions is arranged)
from labkit.testing.process_contract import ProcessTests  # noqa: E402

__all__ = ["DeviceTests", "ProcessTests"]
