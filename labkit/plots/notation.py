"""How quantities and units are written on axes, tiles and tables: UDUNITS in the data, the field's signs on paper."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import holoviews as hv

_SIGNS = {
    "1": "",
    "": "",
    "degC": "°C",
    "um": "µm",
    "us": "µs",
    "ohm": "Ω",
    "percent": "%",
    "angstrom": "Å",
    "torr": "Torr",
    "degree": "°",
}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FACTOR = re.compile(r"(?P<name>[A-Za-zµΩ°%Å]+)(?:\^|\*\*)?(?P<power>-?\d+)?")


def unit_sign(units: str) -> str:
    """*units* (UDUNITS spelling) as printed: ``"mJ/cm2"`` is ``"mJ/cm²"``, ``"degC"`` is ``"°C"``, ``"1"`` is empty."""
    if units in _SIGNS:
        return _SIGNS[units]

    def factor(hit: re.Match[str]) -> str:
        return _SIGNS.get(hit["name"], hit["name"]) + (hit["power"] or "").translate(_SUPERSCRIPT)

    return _FACTOR.sub(factor, units)


def axis(name: str, label: str, units: str) -> hv.Dimension:
    """The HoloViews dimension *name* that prints as ``Label (unit)``."""
    import holoviews as hv

    return hv.Dimension(name, label=sentence(label), unit=unit_sign(units) or None)


def sentence(text: str) -> str:
    """*text* with a capital first letter; the rest as it is, since NA and CVD stay."""
    return text[:1].upper() + text[1:]


def number(value: float | None, digits: int = 4) -> str:
    """*value* to *digits* significant figures, a power of ten only beyond 10⁻⁴ … 10⁶; no number is a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    if value != 0.0 and not 1e-4 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        text = f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    else:
        text = f"{value:.{max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))}f}"
    return text.replace("-", "−")


def short(value: float, digits: int = 4) -> str:
    """:func:`number` without trailing zeros, for labels on a chart."""
    text = number(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text
