"""What to cite: reading a chapter's bibliography, and one readable line per reference."""

from __future__ import annotations

import pytest
import xarray as xr

from labkit.core.citations import bibliography, citations, reference
from labkit.core.errors import LabkitError, PluginError

SAMPLE = r"""
A comment that stands between entries.
@article{kuhn1983,
  author = {K{\"u}hn, H. and {\'E}mile, B.}, title = "Rates of {LPCVD} and
      more", journal = {Ind. \& Eng.},
  volume = 12, number = {3}, pages = {825--839}, year = {1983}, doi = {10.1000/a(1)b},
}
@Book{bird2002, author={Bird, R. B.},title={Transport Phenomena},edition={2},publisher={Wiley},year=2002,
isbn={0-471-41077-2}}
"""


def test_braces_quotes_bare_numbers_and_accents_are_read() -> None:
    entries = bibliography(SAMPLE)
    assert list(entries) == ["kuhn1983", "bird2002"]
    assert entries["kuhn1983"]["author"] == "Kühn, H. and Émile, B."
    assert entries["kuhn1983"]["title"] == "Rates of LPCVD and more"
    assert (entries["kuhn1983"]["volume"], entries["bird2002"]["year"]) == ("12", "2002")
    assert entries["bird2002"]["kind"] == "book"


def test_an_article_is_one_line_with_people_year_title_place_and_doi() -> None:
    assert reference(bibliography(SAMPLE)["kuhn1983"]) == (
        "Kühn, H.; Émile, B. (1983). Rates of LPCVD and more. Ind. & Eng. 12(3), 825–839. doi:10.1000/a(1)b."
    )


def test_a_book_shows_edition_publisher_and_isbn() -> None:
    assert reference(bibliography(SAMPLE)["bird2002"]) == (
        "Bird, R. B. (2002). Transport Phenomena. Edition 2, Wiley. ISBN 0-471-41077-2."
    )


def test_a_key_that_occurs_twice_and_a_field_without_end_are_refused() -> None:
    with pytest.raises(LabkitError, match="'a1' occurs twice"):
        bibliography("@misc{a1, title={x}} @misc{a1, title={y}}")
    with pytest.raises(LabkitError, match="'a1' has a field without end"):
        bibliography("@misc{a1, title={x {y}")


def test_a_dataset_cites_what_its_process_stamped_in_that_order() -> None:
    lines = citations(xr.Dataset(attrs={"process": "cvd", "references": "thiele1939 bird2002"})).splitlines()
    assert lines == [
        "Thiele, E. W. (1939). Relation between Catalytic Activity and Size of Particle. "
        "Industrial & Engineering Chemistry 31(7), 916–920. doi:10.1021/ie50355a027.",
        "Bird, R. Byron; Stewart, Warren E.; Lightfoot, Edwin N. (2002). Transport Phenomena. Edition 2, Wiley. "
        "ISBN 0-471-41077-2.",
    ]


def test_a_dataset_without_references_cites_nothing() -> None:
    assert citations(xr.Dataset(attrs={"process": "cvd"})) == ""


def test_a_dataset_that_no_process_made_is_refused() -> None:
    with pytest.raises(LabkitError, match="does not say which process"):
        citations(xr.Dataset())
    with pytest.raises(PluginError, match="alchemy"):
        citations(xr.Dataset(attrs={"process": "alchemy", "references": "newton1670"}))


def test_a_reference_that_the_chapter_lacks_is_named() -> None:
    with pytest.raises(LabkitError, match="no reference newton1670"):
        citations(xr.Dataset(attrs={"process": "cvd", "references": "thiele1939 newton1670"}))
