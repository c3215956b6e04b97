"""Telling how a run is going: messages go into its journal, for anybody to follow."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

from labkit.core.process import Telemetry
from labkit.core.wire import pack_telemetry
from labkit.runs.messages import AlertData, CancelledData, CompletedData, ErrorData, ProgressData
from labkit.store.journal import Journals


class StreamWriter:
    """Tells the world how a run is going; messages are in the journal within 50 ms, a change of state at once.

    Parameters
    ----------
    journals : Journals
        The lab's journals.
    run_id : str
        The run; its journal is continued where there is one.
    """

    def __init__(self, journals: Journals, run_id: str) -> None:
        self.run_id = run_id
        self._journal = journals.writer(run_id)
        self._status: str | None = None

    @property
    def last(self) -> int:
        """The sequence of the newest message."""
        return self._journal.last

    def progress(self, percent: float, step: str, status: str) -> int:
        """Progress (0 to 100), what is being done, and the state of the run; returns the message's sequence."""
        data = ProgressData(progress=min(max(percent, 0.0), 100.0), current_step=step, status=str(status))
        sequence = self._say("progress", data.model_dump())
        if data.status != self._status:
            self._status = data.status
            self._journal.flush()
        return sequence

    def telemetry(self, block: bytes | Telemetry, first_sample: int = 0) -> int:
        """Consecutive samples, packed (:func:`labkit.core.wire.pack_telemetry`) or as arrays, with the place of the
        first in the run."""
        packed = block if isinstance(block, bytes) else pack_telemetry(block)
        return self._journal.append("telemetry", {"first_sample": first_sample}, packed)

    def alert(self, parameter: str, message: str, severity: Literal["info", "warning", "critical"] = "warning") -> int:
        """Something left its limits."""
        data = AlertData(parameter=parameter, message=message, severity=severity)
        return self._say("alert", data.model_dump())

    def completed(
        self,
        status: str,
        *,
        verdict: str | None = None,
        results: Mapping[str, float] | None = None,
        headline: str = "",
        folder: str | None = None,
    ) -> int:
        """The run is over and judged. Written before this returns."""
        return self._end(
            "completed",
            CompletedData(
                status=str(status),
                verdict=verdict,
                results={name: value if value == value else None for name, value in (results or {}).items()},
                headline=headline,
                folder=folder,
            ),
        )

    def error(self, message: str, *, fix: str | None = None, code: str | None = None) -> int:
        """The run failed. Written before this returns."""
        return self._end("error", ErrorData(error_message=message, fix=fix, error_code=code))

    def cancelled(self, message: str = "Run was cancelled") -> int:
        """The run was cancelled. Written before this returns."""
        return self._end("cancelled", CancelledData(message=message))

    def flush(self, *, durable: bool = False) -> int:
        """Write everything so far, *durable* against a loss of power too; the sequence up to which all is safe."""
        return self._journal.flush(durable=durable)

    def close(self) -> None:
        """Write what is waiting and let another writer have the journal."""
        self._journal.close()

    def _say(self, kind: str, data: Mapping[str, Any]) -> int:
        return self._journal.append(kind, {"data": data})

    def _end(self, kind: str, data: CompletedData | ErrorData | CancelledData) -> int:
        sequence = self._say(kind, data.model_dump())
        self._journal.flush()
        return sequence

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
