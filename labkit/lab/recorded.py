"""A judgement as it was recorded: attributes over the stored document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RecordedDiagnosis:
    """Cause of a departure as recorded: ``verdict`` names it; ``candidates`` are ranked, with size, interval and
    advice."""

    verdict: str
    significance: float
    runs: int
    candidates: tuple[Mapping[str, Any], ...]


class RecordedJudgement:
    """Verdict, headline, advice, residuals and charts of a finished run, read from its record."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    @property
    def verdict(self) -> str:
        """``"pass"``, ``"fail"`` or ``"anomaly"``."""
        return str(self._document["verdict"])

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        return str(self._document["headline"])

    @property
    def advice(self) -> str:
        """What to do about it."""
        return str(self._document["advice"])

    @property
    def evidence(self) -> str:
        """The chart that signalled, in words; empty when none did."""
        return str(self._document["evidence"])

    @property
    def residuals(self) -> dict[str, float]:
        """Measured against physics, per indicator, in the indicator's residual unit."""
        return _numbers(self._document["residuals"])

    @property
    def z(self) -> dict[str, float]:
        """Residuals in standard deviations of the baseline; empty before qualification."""
        return _numbers(self._document["z"])

    @property
    def charts(self) -> dict[str, dict[str, float]]:
        """Per indicator: z and its width, both CUSUM sums and their decision interval h."""
        return {name: _numbers(chart) for name, chart in self._document["charts"].items()}

    @property
    def alarms(self) -> tuple[Mapping[str, Any], ...]:
        """Charts that signalled, strongest first."""
        return tuple(self._document["alarms"])

    @property
    def violations(self) -> tuple[str, ...]:
        """Limits on results that were broken, in words."""
        return tuple(self._document["violations"])

    @property
    def diagnosis(self) -> RecordedDiagnosis | None:
        """The cause, where a chart signalled."""
        found = self._document["diagnosis"]
        if found is None:
            return None
        return RecordedDiagnosis(found["verdict"], found["significance"], found["runs"], tuple(found["candidates"]))

    def document(self) -> dict[str, Any]:
        """The record itself."""
        return dict(self._document)

    def __repr__(self) -> str:
        lines = [f"{self.verdict}: {self.headline}", *(f"  {v}" for v in self.violations)]
        return "\n".join(lines + ([f"  advice: {self.advice}"] if self.advice else []))


def _numbers(mapping: Mapping[str, Any]) -> dict[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in mapping.items()}
