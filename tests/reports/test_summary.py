"""The parts of a page: escaped, with units, and asking no other host for anything."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from labkit.core.errors import LabkitError
from labkit.reports import Tile, external_references, findings, header, provenance, table, tiles

_EVIL = '<script src="https://example.org/x.js">&"'


def test_everything_a_user_can_name_is_escaped() -> None:
    frame = pd.DataFrame({_EVIL: [_EVIL]})
    page = "".join(
        [
            header(_EVIL, {_EVIL: _EVIL}, verdict=_EVIL, state=_EVIL),
            tiles([Tile(_EVIL, _EVIL, _EVIL, _EVIL)]),
            table(frame, units={_EVIL: _EVIL}, caption=_EVIL),
            findings([(_EVIL, _EVIL)]),
            provenance({_EVIL: _EVIL}),
        ]
    )
    assert "<script" not in page
    assert external_references(page) == []


def test_a_table_shows_values_with_their_units_and_marks_rows_by_state() -> None:
    frame = pd.DataFrame({"run": [11, 12], "thickness": [99.123456, np.nan], "state": ["", "bad"]})
    shown = table(frame, units={"thickness": "nm"}, state="state")
    assert '<span class="unit">nm</span>' in shown
    assert ">99.123<" in shown
    assert '<td class="number">11</td>' in shown
    assert "–" in shown
    assert shown.count('<tr class="bad">') == 1
    assert ">State<" not in shown


def test_a_state_is_told_without_colour_too() -> None:
    assert "✕" in tiles([Tile("Flagged", "3", "bad")])
    assert "✓" in findings([("good", "in control")])


@pytest.mark.parametrize(
    "body",
    [
        '<img src="http://a.org/x.png">',
        '<link rel="stylesheet" href="https://a.org/x.css">',
        '<script src="//a.org/x.js"></script>',
        "<style>@import 'https://a.org/x.css';</style>",
        '<p style="background: url(https://a.org/x.png)">',
        "<a href='HTTPS://a.org'>a</a>",
        "<style>p { background: url( 'http://a.org/x.png' ) }</style>",
        '<img srcset="x.png 1x, https://a.org/y.png 2x">',
        '<svg><use xlink:href="https://a.org/x.svg#a"/></svg>',
        '<meta http-equiv="refresh" content="0; url=https://a.org">',
    ],
)
def test_every_way_to_another_host_is_found(body: str) -> None:
    assert len(external_references(body)) == 1


@pytest.mark.parametrize(
    "body",
    [
        '<img src="data:image/png;base64,AAAA//BBBB">',
        '<a href="#part">x</a>',
        "<p>see https://a.org</p>",
        '<svg xmlns="http://www.w3.org/2000/svg"><path style="clip-path: url(#a)"/></svg>',
    ],
)
def test_what_stays_in_the_page_is_not_reported(body: str) -> None:
    assert external_references(body) == []


def test_a_notebook_that_refers_to_another_host_makes_no_page() -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra labkit[lab]")
    pytest.importorskip("nbconvert", reason="needs the extra labkit[lab]")
    from labkit.reports import page

    cell = nbformat.v4.new_markdown_cell("![logo](https://a.org/logo.png)")
    with pytest.raises(LabkitError, match=r"a\.org/logo\.png"):
        page(nbformat.v4.new_notebook(cells=[cell]), title="x")
