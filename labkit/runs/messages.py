"""What is said about a run while it goes on: seven types of message, in memory as models and on the wire as JSON.

Type, timestamp and the names in ``data`` are those of the seed's WebSocket protocol (seed 002, section 2.9); two fields
are added: ``sequence``, from which a reader can resume, and ``missed``, which states a gap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, TypeAdapter, ValidationError

from labkit.core.errors import Corrupted
from labkit.store.documents import dumps

TIME = "time_s"
"""The channel of a telemetry message that holds s since the start of the run."""


class _Said(BaseModel):
    """Base of what messages hold. Fields that a later labkit added are ignored, so that older readers go on."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)


class Missed(_Said):
    """A gap before a message: *count* messages between the sequences *first* and *last* were not delivered.

    ``count`` and ``last`` are None where nobody knows: the journal was removed before it was read to its end. All that
    was measured is in the finished run.
    """

    count: int | None
    first: int
    last: int | None


class ConnectedData(_Said):
    """The run as it was when the reader connected: progress in %, status as in the catalogue."""

    run_id: str
    status: str
    progress: float


class ProgressData(_Said):
    """How far the run is, in %, what is being done, and the state of the run."""

    progress: float = Field(ge=0.0, le=100.0)
    current_step: str
    status: str


class AlertData(_Said):
    """A channel or indicator that left its limits."""

    parameter: str
    message: str
    severity: Literal["info", "warning", "critical"]


class CompletedData(_Said):
    """How the run ended: its state, verdict, indicator values (None: not known), headline and folder."""

    status: str
    verdict: str | None = None
    results: dict[str, float | None] = {}
    headline: str = ""
    folder: str | None = None


class ErrorData(_Said):
    """Why the run failed, what to do, and the error's code."""

    error_message: str
    fix: str | None = None
    error_code: str | None = None


class CancelledData(_Said):
    """That the run was cancelled, and by whom or why."""

    message: str


def _arrays(given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    return {str(name): _array(values) for name, values in given.items()}


def _array(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    if any(isinstance(value, str) for value in values):
        return np.array(values)
    return np.array([np.nan if value is None else value for value in values], dtype=float)


class _Message(_Said):
    """What every message has: when it was said (UTC), its place in the journal, and the gap before it, if any."""

    final: ClassVar[bool] = False

    timestamp: datetime
    sequence: int
    missed: Missed | None = None
    _json: str | None = PrivateAttr(None)

    def to_json(self) -> str:
        """The message as JSON text; arrays become lists, values that are not finite null."""
        if self._json is None:
            self._json = dumps(self._plain_data())
        head: dict[str, Any] = {
            "type": self.type,  # type: ignore[attr-defined]
            "timestamp": self.timestamp.isoformat().replace("+00:00", "Z"),
            "sequence": self.sequence,
            **self._more(),
        }
        if self.missed is not None:
            head["missed"] = self.missed.model_dump()
        # A thousand readers of one run share the message, and so the long part of its text.
        return f'{json.dumps(head)[:-1]}, "data": {self._json}}}'

    def _plain_data(self) -> Any:
        return self.data.model_dump()  # type: ignore[attr-defined]

    def _more(self) -> dict[str, Any]:
        return {}


class Connected(_Message):
    """The first message to every reader; its sequence is the one it resumes after."""

    type: Literal["connected"] = "connected"
    data: ConnectedData


class Progress(_Message):
    """Progress, a new step, or a change of the run's state."""

    type: Literal["progress"] = "progress"
    data: ProgressData


class TelemetryMessage(_Message):
    """Consecutive samples: ``data`` maps channel names, among them ``time_s``, to 1-D arrays of one length.

    ``first_sample`` is the place of the first one in the run, from 0. The arrays must not be written to.
    """

    type: Literal["telemetry"] = "telemetry"
    first_sample: int = 0
    data: Annotated[dict[str, np.ndarray], BeforeValidator(_arrays)]

    def _plain_data(self) -> Any:
        return {name: values.tolist() for name, values in self.data.items()}

    def _more(self) -> dict[str, Any]:
        return {"first_sample": self.first_sample}


class Alert(_Message):
    """Something left its limits."""

    type: Literal["alert"] = "alert"
    data: AlertData


class Completed(_Message):
    """The run is over and judged; nothing follows."""

    final: ClassVar[bool] = True
    type: Literal["completed"] = "completed"
    data: CompletedData


class Error(_Message):
    """The run failed; nothing follows."""

    final: ClassVar[bool] = True
    type: Literal["error"] = "error"
    data: ErrorData


class Cancelled(_Message):
    """The run was cancelled; nothing follows."""

    final: ClassVar[bool] = True
    type: Literal["cancelled"] = "cancelled"
    data: CancelledData


Message = Connected | Progress | TelemetryMessage | Alert | Completed | Error | Cancelled
"""Any of the seven. ``message.type`` says which; ``message.final`` whether it is a run's last."""

_ANY: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def message_from(document: Mapping[str, Any]) -> Message:
    """The message that *document* (``type``, ``timestamp``, ``sequence``, ``data`` …) describes.

    Raises
    ------
    Corrupted
        If it describes none.
    """
    try:
        return _ANY.validate_python(dict(document))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Corrupted(f"a message cannot be read: {where}: {first['msg']}", allowed="the seven types") from None


def message_from_json(text: str) -> Message:
    """The message that :meth:`to_json` wrote; lists of numbers become arrays again.

    Raises
    ------
    Corrupted
        If *text* is something else.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Corrupted(f"a message cannot be read ({error})") from None
    if not isinstance(found, dict):
        raise Corrupted("a message cannot be read: it is no JSON object")
    return message_from(found)
