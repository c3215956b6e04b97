"""Tables that show themselves: short text in a terminal, a plain table in a notebook, a DataFrame on request."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.core.errors import NotFound
from labkit.store.arguments import shown

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 30


class NoSuchRow(NotFound, IndexError):
    """A listing was asked for a row that it does not have; an IndexError too, as of every sequence."""


class Listing(Sequence[Mapping[str, Any]]):
    """Rows under named columns. Iterating gives mappings; :meth:`to_pandas` gives everything for analysis."""

    def __init__(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        *,
        more: bool = False,
        after: str | None = None,
    ) -> None:
        self.title = title
        self.columns = tuple(columns)
        self.rows = list(rows)
        self.more = more
        self.after = after
        """Cursor for the next page, where there is one."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.rows[index]
        except (IndexError, TypeError):
            raise NoSuchRow(
                f"{self.title} has no row {shown(index)}",
                allowed=f"a number below {len(self.rows)}, or a slice" if self.rows else "nothing: it is empty",
                fix=f".to_pandas()[{shown(index)}] gives a column" if isinstance(index, str) else None,
            ) from None

    def to_pandas(self) -> pd.DataFrame:
        """All columns of all rows as a DataFrame."""
        import pandas as pd

        return pd.DataFrame([dict(row) for row in self.rows])

    def __repr__(self) -> str:
        if not self.rows:
            return f"{self.title}: none"
        cells = [[_text(row.get(c)) for c in self.columns] for row in self.rows[:_SHOWN]]
        widths = [max(len(c), *(len(line[i]) for line in cells)) for i, c in enumerate(self.columns)]
        lines = [self._heading(), "  ".join(c.ljust(w) for c, w in zip(self.columns, widths, strict=True)).rstrip()]
        lines += ["  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip() for line in cells]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(c)}</th>" for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_text(row.get(c)))}</td>" for c in self.columns) + "</tr>"
            for row in self.rows[:_SHOWN]
        )
        return (
            f"<table><caption>{html.escape(self._heading())}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )

    def _heading(self) -> str:
        count = f"{len(self.rows)}" + ("+" if self.more else "")
        cut = f", first {_SHOWN} shown" if len(self.rows) > _SHOWN else ""
        return f"{self.title}: {count}{cut}"


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)
