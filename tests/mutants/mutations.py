"""Mutations of one source file: every physics constant moved, every plus and minus exchanged."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.mutants.bands import Band

DECLARATIONS = {"knob", "Field", "Limit", "Indicator", "Knob", "FaultMode", "Channel", "Variable", "Finding", "round"}
STRUCTURE = {
    "range",
    "arange",
    "zeros",
    "ones",
    "full",
    "empty",
    "reshape",
    "broadcast_to",
    "lru_cache",
    "moveaxis",
    "islice",
    "expand_dims",
    "roll",
    "spawn",
    "comb",
    "integers",
    "default_rng",
    "enumerate",
    "tuple",
    "isinstance",
    "pad",
}
STRUCTURAL_WORDS = {
    "axis",
    "maxsize",
    "stacklevel",
    "decimals",
    "indent",
    "ndmin",
    "maxiter",
    "max_iterations",
    "iterations",
    "rtol",
    "atol",
    "tol",
    "xtol",
    "ftol",
    "gtol",
    "rel",
    "abs",
    "tolerance",
    "dims",
    "shape",
    "n",
    "num",
    "count",
    "samples",
    "seed",
    "repeat",
    "order_by",
    "diff_step",
    "max_nfev",
    "version",
    "digits",
    "default",
}
COUNTS = {"runs", "count", "samples", "number", "points", "size", "length", "wafers", "slots", "sites", "n"}
GUARDS = {"clip", "maximum", "minimum", "max", "min", "where", "isclose"}
SYMMETRIC_DRAWS = ("standard_normal", "noise", "_errors(")
TOLERANCE_NAMES = (
    "tolerance",
    "rounding",
    "epsilon",
    "tiny",
    "max_iterations",
    "iterations",
    "steps",
    "points",
    "cells",
    "samples",
    "knots",
    "nodes",
    "substeps",
    "grid",
    "guess",
    "slack",
    "switch",
    "overflow",
    "negligible",
)


@dataclass(frozen=True)
class Mutation:
    """A replacement of the bytes *start* to *end* of a file."""

    path: str
    line: int
    start: int
    end: int
    before: str
    after: str
    source: str

    @property
    def label(self) -> str:
        """Where and what, for a person."""
        return f"{self.path}:{self.line}: {self.before} → {self.after}    {self.source}"


def mutations(path: str, source: bytes, bands: list[Band]) -> tuple[list[Mutation], Counter[str]]:
    """Mutations of the file *path* with content *source*, and how many sites are exempt for which reason."""
    found: list[Mutation] = []
    exempt: Counter[str] = Counter()
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    text = source.decode()
    lines = text.splitlines()

    def place(start: int, end: int, after: str, line: int) -> None:
        found.append(Mutation(path, line, start, end, source[start:end].decode(), after, lines[line - 1].strip()[:90]))

    for ancestors, node in _walk(ast.parse(source), ()):
        site = _Site(ancestors, node)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            reason = site.exempt_constant()
            if reason:
                exempt[reason] += 1
                continue
            start = offsets[node.lineno - 1] + node.col_offset
            end = start + len(ast.get_source_segment(text, node) or "")
            for value in _moved(float(node.value), [b for b in bands if b.covers(path, site.owner, site.field)]):
                place(start, end, value, node.lineno)
        elif isinstance(node, ast.BinOp | ast.AugAssign | ast.UnaryOp) and isinstance(
            node.op, ast.Add | ast.Sub | ast.USub
        ):
            reason = site.exempt_sign()
            if reason:
                exempt[reason] += 1
                continue
            start = _operator(node, source, offsets)
            flipped = {ord("+"): "-", ord("-"): "+"}[source[start]]
            place(start, start + 1, flipped, source[:start].count(b"\n") + 1)
    return found, exempt


def _walk(node: ast.AST, ancestors: tuple[ast.AST, ...]) -> Iterator[tuple[tuple[ast.AST, ...], ast.AST]]:
    yield ancestors, node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, (*ancestors, node))


def _moved(value: float, bands: list[Band]) -> list[str]:
    if bands:
        return [
            repr(bands[0].low * (0.9 if bands[0].low > 0 else 1.1)),
            repr(bands[0].high * (1.1 if bands[0].high > 0 else 0.9)),
        ]
    return [repr(value * 1.1), repr(value * 0.9)]


def _operator(node: ast.BinOp | ast.AugAssign | ast.UnaryOp, source: bytes, offsets: list[int]) -> int:
    """Offset of the sign of *node*; parentheses, blanks and comments around it are passed over."""
    if isinstance(node, ast.UnaryOp):
        return offsets[node.lineno - 1] + node.col_offset
    before = node.left if isinstance(node, ast.BinOp) else node.target
    start = offsets[before.end_lineno - 1] + before.end_col_offset  # type: ignore[operator]
    while source[start] not in b"+-":
        start = source.index(b"\n", start) if source[start] == ord("#") else start + 1
    return start


class _Site:
    """A node and what stands around it."""

    def __init__(self, ancestors: tuple[ast.AST, ...], node: ast.AST) -> None:
        self.ancestors, self.node = ancestors, node

    @property
    def owner(self) -> str:
        """Name that the surrounding module-level statement defines."""
        statement = self.ancestors[1] if len(self.ancestors) > 1 else self.node
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", statement)]
        return getattr(targets[0], "id", getattr(statement, "name", ""))

    @property
    def field(self) -> str:
        """Name of the nearest keyword argument around the node, or ``""``."""
        return next((a.arg or "" for a in reversed(self.ancestors) if isinstance(a, ast.keyword)), "")

    def exempt_constant(self) -> str | None:
        """Why this number is no physics, or None."""
        if self.node.value == 0:  # type: ignore[attr-defined]
            return "zero has no tenth"
        return (
            self._structure()
            or self._unit_of_a_sign()
            or self._named_tolerance()
            or self._count()
            or self._guard()
            or self._enclosing(ast.JoinedStr, "formatting")
            or self._enclosing(ast.Raise, "error message")
        )

    def exempt_sign(self) -> str | None:
        """Why this sign is no physics, or None."""
        node = self.node
        parts = [getattr(node, name) for name in ("left", "right", "operand", "value") if hasattr(node, name)]
        texts = (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp)
        if any((isinstance(p, ast.Call) and _name(p.func) == "zeros_like") or _is_zero(p) for p in parts):
            return "adds zero for the shape or type"
        if _almost_one(node):
            return "guard against division by zero or rounding"
        if any(isinstance(p, ast.Call) and _name(p.func) == "perf_counter" for p in parts):
            return "wall clock"
        if isinstance(node, ast.BinOp) and any(name in ast.unparse(node.right) for name in SYMMETRIC_DRAWS):
            return "sign of a symmetric draw: the same in law"
        if any(isinstance(p, texts) or (isinstance(p, ast.Constant) and isinstance(p.value, str)) for p in parts):
            return "joins text or lists"
        if (
            isinstance(node, ast.UnaryOp)
            and isinstance(node.operand, ast.Attribute)
            and node.operand.attr in ("inf", "nan")
        ):
            return "infinity as a bound"
        return (
            self._structure()
            or self._enclosing(ast.JoinedStr, "formatting")
            or self._enclosing(ast.Raise, "error message")
        )

    def _enclosing(self, kind: type[ast.AST], reason: str) -> str | None:
        return reason if any(isinstance(a, kind) for a in self.ancestors) else None

    def _structure(self) -> str | None:
        chain = (*self.ancestors, self.node)
        for outer, inner in pairwise(chain):
            if isinstance(outer, ast.Subscript) and inner is outer.slice:
                return "index"
            if isinstance(outer, ast.keyword) and outer.arg in STRUCTURAL_WORDS:
                return "axis, count or tolerance by keyword"
            if isinstance(outer, ast.Call):
                name = _name(outer.func)
                if name in DECLARATIONS:
                    return "declaration, judged by the process contract"
                if name in STRUCTURE and inner is not outer.func:
                    return "shape, count or seed"
            if isinstance(outer, ast.AnnAssign | ast.FunctionDef) and inner in (
                getattr(outer, "annotation", None),
                getattr(outer, "returns", None),
            ):
                return "annotation"
        return None

    def _unit_of_a_sign(self) -> str | None:
        """A sign is written as a choice or a pair of 1 and −1; its flip is tried all the same."""
        for outer in self.ancestors[-2:]:
            pair = [outer.body, outer.orelse] if isinstance(outer, ast.IfExp) else getattr(outer, "elts", [])
            if len(pair) == 2 and {ast.unparse(item) for item in pair} in ({"1.0", "-1.0"}, {"1", "-1"}):
                return "size of a sign"
        return None

    def _named_tolerance(self) -> str | None:
        words = f"{self.owner} {self.field}".lower()
        local = [a for a in self.ancestors if isinstance(a, ast.Assign | ast.AnnAssign)]
        if local:
            target = local[-1].targets[0] if isinstance(local[-1], ast.Assign) else local[-1].target
            words += f" {getattr(target, 'id', '')}".lower()
        module_level = any(isinstance(a, ast.Assign | ast.AnnAssign) for a in self.ancestors[1:2])
        if (module_level or local) and any(
            word in words.split() or word in words.replace("_", " ").split() for word in TOLERANCE_NAMES
        ):
            return "numerical resolution by name"
        return None

    def _count(self) -> str | None:
        parent = self.ancestors[-1]
        if isinstance(parent, ast.Compare) and isinstance(self.node, ast.Constant) and type(self.node.value) is int:
            others = [parent.left, *parent.comparators]
            if (
                any(isinstance(o, ast.Call) and _name(o.func) in ("len", "count") for o in others)
                or any(isinstance(o, ast.Attribute) and o.attr in ("ndim", "size") for o in others)
                or any(isinstance(o, ast.Name) and o.id.split("_")[-1] in COUNTS for o in others)
            ):
                return "compared with a count"
        return None

    def _guard(self) -> str | None:
        assert isinstance(self.node, ast.Constant)
        chain = (*self.ancestors, self.node)
        if any(isinstance(outer, ast.While) and inner is outer.test for outer, inner in pairwise(chain)):
            return "when a loop may stop"
        if _almost_one(self.ancestors[-1]):
            return "guard against division by zero or rounding"
        if abs(self.node.value) < 1e-7 and any(  # type: ignore[arg-type]
            isinstance(a, ast.Compare) or (isinstance(a, ast.Call) and _name(a.func) in GUARDS) for a in self.ancestors
        ):
            return "guard against division by zero or rounding"
        return None


def _is_zero(node: ast.expr) -> bool:
    """Whether *node* is ``0j`` or ``0.0 * …``, which change nothing but type or shape."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        node = node.left
        return isinstance(node, ast.Constant) and node.value == 0.0
    return isinstance(node, ast.Constant) and isinstance(node.value, complex) and node.value == 0.0


def _almost_one(node: ast.AST) -> bool:
    """Whether *node* is 1 plus or minus less than 1e-7."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub)):
        return False
    numbers = [p.value for p in (node.left, node.right) if isinstance(p, ast.Constant)]
    return len(numbers) == 2 and numbers[0] == 1 and isinstance(numbers[1], float) and abs(numbers[1]) < 1e-7


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
