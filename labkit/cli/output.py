"""How the command line speaks: tables for people, JSON for scripts, one line for an error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from labkit.store.documents import plain

STYLES = {
    "pass": "green",
    "COMPLETED": "green",
    "ok": "green",
    "CLEARED": "green",
    "anomaly": "bold red",
    "fail": "bold red",
    "ENGINEER_REVIEW": "yellow",
    "ANOMALY_FLAGGED": "yellow",
    "BLOCKED": "magenta",
    "REJECTED": "magenta",
    "FAILED": "bold red",
    "missing": "yellow",
    "broken": "bold red",
}
"""Terminal styles of words with a meaning; the words alone say the same."""
_SHORT = 12
"""Width to which long names are shortened, and that sentences keep, characters."""
_WORDS = 3
"""Most words of a cell that is not a sentence."""
_FEWEST = 2
_UNBOUNDED = 10_000


def console() -> Console:
    """The terminal that tables go to."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = ()) -> None:
    """Print *rows* under *columns*; columns named in *right* are aligned right, as numbers are.

    No word is broken. Where the terminal is too narrow, sentences wrap between words, then long names end in "…", then
    columns are left out, those of :data:`STYLES` words last, which is said below the table. A file or pipe gets
    everything.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    out, numeric = console(), set(right)
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = _UNBOUNDED
    fields = [
        _Field(name, [line[at] for line in cells], name in numeric) for at, name in enumerate(columns) if cells or name
    ]
    for field in sorted((f for f in fields if f.can_shorten), key=lambda f: -f.longest):
        if _fits(out, _drawn(title, fields)):
            break
        field.is_short = True
    dropped: list[str] = []
    while len(fields) > _FEWEST and not _fits(out, _drawn(title, fields)):
        least = max(range(1, len(fields)), key=lambda at: (not fields[at].is_telling, at))
        dropped.insert(0, fields.pop(least).name)
    out.print(_drawn(title, fields))
    if dropped:
        out.print(Text(f"  not shown, the terminal is too narrow: {', '.join(filter(None, dropped))}", style="dim"))


@dataclass
class _Field:
    """A column with its cells, and how it may give way."""

    name: str
    cells: list[Text]
    is_number: bool
    is_short: bool = False

    @property
    def longest(self) -> int:
        """Its widest cell or heading, characters."""
        return max(len(self.name), *(cell.cell_len for cell in self.cells), 0)

    @property
    def is_prose(self) -> bool:
        """Whether it holds sentences, which wrap between words."""
        return not self.is_number and any(len(cell.plain.split()) > _WORDS for cell in self.cells)

    @property
    def is_telling(self) -> bool:
        """Whether it holds words with a meaning."""
        return any(cell.plain in STYLES for cell in self.cells)

    @property
    def can_shorten(self) -> bool:
        """Whether its end may be left out: that of a name, not of a number or a time."""
        is_name = not any(cell.plain[:1].isdigit() for cell in self.cells)
        return is_name and not (self.is_number or self.is_prose or self.is_telling) and self.longest > _SHORT


def _drawn(title: str, fields: Sequence[_Field]) -> Table:
    drawn = Table(
        title=Text(title, style="bold"),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        header_style="bold",
        padding=(0, 1, 0, 0),
    )
    for field in fields:
        drawn.add_column(
            field.name,
            justify="right" if field.is_number else "left",
            overflow="fold" if field.is_prose else "ellipsis",
            no_wrap=not field.is_prose,
            min_width=_SHORT if field.is_prose else min(field.longest, _SHORT) if field.is_short else field.longest,
            max_width=_SHORT if field.is_short else None,
        )
    for line in zip(*(field.cells for field in fields), strict=True):
        drawn.add_row(*line)
    return drawn


def _fits(out: Console, drawn: Table) -> bool:
    return Measurement.get(out, out.options.update(width=_UNBOUNDED), drawn).minimum <= out.width


def emit(value: Any) -> None:
    """Print *value* as JSON on standard output."""
    reads_all = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(plain(value), indent=2, ensure_ascii=not reads_all))


def facts(title: str, pairs: Mapping[str, Any]) -> None:
    """Print a titled list of name and value."""
    drawn = Table(
        title=Text(title, style="bold"), box=None, show_header=False, title_justify="left", padding=(0, 2, 0, 0)
    )
    drawn.add_column(style="dim")
    drawn.add_column(overflow="fold")
    for name, value in pairs.items():
        drawn.add_row(Text(name), _cell(value))
    console().print(drawn)


def complain(message: str) -> None:
    """Print an error as one line on standard error."""
    print("labkit: " + " ".join(message.split()), file=sys.stderr)


def number(value: float | None, digits: int = 4) -> str:
    """*value* with *digits* significant digits, or a dash."""
    return "–" if value is None or value != value else f"{value:.{digits}g}"


def _cell(value: Any) -> Text:
    if value is None:
        return Text("–")
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return Text(text, style=STYLES.get(text, ""))
