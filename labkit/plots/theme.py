"""One restrained look for every picture: Okabe–Ito colours, light grid, no frame; legible in grey.

Colour never carries a meaning alone: a departure also has another marker, an expected value another line style.

Reference: M. Okabe, K. Ito, "Color Universal Design", 2008 (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from labkit.core.errors import LabkitError

PAPER = "#ffffff"
INK = "#1f2933"
ON_COLOUR = "#1e2832"
"""Ink on a coloured map, which stays dark where a page turns :data:`INK` light."""
MUTED = "#5f6b76"
GRID = "#e4e8ec"
SHADE = "#eef1f4"
BAND = "#cfe3f1"
QUIET = "#b4bec8"
BLUE = "#0072b2"
VERMILION = "#d55e00"
GREEN = "#009e73"
ORANGE = "#e69f00"
SKY = "#56b4e9"
PURPLE = "#cc79a7"

HEALTHY = BLUE
DEPARTED = VERMILION
SERIES = (
    (BLUE, "solid", "o"),
    (ORANGE, "dashed", "s"),
    (GREEN, "dashdot", "^"),
    (PURPLE, "dotted", "D"),
    (SKY, "solid", "v"),
    (VERMILION, "dashed", "P"),
    (INK, "dotted", "X"),
)
"""Colour, line style and marker (matplotlib's letter) of the first, second … series of a chart."""
DIVERGING = ("#053f6e", "#0072b2", "#7ab8dc", "#f7f7f7", "#f0ab80", "#d55e00", "#7a3300")
"""Blue below, vermilion above: a scale around a mean, safe for the colour-blind."""
WIDTH = 8.6
"""Width of a full-width picture, inch."""
BACKENDS = ("matplotlib", "bokeh")

_BOKEH_MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle",
    "D": "diamond",
    "v": "inverted_triangle",
    "P": "plus",
    "X": "x",
}
_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "axes.grid": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "grid.linestyle": "-",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
}
_BOKEH_THEME = {
    "attrs": {
        "Axis": {
            "axis_label_text_font_style": "normal",
            "axis_label_text_color": INK,
            "major_label_text_color": INK,
            "axis_line_color": MUTED,
            "major_tick_line_color": MUTED,
            "minor_tick_line_color": None,
            "axis_label_text_font_size": "12px",
            "major_label_text_font_size": "11px",
        },
        "Grid": {"grid_line_color": GRID},
        "Legend": {"border_line_color": None, "background_fill_alpha": 0.0},
        "Title": {"text_color": INK, "text_font_size": "13px"},
        "Plot": {"outline_line_color": None},
    }
}


def use(backend: str = "matplotlib") -> None:
    """Load *backend* and make it current; pictures made from now on are styled for it.

    Raises
    ------
    LabkitError
        If there is no such backend, or the plotting libraries are not installed.
    """
    if backend not in BACKENDS:
        raise LabkitError(f"no plotting backend {backend!r}", allowed=", ".join(BACKENDS))
    try:
        import holoviews as hv

        if backend == "matplotlib":
            import holoviews.plotting.mpl
        else:
            import holoviews.plotting.bokeh
    except ImportError as error:
        raise LabkitError(f"plots need {error.name}, which is not installed", fix="pip install 'labkit[lab]'") from None
    hv.Store.set_current_backend(backend)
    if backend == "bokeh":
        from bokeh.themes import Theme

        hv.renderer("bokeh").theme = Theme(json=_BOKEH_THEME)


def loaded() -> tuple[str, ...]:
    """The backends that pictures are styled for; the first call loads matplotlib where none is."""
    import holoviews as hv

    found = tuple(b for b in hv.Store.loaded_backends() if b in BACKENDS)
    if not found:
        use("matplotlib")
        found = ("matplotlib",)
    return found


def styled(
    element: Any, *, matplotlib: Mapping[str, Any] | None = None, bokeh: Mapping[str, Any] | None = None, **common: Any
) -> Any:
    """*element* with *common* options and those of each loaded backend."""
    for backend in loaded():
        own = (matplotlib if backend == "matplotlib" else bokeh) or {}
        element = element.opts(clone=True, backend=backend, **common, **own)
    return element


def bokeh_marker(marker: str) -> str:
    """Bokeh's name of matplotlib's *marker* letter."""
    return _BOKEH_MARKERS.get(marker, marker)


@contextmanager
def print_settings() -> Iterator[None]:
    """Matplotlib's settings of this theme, for as long as the block lasts."""
    import matplotlib

    with matplotlib.rc_context(_RC):
        yield


def framed(
    overlay: Any,
    *,
    width: float = WIDTH,
    height: float = 3.2,
    grid: str = "y",
    finish: Sequence[Callable[[Any], None]] = (),
    **options: Any,
) -> Any:
    """*overlay* as a finished panel of *width* × *height* inch, with grid lines across the axes that *grid* names.

    Each of *finish* gets the matplotlib axes last, for what HoloViews has no option for.
    """

    def hook(plot: Any, element: Any) -> None:
        axes = plot.handles["axis"]
        axes.set_aspect("auto")
        plot.handles["fig"].set_size_inches(width, height)
        if grid:
            axes.grid(True, axis=grid, color=GRID, linewidth=0.8)
        axes.xaxis.set_zorder(-1)
        axes.yaxis.set_zorder(-1)
        for step in finish:
            step(axes)

    screen = {
        "width": round(width * 100),
        "height": round(height * 100),
        "show_grid": bool(grid),
        "legend_position": "top",
    }
    return styled(
        overlay, matplotlib={"hooks": [hook], "show_legend": False, "aspect": "auto"}, bokeh=screen, **options
    )


def line(element: Any, colour: str, style: str = "solid", width: float = 1.1) -> Any:
    """*element* (a curve, path or reference line) in *colour* and *style*."""
    return styled(
        element,
        matplotlib={"color": colour, "linestyle": style, "linewidth": width},
        bokeh={"color": colour, "line_dash": style, "line_width": width},
    )


def area(element: Any, colour: str = BAND) -> Any:
    """*element* (an area, rectangle or polygon) filled with *colour*, without an edge."""
    return styled(
        element,
        matplotlib={"facecolor": colour, "edgecolor": "none"},
        bokeh={"fill_color": colour, "line_color": None, "fill_alpha": 1.0},
    )


def points(element: Any, colour: str, marker: str = "o", size: float = 5.5, *, hollow: bool = False) -> Any:
    """*element* (a scatter) as markers of *size* points; *hollow* ones stand for a departure."""
    fill = {"facecolors": PAPER, "edgecolors": colour, "linewidth": 1.8} if hollow else {"color": colour}
    screen = {"fill_color": PAPER, "line_color": colour, "line_width": 1.8} if hollow else {"color": colour}
    return styled(
        element,
        matplotlib={"marker": marker, "s": size**2, **fill},
        bokeh={"marker": bokeh_marker(marker), "size": size * 4 / 3, **screen},
    )


def padded(values: Any, *, below: float = 0.08, above: float = 0.1) -> tuple[float, float]:
    """Axis limits around the finite *values*, with fractions of their span left free *below* and *above* them."""
    finite = [float(v) for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    span = high - low or max(abs(high), 1.0) * 0.01
    return low - below * span, high + above * span


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round positions between *low* and *high*, at most *most* of them, for an axis that reaches beyond its data."""
    span = high - low
    if span <= 0.0:
        return [low]
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * (1.0 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]
