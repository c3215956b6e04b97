"""The chapter contract: what a process must offer so that everything else in labkit works for it.

A process is stateless. Its physics is ``simulate``: a pure function from recipe, incoming wafers and equipment
condition to a Dataset. Its equipment in time is a :class:`Twin`. Everything the loop needs beyond that (what to
predict, what to watch, which knobs may move, which faults are conceivable) is declared as data.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np

from labkit.core.errors import LabkitError
from labkit.core.limits import Limit
from labkit.core.recipe import Recipe, Strict
from labkit.core.schema import DatasetSchema

if TYPE_CHECKING:
    import xarray as xr

Telemetry = dict[str, np.ndarray]
"""One block of telemetry: channel name to 1-D array, all of one length, always with ``"time"`` in s since start."""


@dataclass(frozen=True)
class Channel:
    """One telemetry channel: name (with its unit, as the seed's), unit, meaning and NumPy dtype."""

    name: str
    units: str
    description: str
    dtype: str = "float32"


@dataclass(frozen=True)
class Indicator:
    """A scalar that is predicted, measured, charted and judged.

    ``residual`` says how measured and expected values are compared: ``"ratio"`` is ln(measured/expected),
    ``"difference"`` is measured − expected in ``units``. ``source`` is ``"metrology"`` (known after the run is
    measured) or ``"telemetry"`` (known when it ends). ``sigma`` is a stated guess of its run-to-run standard
    deviation (of the residual), used until a qualified baseline has measured it.
    """

    name: str
    units: str
    description: str
    source: str = "metrology"
    residual: str = "ratio"
    sigma: float = 0.01

    def compare(self, measured: float, expected: float) -> float:
        """Residual of *measured* against *expected*; NaN where a ratio does not exist."""
        if self.residual == "difference":
            return measured - expected
        return float(np.log(measured / expected)) if measured > 0.0 and expected > 0.0 else float("nan")

    def restore(self, residual: float, expected: float) -> float:
        """The measured value that has *residual* against *expected* (inverse of :meth:`compare`)."""
        return expected + residual if self.residual == "difference" else expected * float(np.exp(residual))


@dataclass(frozen=True)
class Knob:
    """A scalar that may be moved: recipe path, range and unit. ``log`` knobs act multiplicatively."""

    path: str
    low: float
    high: float
    units: str
    log: bool = False


@dataclass(frozen=True)
class FaultMode:
    """A way equipment departs from nominal: which condition field moves, and by how much is one unit step.

    ``path`` addresses a field of the process's :class:`Condition` (``"mfc_gain.SiH4"``); ``step`` is a
    typical small magnitude for sensitivities, and ``title`` says in words what a departure by it is; ``opposite`` names
    one of the other sign (if there can be one); ``advice`` says what to do.
    """

    name: str
    path: str
    step: float
    title: str
    advice: str
    opposite: str = ""

    def words(self, steps: float) -> str:
        """What a departure by *steps* steps is called."""
        return self.opposite if steps < 0.0 and self.opposite else self.title


@dataclass(frozen=True)
class Steering:
    """The one knob that run-to-run control moves to keep one indicator at *target* (same unit as the indicator)."""

    indicator: str
    knob: Knob
    target: float


class Condition(Strict):
    """State of the equipment; defaults are nominal. Subclasses add one field per thing that can depart."""

    def value(self, path: str) -> float:
        """The number at *path*; a mapping entry that is absent reads as the mapping's nominal (1 for gains, else 0)."""
        head, _, key = path.partition(".")
        if head not in type(self).model_fields:
            raise LabkitError(
                f"{type(self).__name__} has no field {head!r}", allowed=", ".join(type(self).model_fields)
            )
        found = getattr(self, head)
        if key:
            return float(found.get(key, 1.0 if head.endswith("gain") else 0.0))
        return float(found)

    def shifted(self, path: str, amount: float) -> Self:
        """A copy with *amount* added to the number at *path*."""
        head, _, key = path.partition(".")
        moved = self.value(path) + amount
        document = self.model_dump()
        if key:
            document[head] = {**document[head], key: moved}
        else:
            document[head] = moved
        return type(self).model_validate(document)


class Twin(Protocol):
    """Equipment and wafers in time for one run. Advancing is deterministic given its seed, block size included:
    ``advance(2)`` twice gives the same samples as ``advance(4)`` once."""

    @property
    def samples(self) -> int:
        """Telemetry samples of the whole run."""

    @property
    def done(self) -> int:
        """Samples already delivered."""

    def advance(self, samples: int) -> Telemetry:
        """The next *samples* samples (fewer at the end)."""

    def finish(self) -> xr.Dataset:
        """What the wafers became, given how far the run got. Exact: metrology adds its own error."""


@dataclass(frozen=True)
class Finding:
    """Something pre-flight has to say about a recipe on a tool: ``blocking`` ones stop it; ``fix`` says what to do."""

    message: str
    fix: str = ""
    blocking: bool = False


class Process(abc.ABC):
    """One chapter: a process that labkit can predict, run, judge and learn from.

    Class attributes declare what is data; methods hold what is physics. A process has no state and does no I/O.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    recipe_type: ClassVar[type[Recipe]]
    condition_type: ClassVar[type[Condition]]
    schema: ClassVar[DatasetSchema]
    channels: ClassVar[tuple[Channel, ...]]
    indicators: ClassVar[tuple[Indicator, ...]]
    fault_modes: ClassVar[tuple[FaultMode, ...]] = ()
    limits: ClassVar[tuple[Limit, ...]] = ()
    interlocks: ClassVar[tuple[str, ...]] = ()
    safe_state: ClassVar[str] = "all sources off"
    sample_period_s: ClassVar[float] = 1.0

    @abc.abstractmethod
    def example_recipes(self) -> tuple[Recipe, ...]:
        """Recipes that run as they stand; the first is the default."""

    @abc.abstractmethod
    def incoming_wafers(self, recipe: Recipe) -> xr.Dataset:
        """A full load of blank wafers for *recipe* (dims ``slot``, ``site``)."""

    @abc.abstractmethod
    def simulate(
        self, recipe: Recipe, wafer: xr.Dataset, *, condition: Condition | None = None, seed: int = 0
    ) -> xr.Dataset:
        """Quasi-steady physics: what *recipe* does to *wafer* on equipment in *condition*. Pure, noise-free."""

    @abc.abstractmethod
    def twin(self, recipe: Recipe, wafer: xr.Dataset, *, condition: Condition | None = None, seed: int = 0) -> Twin:
        """The equipment in time, with sensor noise from *seed*."""

    @abc.abstractmethod
    def measure(self, truth: xr.Dataset, *, seed: int) -> xr.Dataset:
        """Metrology: *truth* as instruments would report it, with their error from *seed*."""

    @abc.abstractmethod
    def summarise(self, recipe: Recipe, results: xr.Dataset, telemetry: xr.Dataset | None = None) -> dict[str, float]:
        """Indicator values from *results* and, where given, *telemetry* (dim ``time``).

        Without telemetry the telemetry indicators are read from what ``simulate`` wrote into *results*.
        """

    def expected(self, recipe: Recipe, wafer: xr.Dataset, condition: Condition | None = None) -> dict[str, float]:
        """Noise-free indicators for *recipe* on equipment in *condition*."""
        return self.summarise(recipe, self.simulate(recipe, wafer, condition=condition))

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Whether decoded JSON without a ``process`` key looks like this process's recipe."""
        return False

    def family(self, recipe: Recipe) -> str:
        """Recipes of one family share a baseline and a residual model (same film, same structure); default: all."""
        return self.name

    def parse(self, document: Mapping[str, Any]) -> Recipe:
        """A recipe of this process from decoded JSON."""
        return self.recipe_type.parse(document)

    def findings(self, recipe: Recipe) -> tuple[Finding, ...]:
        """What the equipment cannot follow in *recipe*, or does differently (stretched ramps …)."""
        return ()

    def knobs(self, recipe: Recipe) -> tuple[Knob, ...]:
        """Scalars that may be moved to mend or tune *recipe*; also the inputs of residual models and sweeps."""
        return ()

    def steering(self, recipe: Recipe) -> Steering | None:
        """How run-to-run control would correct *recipe*; none by default."""
        return None

    def targets(self, recipe: Recipe) -> tuple[Limit, ...]:
        """Limits on indicators that follow from the recipe's own targets."""
        return ()

    def __repr__(self) -> str:
        return f"<process {self.name}: {self.title}>"
