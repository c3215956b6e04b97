"""The parts of a report page: header, verdict tiles, tables, figures, findings, provenance. Everything is escaped."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.plots.notation import sentence, unit_sign

if TYPE_CHECKING:
    import pandas as pd

STATES = {"good": "✓", "bad": "✕", "warn": "▲", "neutral": ""}
"""How a tile or finding may stand, and the sign that says so without colour."""


class Html(str):
    """A piece of a page: text that a notebook shows as HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Tile:
    """One number that matters: what it is, its value, how it stands (a key of :data:`STATES`), a remark, its unit."""

    label: str
    value: str
    state: str = "neutral"
    remark: str = ""
    units: str = "1"


def header(title: str, facts: Mapping[str, object], *, verdict: str = "", state: str = "neutral") -> Html:
    """The page's head: *title*, a line of *facts* (lab, tool, date …) and the verdict in one sentence."""
    line = "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in facts.items())
    said = f'<p class="verdict {_state(state)}">{_sign(state)}{_text(verdict)}</p>' if verdict else ""
    return Html(
        f'<header class="report-head"><p class="maker">labkit</p><h1>{_text(title)}</h1><dl class="facts">{line}</dl>'
        f"{said}</header>"
    )


def tiles(items: Iterable[Tile]) -> Html:
    """Verdict tiles in a row that wraps."""
    cells = "".join(
        f'<div class="tile {_state(t.state)}"><span class="label">{_text(t.label)}</span>'
        f'<span class="value">{_sign(t.state)}{_text(t.value)}{_unit(t.units)}</span>'
        f'<span class="remark">{_text(t.remark)}</span></div>'
        for t in items
    )
    return Html(f'<div class="tiles">{cells}</div>')


def findings(lines: Iterable[tuple[str, str]]) -> Html:
    """What was found, as ``(state, sentence)`` pairs."""
    items = "".join(f'<li class="{_state(state)}">{_sign(state)}{_text(line)}</li>' for state, line in lines)
    return Html(f'<ul class="findings">{items}</ul>')


def table(
    frame: pd.DataFrame,
    *,
    units: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    digits: int = 5,
    state: str | None = None,
    caption: str = "",
) -> Html:
    """*frame* as a table; the index is left out.

    *units* (UDUNITS spelling) and *labels* are by column; column *state*, if named, colours its row and is not shown.
    """
    shown = [c for c in frame.columns if c != state]
    numeric = {c: frame[c].dtype.kind in "fiu" for c in shown}
    head = "".join(_head(str(c), numeric[c], units or {}, labels or {}) for c in shown)
    decimals = {c: _decimals(frame[c].to_numpy(), digits) for c in shown if numeric[c]}
    rows = []
    for _, row in frame.iterrows():
        cells = "".join(f"<td{_numeric(numeric[c])}>{_cell(row[c], decimals.get(c))}</td>" for c in shown)
        rows.append(f'<tr class="{_state(str(row[state])) if state else ""}">{cells}</tr>')
    title = f"<caption>{_text(caption)}</caption>" if caption else ""
    return Html(
        f'<div class="scroll" tabindex="0"><table>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def figure(element: Any, caption: str) -> Html:
    """A HoloViews *element* drawn into the page, with its *caption*."""
    from labkit.plots.picture import svg

    prefix = "f" + hashlib.sha256(caption.encode()).hexdigest()[:8]
    drawing = svg(element, prefix=prefix)
    return Html(
        f'<figure><div class="plot" tabindex="0" aria-label="{_text(caption)}">{drawing}</div>'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def side_by_side(*figures: str) -> Html:
    """Figures next to each other where the page is wide enough."""
    return Html(f'<div class="side-by-side">{"".join(figures)}</div>')


def provenance(facts: Mapping[str, object]) -> Html:
    """Where the page's numbers come from, as its foot."""
    rows = "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in facts.items() if str(v))
    return Html(f'<footer class="provenance"><h2>Provenance</h2><dl>{rows}</dl></footer>')


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _state(state: str) -> str:
    return state if state in STATES else "neutral"


def _sign(state: str) -> str:
    sign = STATES.get(state, "")
    return f'<span class="sign" aria-hidden="true">{sign}</span>' if sign else ""


def _unit(units: str) -> str:
    sign = unit_sign(units)
    return f'<span class="unit">{_text(sign)}</span>' if sign else ""


def _numeric(yes: bool) -> str:
    return ' class="number"' if yes else ""


def _head(column: str, numeric: bool, units: Mapping[str, str], labels: Mapping[str, str]) -> str:
    label = labels.get(column, sentence(column.replace("_", " ")))
    return f'<th scope="col"{_numeric(numeric)}>{_text(label)}{_unit(units.get(column, "1"))}</th>'


def _decimals(values: np.ndarray, digits: int) -> int:
    """Decimals that show the greatest of *values* to *digits* figures, the same for the whole column."""
    if values.dtype.kind in "iu":
        return 0
    sizes = np.abs(values[np.isfinite(values)])
    greatest = float(sizes.max()) if sizes.size else 0.0
    return max(0, digits - 1 - math.floor(math.log10(greatest))) if greatest > 0.0 else 0


def _cell(value: Any, decimals: int | None) -> str:
    if value is None or value != value:
        return "–"
    return _text(value) if decimals is None else f"{value:.{decimals}f}".replace("-", "−")
