"""What to cite for a result: the references its chapter stamped into it, read from the chapter's ``references.bib``."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.core import registry
from labkit.core.errors import LabkitError

if TYPE_CHECKING:
    import xarray as xr

Entry = dict[str, str]
"""One reference: field name in lower case to plain text, with its ``kind`` (article, book …)."""

_OPENING = re.compile(r"@(\w+)\s*\{\s*([^\s,{}]+)\s*,")
_FIELD = re.compile(r"[\s,]*(\w+)\s*=\s*")
_ACCENT = re.compile(r"\\([\"'`^~])\s*\{?(\w)\}?")
_COMBINING = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303"}


def bibliography(text: str) -> dict[str, Entry]:
    """The entries of a BibTeX file by key; values in braces, quotes or bare digits, with accents made plain text.

    Raises
    ------
    LabkitError
        If a key occurs twice or an entry has no end.
    """
    found: dict[str, Entry] = {}
    opening = _OPENING.search(text)
    while opening:
        kind, key = opening.groups()
        if key in found:
            raise LabkitError(f"reference {key!r} occurs twice", fix="rename or remove one of them")
        entry, end = {"kind": kind.lower()}, opening.end()
        while field := _FIELD.match(text, end):
            value, end = _value(text, field.end(), key)
            entry[field[1].lower()] = _plain(value)
        found[key] = entry
        opening = _OPENING.search(text, end)
    return found


def citations(dataset: xr.Dataset) -> str:
    """The references that *dataset* rests on, one per line, in the order its process stamped them; none is ``""``.

    Raises
    ------
    LabkitError
        If *dataset* does not say which process made it, or its process no longer has a reference it names.
    PluginError
        If that process is not installed.
    """
    name = dataset.attrs.get("process")
    if not name:
        raise LabkitError(
            "this dataset does not say which process made it",
            allowed='a result with attrs["process"] and attrs["references"]',
            fix="cite the result itself; arithmetic on it may drop attributes",
        )
    keys = str(dataset.attrs.get("references", "")).split()
    entries = _references(name) if keys else {}
    missing = [key for key in keys if key not in entries]
    if missing:
        raise LabkitError(
            f"process {name!r} has no reference {', '.join(missing)}",
            allowed=", ".join(entries) or "none",
            fix="use the version of the process that made the dataset; see its attrs['versions']",
        )
    return "\n".join(reference(entries[key]) for key in keys)


def reference(entry: Entry) -> str:
    """*entry* as one line: authors (year). Title. Where it appeared. DOI, ISBN or address."""
    people = entry.get("author") or entry.get("editor", "")
    year = f" ({entry['year']})" if "year" in entry else ""
    parts = [people.replace(" and ", "; ") + year, entry.get("title", ""), _source(entry), _locator(entry)]
    return ". ".join(part.rstrip(".") for part in parts if part) + "."


def _source(entry: Entry) -> str:
    holder = next((entry[name] for name in ("journal", "booktitle", "institution", "publisher") if name in entry), "")
    if entry["kind"] == "article":
        holder += f" {entry['volume']}" if "volume" in entry else ""
        holder += f"({entry['number']})" if "number" in entry else ""
    else:
        holder += "".join(f" {entry[name]}" for name in ("volume", "number") if name in entry)
        holder = f"Edition {entry['edition']}, {holder}" if "edition" in entry else holder
    return f"{holder}, {entry['pages']}" if "pages" in entry else holder


def _locator(entry: Entry) -> str:
    labels = (("doi", "doi:"), ("isbn", "ISBN "), ("url", ""), ("eprint", "arXiv:"))
    return next((label + entry[name] for name, label in labels if name in entry), "")


@lru_cache(maxsize=64)
def _references(process: str) -> dict[str, Entry]:
    module = sys.modules[type(registry.process(process)).__module__]
    path = Path(module.__file__ or "").with_name("references.bib")
    return bibliography(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _value(text: str, start: int, key: str) -> tuple[str, int]:
    """The field value at *start* and where it ends."""
    if text[start : start + 1] not in ("{", '"'):
        bare = re.compile(r"[^\s,}]*").match(text, start)
        return (bare[0], bare.end()) if bare else ("", start)
    closing, depth = "}" if text[start] == "{" else '"', 0
    for at in range(start + 1, len(text)):
        if depth == 0 and text[at] == closing:
            return text[start + 1 : at], at + 1
        depth += {"{": 1, "}": -1}.get(text[at], 0)
    raise LabkitError(f"reference {key!r} has a field without end", fix="close its braces")


def _plain(value: str) -> str:
    text = _ACCENT.sub(lambda found: unicodedata.normalize("NFC", found[2] + _COMBINING[found[1]]), value)
    text = text.replace(r"\&", "&").replace("---", "—").replace("--", "–")
    return " ".join(re.sub(r"[{}]", "", text).split())
