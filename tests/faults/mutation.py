"""Recipe files as careless people, broken disks and hostile ones leave them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from labkit.core.recipe import leaves

SCALARS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    5,
    25,
    100,
    10**9,
    10**30,
    2**63,
    0.0,
    -0.0,
    0.5,
    -0.5,
    1e-300,
    1e300,
    1e308,
    5e-324,
    0.1 + 0.2,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "0.5",
    "NaN",
    "true",
    "é",
    "日本",
    "\u0000",
    "\n",
    "\x1b[2J",
    "[/x]",
    "a" * 10_001,
    "../../x",
    [],
    {},
    [[]],
    [[[1]]],
    {"a": {"b": 1}},
    [None],
    "\ud800",
)
"""Values that stand where another one stood."""
FRAGMENTS = (
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    b"null",
    b"true",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b",",
    b":",
    b"//",
    b"/*",
    b"*/",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"9" * 400,
    b"9" * 5000,
    b"0." + b"0" * 300 + b"1",
    b"-",
    b"--1",
    b"[" * 2000,
    b'{"a":' * 500,
    b'"name": "x", ',
    b'"version": 2, ',
    b"\r\n",
    "µ".encode("latin-1"),
)
"""Bytes that get into a text."""


@st.composite
def mutated_texts(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of *originals* with a few bytes flipped, cut, doubled, moved or inserted."""
    text = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(text) - 1, 0)))
        end = min(at + draw(st.integers(1, 40)), len(text))
        match draw(st.sampled_from(("flip", "cut", "double", "insert", "truncate", "digit"))):
            case "flip" if text:
                text[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del text[at:end]
            case "double":
                text[at:at] = text[at:end]
            case "insert":
                text[at:at] = draw(st.sampled_from(FRAGMENTS))
            case "truncate" if draw(st.booleans()):
                del text[at:]
            case _:
                digits = [position for position, byte in enumerate(text) if 48 <= byte <= 57]
                if digits:
                    text[draw(st.sampled_from(digits))] = draw(st.sampled_from(b"0123456789.-eE"))
    return bytes(text)


@st.composite
def mutated_documents(draw: st.DrawFn, originals: list[dict[str, Any]]) -> dict[str, Any]:
    """One of *originals* with a few values replaced, removed, scaled, doubled or renamed."""
    document = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path, _ in leaves(document)]
        parent, last = _parent(document, draw(st.sampled_from(paths)) if paths else "")
        value = parent[last] if parent is not None else None
        match draw(st.sampled_from(("replace", "remove", "scale", "scale", "double", "rename"))):
            case _ if parent is None:
                document["name"] = copy.deepcopy(draw(st.sampled_from(SCALARS)))
            case "scale" if isinstance(value, int | float) and not isinstance(value, bool):
                parent[last] = value * draw(st.sampled_from((0.1, 0.5, 0.9, 0.98, 1.02, 1.1, 2.0, 10, 1e6, -1)))
            case "remove":
                del parent[last]
            case "double" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[-1]))
            case "rename" if isinstance(parent, dict):
                parent[
                    draw(st.sampled_from((f"{last}x", "", "a\nb", "process", "status", "model_config", "__class__")))
                ] = parent.pop(last)
            case _:
                parent[last] = copy.deepcopy(draw(st.sampled_from(SCALARS)))
    return document


def originals(folder: Path) -> list[bytes]:
    """The recipe files in *folder*."""
    return [path.read_bytes() for path in sorted(folder.glob("*.json"))]


def dumped(document: dict[str, Any]) -> bytes:
    """A document as the bytes of a file; NaN and infinity in Python's spelling, lone surrogates escaped."""
    return json.dumps(document).encode()


def _parent(document: Any, path: str) -> tuple[Any, Any]:
    *parents, last = path.split(".")
    try:
        for part in parents:
            document = document[int(part)] if isinstance(document, list) else document[part]
        place = int(last) if isinstance(document, list) else last
        document[place]
    except (KeyError, IndexError, ValueError, TypeError):
        return None, None
    return document, place
