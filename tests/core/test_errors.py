"""Errors say what was wrong, what is allowed and what to do."""

from __future__ import annotations

import inspect

import pytest

from labkit.core import errors
from labkit.core.errors import LabkitError, Problem, RecipeError


def test_an_error_reads_as_one_line_of_what_allowed_and_fix() -> None:
    error = LabkitError("pressure 9 torr", allowed="0.1 to 2 torr", fix="lower it")
    assert str(error) == "pressure 9 torr. Allowed: 0.1 to 2 torr. Fix: lower it"
    assert str(LabkitError("gone.")) == "gone"


def test_a_refusal_lists_every_problem_with_its_value() -> None:
    error = RecipeError(
        "recipe refused", (Problem("a.b", 7, "at most 5", "lower it"), Problem("c", "x" * 200, "a number", "fix"))
    )
    assert "a.b = 7: allowed at most 5; lower it" in str(error)
    assert "c = 'xxx" in str(error)
    assert len(str(error.problems[1])) < 120
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "kind", [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
)
def test_every_error_can_be_caught_as_one_kind(kind: type[Exception]) -> None:
    assert issubclass(kind, LabkitError)
    assert issubclass(errors.NotFound, errors.StoreError)
    assert issubclass(errors.Corrupted, errors.StoreError)
