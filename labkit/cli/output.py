"""How the command line speaks: tables for people, JSON for scripts, one line for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
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


def console() -> Console:
    """The terminal that tables go to."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = ()) -> None:
    """Print *rows* under *columns*; columns named in *right* are aligned right, as numbers are."""
    numeric = set(right)
    drawn = Table(title=Text(title, style="bold"), box=box.SIMPLE_HEAD, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*[_cell(value) for value in row])
    console().print(drawn)


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
