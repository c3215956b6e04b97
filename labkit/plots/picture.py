"""A HoloViews object drawn for print: SVG text that follows the page's colours and fonts, or a PNG file."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.plots import theme

_PAGE_COLOURS = {
    theme.PAPER: "paper",
    theme.QUIET: "quiet",
    theme.INK: "ink",
    theme.MUTED: "muted",
    theme.GRID: "grid",
    theme.SHADE: "shade",
    theme.BAND: "band",
    theme.BLUE: "blue",
    theme.VERMILION: "vermilion",
    theme.GREEN: "green",
    theme.ORANGE: "orange",
    theme.SKY: "sky",
    theme.PURPLE: "purple",
}
"""Colours that a page may replace (for a dark scheme) through CSS variables named ``--plot-…``."""

_PIXELS_PER_POINT = 1.5
"""Size of a picture on a page: nine-point labels become 13.5 px, whatever the picture's width."""


@contextmanager
def _figure(element: Any) -> Iterator[Any]:
    import holoviews as hv
    import holoviews.plotting.mpl
    from matplotlib import pyplot

    with theme.print_settings():
        figure = hv.render(element, backend="matplotlib")
        try:
            yield figure
        finally:
            pyplot.close(figure)


def png(element: Any, path: str | Path | None = None, *, dpi: float = 160.0, background: str = "white") -> bytes:
    """*element* as a PNG image, also written to *path* if given."""
    buffer = io.BytesIO()
    with _figure(element) as figure:
        figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.08, facecolor=background)
    if path is not None:
        Path(path).write_bytes(buffer.getvalue())
    return buffer.getvalue()


def svg(element: Any, *, prefix: str = "p", themed: bool = True) -> str:
    """*element* as an ``<svg>`` element for a page.

    *prefix* is put before every id, so that several pictures can share a page. With *themed*, colours of the theme
    become ``var(--plot-…, colour)`` and text takes the page's font.
    """
    import matplotlib

    buffer = io.StringIO()
    with _figure(element) as figure, matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(
            buffer,
            format="svg",
            bbox_inches="tight",
            pad_inches=0.04,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return _for_page(buffer.getvalue(), prefix, themed=themed)


def _opening(found: re.Match[str]) -> str:
    width = float(found[1].split()[2])
    return f'<svg viewBox="{found[1]}" role="img" style="width: {_PIXELS_PER_POINT * width:.0f}px">'


def _for_page(document: str, prefix: str, *, themed: bool) -> str:
    drawing = document[document.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", drawing).replace("xlink:href=", "href=")
    drawing = re.sub(r'\bid="', f'id="{prefix}-', drawing)
    drawing = re.sub(r'href="#', f'href="#{prefix}-', drawing)
    drawing = re.sub(r"url\(#", f"url(#{prefix}-", drawing)
    drawing = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', _opening, drawing, count=1)
    if themed:
        for colour, name in _PAGE_COLOURS.items():
            drawing = re.sub(rf"(?<=: ){colour}\b", f"var(--plot-{name}, {colour})", drawing)
        drawing = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", drawing)
        drawing = re.sub(r"font-family: [^;\"]*", "font-family: inherit", drawing)
    return drawing.strip()
