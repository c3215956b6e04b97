"""The mutation runner finds the sites it should, leaves alone those it should, and tells killed from survived."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.mutants import bands, reach, targets
from tests.mutants.mutations import mutations


def mutants(source: str, declared: list[bands.Band] | None = None) -> list[str]:
    """Every mutated version of *source*, checked to be Python."""
    found, _ = mutations("f.py", source.encode(), declared or [])
    texts = []
    for mutant in found:
        changed = source.encode()[: mutant.start] + mutant.after.encode() + source.encode()[mutant.end :]
        ast.parse(changed)
        texts.append(changed.decode())
    return texts


def test_a_constant_is_moved_both_ways_by_a_tenth() -> None:
    assert mutants("E = 2.0") == ["E = 2.2", "E = 1.8"]
    assert mutants("µ = 'µm'; y = x ** 2") == ["µ = 'µm'; y = x ** 2.2", "µ = 'µm'; y = x ** 1.8"]


def test_signs_are_flipped_wherever_they_stand() -> None:
    assert mutants("y = (a) + b") == ["y = (a) - b"]
    assert mutants("y = -a") == ["y = +a"]
    assert mutants("y -= a") == ["y += a"]
    assert mutants("y = (a  # plus + minus -\n     - b)") == ["y = (a  # plus + minus -\n     + b)"]
    assert sorted(mutants("y = a - -b")) == ["y = a + -b", "y = a - +b"]


@pytest.mark.parametrize(
    "source",
    [
        "y = x[1]",
        "y = x[i + 1:]",
        "y = sum(x, axis=-1)",
        "for i in range(n + 1): pass",
        "z = 0.0",
        "s = f'{x:.3f} {y + 1}'",
        "raise ValueError('a' + str(1.0))",
        "t = 'a' + b",
        "p = knob(0.5, ge=0.1)",
        "r = np.maximum(x, 1e-12)",
        "TOLERANCE = 1e-6",
        "if len(x) < 2: pass",
        "b = -math.inf",
        "x: int",
        "while high > low * 1.001: pass",
        "if baseline_runs < 2: pass",
        "y = a + xp.zeros_like(x)",
        "y = a + 0.0 * x",
        "y = a + 0j",
        "y = a * (1.0 - 1e-12)",
        "y = a + s * rng.standard_normal(n)",
        "y = max(x, default=-1)",
    ],
)
def test_what_is_no_physics_is_left_alone(source: str) -> None:
    assert mutants(source) == []


def test_a_constant_with_a_band_is_moved_beyond_it() -> None:
    declared = [bands.Band("f.py", "LAW", "rate", 8.0, 12.0, "quoted")]
    assert mutants("LAW = Law(rate=flux(10.0))", declared) == [
        "LAW = Law(rate=flux(7.2))",
        "LAW = Law(rate=flux(13.200000000000001))",
    ]
    assert mutants("LAW = Law(other=10.0)", declared) == ["LAW = Law(other=11.0)", "LAW = Law(other=9.0)"]


def test_every_declared_band_is_about_a_number_that_exists() -> None:
    for band in bands.read():
        source = (ROOT / band.path).read_bytes()
        plain, _ = mutations(band.path, source, [])
        moved, _ = mutations(band.path, source, [band])
        changed = [(a, b) for a, b in zip(plain, moved, strict=True) if a.after != b.after]
        assert len(changed) == 2, f"{band.path}: {band.owner}.{band.field} names {len(changed) // 2} numbers"
        assert band.low <= float(changed[0][0].before) <= band.high
        assert band.source


def test_every_target_file_can_be_mutated_and_stays_python() -> None:
    for path in targets.sources(ROOT, None):
        source = (ROOT / path).read_bytes()
        for mutant in mutations(path, source, [])[0][::7]:
            ast.parse(source[: mutant.start] + mutant.after.encode() + source[mutant.end :])


def test_of_a_sign_only_the_flip_is_tried() -> None:
    assert mutants("s = -1.0 if bright else 1.0") == ["s = +1.0 if bright else 1.0"]
    assert mutants("s = [-1.0, 1.0]") == ["s = [+1.0, 1.0]"]
    assert len(mutants("s = 2.0 if bright else 1.0")) == 4


SOURCE = """E = 2.0
@cached
def near(x):
    \"\"\"Doc.\"\"\"
    return 2.0 * x
"""


def test_line_of_a_mutant_leads_to_its_function_or_to_the_import() -> None:
    assert [reach.function_of(SOURCE, line) for line in (1, 3, 5)] == [reach.AT_IMPORT, reach.AT_IMPORT, 2]


def measured() -> reach.Reach:
    return reach.Reach(
        lines={
            "tests/test_near.py::slow": {"labkit/near.py": [2]},
            "tests/test_near.py::fast": {"labkit/near.py": [2]},
            "tests/test_far.py::user": {"labkit/user.py": [9]},
            "tests/test_other.py::other": {"labkit/other.py": [9]},
        },
        seconds={
            "tests/test_near.py::slow": 2.0,
            "tests/test_near.py::fast": 0.1,
            "tests/test_far.py::user": 0.01,
            "tests/test_other.py::other": 0.01,
        },
        imports={"labkit/near.py": [], "labkit/user.py": ["labkit/near.py"], "labkit/other.py": []},
    )


def test_a_mutant_meets_the_tests_that_run_it_the_fastest_first(tmp_path: Path) -> None:
    (tmp_path / "labkit").mkdir()
    (tmp_path / "labkit" / "near.py").write_text(SOURCE)
    constant, inside = mutations("labkit/near.py", SOURCE.encode(), [])[0][::2]
    near = ["tests/test_near.py::fast", "tests/test_near.py::slow"]
    assert measured().tests_for(inside, tmp_path) == near
    assert measured().tests_for(constant, tmp_path) == [*near, "tests/test_far.py::user"]


def test_reach_is_kept_for_unchanged_test_files_only(tmp_path: Path) -> None:
    cache = reach.Cache(tmp_path / "reach.json", "state of labkit")
    files = {"tests/test_near.py": "1", "tests/test_far.py": "1", "tests/test_other.py": "1"}
    cache.save(measured(), files)
    known, stale = cache.load({**files, "tests/test_far.py": "2", "tests/test_new.py": "1"})
    assert stale == ["tests/test_far.py", "tests/test_new.py"]
    assert {test.split("::")[0] for test in known.lines} == {"tests/test_near.py", "tests/test_other.py"}
    assert reach.Cache(tmp_path / "reach.json", "another state").load(files)[1] == list(files)
