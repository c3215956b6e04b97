"""Every point at which a process of labkit commits, flushes, renames, sends or starts something, and what may follow.

``test_crash_points`` finds the points by tracing, compares them with this list, and kills a process at each. A point
stands where it is reached for certain; what depends on the time a run takes stands with the runs that take seconds.
"""

from __future__ import annotations

ROLES = ("notebook", "worker", "tool")

POINTS: dict[str, dict[str, tuple[str, ...]]] = {
    "run": {
        "notebook": (
            "commit lab.job_desk.JobDesk.submit",
            "start runs.hiring.ensure_worker",
            "fsync store.audit._key",
            "fsync store.audit._sign",
        ),
        "worker": (
            "commit runs.worker.Worker.run",
            "commit runs.worker.Worker._keep_house",
            "commit runs.work.admit",
            "commit runs.work._admit_run",
            "commit runs.work._admit_run#2",
            "commit runs.work.claim",
            "commit runs.work._run#2",
            "start devices.launch._start",
            "send devices.launch.reachable",
            "send devices.launch.reachable#2",
            "send devices.connection.Connection.open",
            "send devices.remote.RemoteTool.connect",
            "send devices.remote.RemoteTool.configure",
            "send devices.remote.RemoteTool.load",
            "send devices.remote.RemoteTool.start",
            "commit runs.carry.carry_out",
            "send devices.remote.RemoteTool.telemetry",
            "send devices.remote.RemoteTool.ledger",
            "send devices.remote.RemoteTool.unload",
            "send devices.remote.RemoteTool.measure",
            "fsync store.staging.LocalStaged.__init__",
            "fsync store.staging.LocalStaged.__init__#2",
            "fsync store.staging.LocalStaged.__init__#2#2",
            "fsync store.staging.LocalStaged.publish",
            "rename store.staging.LocalStaged.publish",
            "fsync store.staging.LocalStaged.publish#2",
            "commit runs.conclude.conclude",
            "send devices.remote.RemoteTool.release",
            "commit runs.worker.Worker._sign_off",
        ),
        "tool": (
            "ledger devices.simulated.SimulatedTool._open",
            "replace devices.endpoint.publish",
            "send devices.server.Server._greeted",
            "send devices.server.Server._greeted#2",
            "send answer of status",
            "send answer of configure",
            "send answer of load",
            "ledger devices.simulated.SimulatedTool._start",
            "ledger devices.execution.Execution._live",
            "send answer of start",
            "ledger devices.execution.Execution._flush",
            "send devices.server.Server._telemetry#2",
            "ledger devices.execution.Execution._finally",
            "send devices.server.Server._telemetry#3",
            "send answer of ledger",
            "send answer of unload",
            "send answer of measure",
            "ledger devices.kept_runs.KeptRuns.release",
            "send answer of release",
        ),
    },
    "cancel": {
        "notebook": ("commit runs.jobs.cancel",),
        "worker": (
            "commit runs.live.Live.progress",
            "fsync store.journal.Journals.writer",
            "journal store.journal.Journals.writer",
            "journal runs.live.Live.progress",
            "journal store.journal_writer.JournalWriter._write_on_time",
            "send devices.remote.RemoteTool.status",
            "commit runs.live.Live.note",
            "send devices.stop_channel._ask_to_stop",
            "send devices.stop_channel._ask_to_stop#2",
            "commit runs.conclude.put_away#2",
            "journal runs.live.Live.cancelled",
        ),
        "tool": (
            "send devices.stop_channel.StopChannel._converse",
            "send devices.stop_channel.StopChannel._converse#3",
            "ledger devices.simulated.SimulatedTool.stop_now",
            "send devices.stop_channel.StopChannel._converse#5",
        ),
    },
    "pause": {
        "notebook": ("commit runs.jobs._set",),
        "worker": (
            "send devices.remote.RemoteTool.pause",
            "commit runs.carry._held",
            "send devices.remote.RemoteTool.resume",
            "journal runs.live.Live.safe",
            "fsync runs.live.Live.safe",
            "send devices.remote.RemoteTool.acknowledge",
            "journal runs.live.Live.completed",
        ),
        "tool": (
            "ledger devices.simulated.SimulatedTool.pause",
            "send answer of pause",
            "ledger devices.simulated.SimulatedTool.resume",
            "send answer of resume",
            "ledger devices.kept_runs.KeptRuns.acknowledge",
            "send answer of acknowledge",
        ),
    },
    "retry": {
        "notebook": (
            "ledger devices.stop_channel._latch",
            "send devices.connection.Connection.open",
            "send devices.remote.RemoteTool.reset",
            "commit lab.tool_shed.ToolShed.set_tool_state",
        ),
        "worker": ("commit runs.endings.not_started",),
        "tool": ("ledger devices.simulated.SimulatedTool.reset", "send answer of reset"),
    },
    "calibrate": {
        "notebook": ("commit lab.job_desk.JobDesk.submit_calibration",),
        "worker": (
            "commit runs.work._admit_other",
            "commit runs.work._calibrate",
            "send devices.remote.RemoteTool.calibrate",
            "commit runs.work._calibrated",
        ),
        "tool": ("ledger devices.upkeep.Upkeep._remember", "send answer of calibrate"),
    },
    "sweep": {
        "notebook": ("commit runs.sweep_job.submit_sweep",),
        "worker": (
            "commit runs.sweep_job.compute_sweep",
            "commit runs.sweep.run_sweep",
            "fsync store.artifacts.Artifacts._write",
            "replace store.artifacts.Artifacts._write",
            "commit runs.sweep._compute",
            "commit runs.sweep._finish",
        ),
    },
}
"""Points by what is being done and by the process that reaches them."""

BY_CHANCE = {
    "worker": ("fsync store.audit._key", "fsync store.audit._sign"),
}
"""Points that one of two processes reaches, whichever comes first: each is killed at in the other one."""

SUBMITTED = {
    "commit lab.job_desk.JobDesk.submit",
    "commit lab.job_desk.JobDesk.submit_calibration",
    "commit runs.sweep_job.submit_sweep",
}
CALIBRATING = {
    ("after", "commit runs.work._calibrate"),
    ("before", "send devices.remote.RemoteTool.calibrate"),
    ("after", "send devices.remote.RemoteTool.calibrate"),
    ("before", "commit runs.work._calibrated"),
}
"""Where only the tool knows whether it was calibrated, and a calibration has no ledger entry of its own."""
_DURING = {
    ("after", "ledger devices.simulated.SimulatedTool._start"),
    ("before", "ledger devices.execution.Execution._live"),
    ("after", "ledger devices.execution.Execution._live"),
    ("before", "ledger devices.execution.Execution._flush"),
    ("after", "ledger devices.execution.Execution._flush"),
    ("before", "ledger devices.execution.Execution._finally"),
}
_EITHER = {"send answer of start", "send devices.server.Server._telemetry#2"}
"""A short run may or may not be over when the tool says this."""


def expected(scenario: str, role: str, moment: str, point: str) -> set[str]:
    """The states in which the run may end when *role* was killed at *point*; empty: it was never handed in.

    The death of a notebook or a worker never loses a run. The death of a tool costs the run that it was executing,
    and no other.
    """
    if role == "tool":
        return _without_the_tool(scenario, moment, point)
    if role == "notebook" and ((moment == "before" and point in SUBMITTED) or "_latch" in point):
        return set()
    if scenario == "cancel":
        if role == "notebook":
            return {"CANCELLED" if moment == "after" else "COMPLETED"}
        return {"CANCELLED", "COMPLETED"}
    return {"ENGINEER_REVIEW"} if (moment, point) in CALIBRATING else {"COMPLETED"}


def _without_the_tool(scenario: str, moment: str, point: str) -> set[str]:
    if scenario == "calibrate":
        answered = (moment, point) == ("after", "send answer of calibrate")
        return {"FAILED", "ENGINEER_REVIEW"} | ({"COMPLETED"} if answered else set())
    if point in _EITHER:
        return {"COMPLETED", "ENGINEER_REVIEW"}
    if scenario == "cancel":
        stopped = point.endswith("#5") or (moment == "after" and point.endswith("stop_now"))
        return {"CANCELLED", "ENGINEER_REVIEW"} if stopped else {"ENGINEER_REVIEW"}
    return {"ENGINEER_REVIEW"} if scenario == "pause" or (moment, point) in _DURING else {"COMPLETED"}


def judge(scenario: str, role: str, moment: str, point: str, states: list[str]) -> list[str]:
    """What is wrong with the *states* of the lab's runs (there is one at most) after that."""
    allowed = expected(scenario, role, moment, point)
    if not allowed:
        return [] if not states else [f"a run that was never handed in is {', '.join(states)}"]
    if len(states) != 1 or states[0] not in allowed:
        return [f"the runs are {', '.join(states) or 'lost'}, not {' or '.join(sorted(allowed))}"]
    return []
