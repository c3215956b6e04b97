"""What every source file keeps: documented names, no pickle, no other host, no leftovers, no attics."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGE, ROOT, imported, modules, tree

MAX_LINES = 450
ATTICS = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
OTHER_HOSTS = re.compile(
    r"https?://(?!(doi\.org|localhost|127\.0\.0\.1|json-schema\.org|www\.w3\.org)\b)", re.IGNORECASE
)
CDNS = re.compile(r"\b(cdn\.|unpkg\.com|jsdelivr|cdnjs|googleapis|gstatic|cloudflare)", re.IGNORECASE)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|home|root|Users|tmp|mnt|opt)/\w")
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

every_module = pytest.mark.parametrize("path", modules(), ids=str)


def text(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def used_strings(path: Path) -> list[str]:
    """String literals of *path* that the program uses; docstrings, where sources are cited, set aside."""
    statements = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements
    ]


def undocumented(node: ast.Module | ast.ClassDef, prefix: str = "") -> list[str]:
    found = []
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            if ast.get_docstring(child) is None and not _speaks_through_another(child):
                found.append(f"{prefix}{child.name}")
            if isinstance(child, ast.ClassDef):
                found += undocumented(child, f"{prefix}{child.name}.")
    return found


def _speaks_through_another(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    words = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
    return bool(words & {"overload", "setter", "deleter"})


@every_module
def test_every_public_name_is_documented(path: Path) -> None:
    body = tree(path)
    assert ast.get_docstring(body), f"{path} has no docstring"
    if "migrations" in path.parts or (path.parts[1] == "testing" and path.name.endswith("_contract.py")):
        return
    assert undocumented(body) == []


@every_module
def test_nothing_is_pickled(path: Path) -> None:
    assert {name.split(".")[0] for name in imported(path)} & PICKLES == set()
    allowed = [
        call.lineno
        for call in ast.walk(tree(path))
        if isinstance(call, ast.Call)
        for word in call.keywords
        if word.arg == "allow_pickle" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
    ]
    assert allowed == [], f"{path} allows pickled arrays at lines {allowed}"
    pickling = [
        call.lineno
        for call in ast.walk(tree(path))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("to_pickle", "read_pickle")
    ]
    assert pickling == []


@every_module
def test_no_source_speaks_to_another_host(path: Path) -> None:
    assert [string for string in used_strings(path) if OTHER_HOSTS.search(string)] == []
    assert CDNS.findall(text(path)) == []


@every_module
def test_no_source_holds_a_path_of_somebodys_machine(path: Path) -> None:
    assert MACHINE_PATHS.findall(text(path)) == []


@every_module
def test_no_leftovers(path: Path) -> None:
    assert LEFTOVERS.findall(text(path)) == []


@every_module
def test_a_file_is_one_idea(path: Path) -> None:
    assert len(text(path).splitlines()) <= MAX_LINES
    assert path.stem.strip("_") not in ATTICS
    assert not ATTICS & set(path.parts)


def test_tests_hold_no_leftovers_or_machine_paths_either() -> None:
    here = Path(__file__).resolve()
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.resolve() != here]
    assert [str(path) for path in files if LEFTOVERS.search(path.read_text("utf-8"))] == []
    assert [str(path) for path in files if re.search(r"(?<![\w.])/(work|home|Users)/\w", path.read_text("utf-8"))] == []


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_the_reader_of_docstrings_sees_a_missing_one() -> None:
    assert undocumented(
        ast.parse("def f(): pass\nclass A:\n    'x'\n    def g(self): pass\n    def _h(self): pass")
    ) == ["f", "A.g"]
