"""The conformance suite of a tool: what jobs, notebooks and recovery rely on, as tests a driver inherits."""

from __future__ import annotations

from labkit.testing.device_start_contract import DeviceStartContract
from labkit.testing.device_stop_contract import DeviceStopContract
from labkit.testing.device_telemetry_contract import DeviceTelemetryContract


class DeviceTests(DeviceStartContract, DeviceTelemetryContract, DeviceStopContract):
    """Everything a tool must keep, simulated or real; inherit it, set ``process_name`` and say how to open the tool::

        class TestMyTube(DeviceTests):
            process_name = "cvd"

            def open_tool(self, folder, *, quick):
                return MyTube("T1", port=...)

    * :class:`DeviceStartContract`: the right recipe, once, under the newest fence, with every interlock closed.
    * :class:`DeviceTelemetryContract`: telemetry without gap or repeat; wafers and metrology until released.
    * :class:`DeviceStopContract`: pause, stop and emergency stop; what is left after the tool was killed.

    Class attributes
    ----------------
    process_name : str
        The registered process of the tool.
    recipe : Recipe
        What it runs; default: the process's first example.
    calibrates : str
        A channel that can be calibrated; default: the field of the process's first fault mode.

    Hooks
    -----
    open_tool(folder, *, quick)
        The tool, keeping what must last in *folder*. ``quick=True``: its runs end as soon as they can; else they last
        a minute or more and deliver telemetry at least once a second.
    close_tool(tool), kill_tool(tool), open_interlock(tool, name), close_interlock(tool, name)
        Optional; what cannot be done is skipped, visibly.
    """
