"""Recipe documents as files in the wild hold them: a good one with a few things wrong, or nothing wrong after all."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

Document = dict[str, Any]
Path = tuple[str | int, ...]

_EDGES: st.SearchStrategy[Any] = st.sampled_from(
    [
        0,
        -0.0,
        -1,
        1,
        1e-300,
        1e300,
        float("inf"),
        float("-inf"),
        float("nan"),
        2**63,
        10**400,
        "",
        "0.5",
        "NaN",
        "\x00",
        "\ud800",
        "µ",
        [],
        {},
        None,
        True,
        False,
    ]
)
_SCALARS = st.one_of(_EDGES, st.integers(-(10**6), 10**6), st.floats(), st.text(max_size=12))
_VALUES = st.one_of(
    _SCALARS, st.lists(_SCALARS, max_size=3), st.dictionaries(st.text(max_size=6), _SCALARS, max_size=3)
)
_ACTIONS = ("replace", "scale", "delete", "unknown", "repeat")
_NUDGES = (0.01, 0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 2.0, 10.0)


def nodes(document: Any, path: Path = ()) -> Iterator[Path]:
    """Path of every value below *document*, containers included."""
    items: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(document, dict):
        items = iter(list(document.items()))
    elif isinstance(document, list):
        items = iter(list(enumerate(document)))
    for key, value in items:
        yield (*path, key)
        yield from nodes(value, (*path, key))


def parent(document: Any, path: Path) -> Any:
    """The container that holds the value at *path*."""
    for key in path[:-1]:
        document = document[key]
    return document


@st.composite
def mutated(draw: st.DrawFn, originals: Sequence[Document]) -> Document:
    """One of *originals* with one to three random changes, anywhere."""
    document = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 3))):
        paths = list(nodes(document))
        if paths:
            _mutate(draw, document, draw(st.sampled_from(paths)))
    return document


@st.composite
def nudged(draw: st.DrawFn, originals: Sequence[Document]) -> Document:
    """One of *originals* with one or two numbers made smaller or larger: often still a recipe, if an odd one."""
    document = copy.deepcopy(draw(st.sampled_from(originals)))
    numbers = [path for path in nodes(document) if _is_number(parent(document, path)[path[-1]])]
    for _ in range(draw(st.integers(1, 2)) if numbers else 0):
        path = draw(st.sampled_from(numbers))
        value = parent(document, path)[path[-1]] * draw(st.sampled_from(_NUDGES))
        parent(document, path)[path[-1]] = value
    return document


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _mutate(draw: st.DrawFn, document: Document, path: Path) -> None:
    holder, key = parent(document, path), path[-1]
    action = draw(st.sampled_from(_ACTIONS))
    value = holder[key]
    if action == "delete":
        del holder[key]
    elif action == "unknown":
        (holder if isinstance(holder, dict) else document)[draw(st.text(min_size=1, max_size=8))] = draw(_VALUES)
    elif action == "repeat" and isinstance(holder, list):
        holder.insert(draw(st.integers(0, len(holder))), copy.deepcopy(value))
    elif action == "scale" and _is_number(value):
        holder[key] = value * draw(st.sampled_from([-1, 0, 0.1, 0.5, 0.9, 1.1, 2, 10, 1e6]))
    else:
        holder[key] = draw(_VALUES)
