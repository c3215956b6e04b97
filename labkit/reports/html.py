"""An executed notebook as one HTML page of our own design that asks no other host for anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from labkit.core.errors import LabkitError

if TYPE_CHECKING:
    from nbformat import NotebookNode

_TEMPLATE = Path(__file__).resolve().parent / "template"
_FETCHING = frozenset(
    {
        "src",
        "href",
        "xlink:href",
        "srcset",
        "poster",
        "data",
        "action",
        "formaction",
        "background",
        "cite",
        "manifest",
        "ping",
    }
)
_HOST = re.compile(r"^\s*(?:(?:https?|ftp|wss?):)?//", re.IGNORECASE)
_STYLE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"]?)\s*((?:https?:|ftp:)?//[^'\")\s;]+)", re.IGNORECASE)


def page(notebook: NotebookNode, *, title: str) -> str:
    """The executed *notebook* as one self-contained page: outputs and text, without code.

    Raises
    ------
    LabkitError
        If the page would make a browser ask another host for something.
    """
    from nbconvert.exporters import HTMLExporter, TemplateExporter

    exporter: Any = cast(Any, HTMLExporter)(
        template_name=_TEMPLATE.name, extra_template_basedirs=[str(_TEMPLATE.parent)], exclude_anchor_links=True
    )
    # HTMLExporter's own method would pass the page through BeautifulSoup, which lowers SVG's attribute names.
    body: str = TemplateExporter.from_notebook_node(exporter, notebook, resources={"title": title})[0]
    outside = external_references(body)
    if outside:
        raise LabkitError(
            f"the report refers to another host: {', '.join(outside[:3])}",
            allowed="a page that works on a closed network",
            fix="embed the picture, style or script in the notebook's output, or print the address as text",
        )
    return body


def external_references(body: str) -> list[str]:
    """Every address on another host that the HTML *body* would fetch or link to."""
    reader = _References()
    reader.feed(body)
    reader.close()
    return reader.found


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for name, value in attrs:
            if value is None:
                continue
            if name in _FETCHING:
                parts = value.split(",") if name == "srcset" else [value]
                self.found += [part.strip() for part in parts if _HOST.match(part)]
            if name == "content" and "url=" in value.lower():
                self.found += [
                    part.strip() for part in re.split("url=", value, flags=re.IGNORECASE)[1:] if _HOST.match(part)
                ]
            self.found += _STYLE.findall(value)

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.found += _STYLE.findall(data)
