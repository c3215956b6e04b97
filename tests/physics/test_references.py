"""Sources: every key that a chapter cites is in its bibliography, every entry is used and can be found."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from labkit.core.citations import Entry, bibliography
from tests.architecture.sources import PACKAGE, ROOT

DOI = re.compile(r"10\.\d{4,9}/[^\s,;{}\"]+")
KEY = re.compile(r"\b[a-z]{2,}(?:1[89]|20)\d{2}[a-z]?\b")
"""A citation key as chapters write it in docstrings: name and year."""
CHAPTERS = sorted(path.parent for path in PACKAGE.glob("processes/*/references.bib"))

every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.name)


def entries(chapter: Path) -> dict[str, Entry]:
    return bibliography((chapter / "references.bib").read_text(encoding="utf-8"))


def source(chapter: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(chapter.rglob("*.py")))


def stamped(tree: ast.AST) -> set[str]:
    """Keys that results are stamped with: strings in ``references=…`` and in ``REFERENCES = …``."""
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "references"]
    values += [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "REFERENCES" for target in node.targets)
    ]
    return {
        leaf.value
        for value in values
        for leaf in ast.walk(value)
        if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
    }


def can_be_found(entry: Entry) -> bool:
    """A DOI, ISBN, address, or a note on why there is none."""
    reasons = ("DOI not verified", "without DOI", "not verified")
    return bool(entry.keys() & {"doi", "isbn", "url"}) or any(reason in entry.get("note", "") for reason in reasons)


def dois_in_code() -> dict[str, list[str]]:
    """DOIs cited in the package's source, with the files that cite them."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for text in re.findall(r"(?<![\w\"])doi:(10\.\S*)", path.read_text(encoding="utf-8")):
            found.setdefault(text, []).append(str(path.relative_to(ROOT)))
    return found


def without_punctuation(text: str) -> str:
    """*text* without what follows a DOI in a sentence: stops, quotes, and brackets that it did not open."""
    text = text.rstrip("\".,;'")
    while text.endswith(")") and text.count(")") > text.count("("):
        text = text[:-1].rstrip("\".,;'")
    return text


def test_every_process_that_is_built_in_has_a_bibliography() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("processes/*/__init__.py")}
    assert {chapter.name for chapter in CHAPTERS} == packages


@every_chapter
def test_results_are_stamped_with_keys_of_the_bibliography(chapter: Path) -> None:
    keys = stamped(ast.parse(source(chapter).replace("from __future__ import annotations", "")))
    assert keys
    assert keys - entries(chapter).keys() == set()


@every_chapter
def test_keys_in_docstrings_are_in_the_bibliography(chapter: Path) -> None:
    cited = set(KEY.findall(source(chapter)))
    assert cited
    assert cited - entries(chapter).keys() == set()


@every_chapter
def test_every_entry_is_cited_by_the_code(chapter: Path) -> None:
    text = source(chapter)
    assert [key for key in entries(chapter) if not re.search(rf"\b{re.escape(key)}\b", text)] == []


@every_chapter
def test_every_entry_says_who_what_when_and_where(chapter: Path) -> None:
    for key, entry in entries(chapter).items():
        assert entry.get("author") or entry.get("editor"), key
        assert entry.get("title"), key
        known = re.fullmatch(r"1[6-9]\d\d|20\d\d", entry.get("year", ""))
        assert known or "year not verified" in entry.get("note", ""), key
        assert can_be_found(entry), key


@every_chapter
def test_dois_are_well_formed_and_belong_to_one_entry_each(chapter: Path) -> None:
    dois = [entry["doi"] for entry in entries(chapter).values() if "doi" in entry]
    assert [doi for doi in dois if not DOI.fullmatch(doi) or doi != without_punctuation(doi)] == []
    assert len({doi.lower() for doi in dois}) == len(dois) > 0


def test_dois_in_the_code_are_well_formed() -> None:
    found = dois_in_code()
    assert len(found) > 5
    assert {text: files for text, files in found.items() if not DOI.fullmatch(without_punctuation(text))} == {}


def test_an_entry_that_cannot_be_found_and_a_stray_key_would_be_noticed() -> None:
    assert not can_be_found({"kind": "article", "title": "x", "note": "a fine paper"})
    code = "stamp(d, references=(*REFERENCES, 'a1999'))\nREFERENCES = ('b2000',)"
    assert stamped(ast.parse(code)) == {"a1999", "b2000"}
    assert KEY.findall("Reference: jensen1983. utf8 2019 nm300") == ["jensen1983"]
    assert not DOI.fullmatch(without_punctuation("doi.org/10.1/x"))
    assert without_punctuation("10.1016/0009-2509(53)80001-1).") == "10.1016/0009-2509(53)80001-1"
