"""What a run costs: tool time and wafers, at rates that the fab states per tool."""

from __future__ import annotations

from labkit.core.recipe import Strict, knob


class Rates(Strict):
    """Cost rates of one tool, in one currency; all zero until a fab states its own."""

    currency: str = "EUR"
    per_hour: float = knob(0.0, units="1/h", description="Tool time", ge=0.0)
    per_wafer: float = knob(0.0, units="1", description="Consumables per wafer", ge=0.0)
    per_run: float = knob(0.0, units="1", description="Fixed cost of a start", ge=0.0)


def run_cost(rates: Rates, *, seconds: float, wafers: int) -> float:
    """Cost of one run of *seconds* on *wafers*."""
    return rates.per_run + rates.per_hour * seconds / 3600.0 + rates.per_wafer * wafers
