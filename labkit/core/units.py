"""Physical units: one registry, UDUNITS spelling, and the few conversions that recipes need.

``sccm`` is a *molar flow*: one cubic centimetre per minute of ideal gas at 0 °C and 101325 Pa
(SEMI E12 reference condition), i.e. 7.4358e-7 mol/s.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from labkit.core.errors import UnitError

if TYPE_CHECKING:
    import pint

GAS_CONSTANT = 8.314462618
"""Molar gas constant, J/(mol K) (CODATA 2018, exact to the digits given)."""
BOLTZMANN_EV = 8.617333262e-5
"""Boltzmann constant, eV/K (CODATA 2018)."""
ZERO_CELSIUS = 273.15
"""0 °C in kelvin (exact)."""
STANDARD_PRESSURE = 101325.0
"""Standard atmosphere, Pa (exact)."""
TORR = STANDARD_PRESSURE / 760.0
"""One torr in Pa (exact)."""
SCCM = 1e-6 / 60.0 * STANDARD_PRESSURE / (GAS_CONSTANT * ZERO_CELSIUS)
"""One sccm in mol/s."""
_UDUNITS_POWER = re.compile(r"(?<=[A-Za-zµÅ])([-+]?\d+)\b")
"""A power as UDUNITS writes it, ``cm2`` or ``s-1``; pint reads ``cm**2``."""


@lru_cache(maxsize=1)
def registry() -> pint.UnitRegistry[Any]:
    """The unit registry (pint), loaded on first use."""
    import pint

    units: pint.UnitRegistry[Any] = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    units.define(f"sccm = {SCCM!r} mole / second")
    units.define("slm = 1000 * sccm")
    return units


@lru_cache(maxsize=1024)
def _parsed(units: str) -> Any:
    if units == "1":
        return registry().dimensionless
    for spelling in dict.fromkeys((units, _UDUNITS_POWER.sub(r"**\1", units))):
        with suppress(Exception):
            return registry().parse_units(spelling)
    raise UnitError(
        f"unknown unit {units!r}",
        allowed="UDUNITS spelling such as 'nm', 'nm/min', 'degC', 'mJ/cm2'",
        fix="correct attrs['units']",
    )


@lru_cache(maxsize=4096)
def same_dimension(first: str, second: str) -> bool:
    """Whether two unit strings measure the same kind of quantity.

    Raises
    ------
    UnitError
        If either is not a unit.
    """
    return bool(_parsed(first).dimensionality == _parsed(second).dimensionality)


def convert(value: Any, source: str, target: str) -> Any:
    """*value* (scalar or NumPy array) expressed in *target* instead of *source* units.

    Raises
    ------
    UnitError
        If the units are unknown or of different dimension.
    """
    if source == target:
        return value
    if not same_dimension(source, target):
        raise UnitError(
            f"cannot turn {source!r} into {target!r}: they measure different things",
            allowed=f"units of dimension {_parsed(target).dimensionality}",
        )
    return registry().Quantity(value, _parsed(source)).to(_parsed(target)).magnitude
