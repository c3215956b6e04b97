"""Recipes: frozen, bounded, with units; JSON in and out, a canonical hash, and a diff in the field's words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from labkit.core.errors import Problem, RecipeError

_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_MAX_DOCUMENT = 4_000_000
_MAX_DEPTH = 64


def knob(default: Any = ..., *, units: str = "1", description: str, **constraints: Any) -> Any:
    """A recipe field with unit and bounds: ``knob(0.5, units="torr", gt=0, le=760, description="…")``."""
    return Field(default, description=description, json_schema_extra={"units": units}, **constraints)


class Strict(BaseModel):
    """Base of every frozen model in a recipe or contract: unknown fields are refused, NaN and infinity too."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=10_000, ser_json_inf_nan="constants"
    )


class RecipeStatus(StrEnum):
    """Where a recipe stands. Only the catalogue moves it; a file cannot approve itself."""

    DRAFT = "draft"
    APPROVED = "approved"
    RETIRED = "retired"


class Recipe(Strict):
    """The knobs of one run of one process.

    Subclasses add the process's own fields and set :attr:`process`. Instances are immutable; change one with
    :meth:`changed`. The canonical hash covers everything but ``status``, ``metadata`` and ``notes``.
    """

    process: ClassVar[str] = ""
    unhashed: ClassVar[frozenset[str]] = frozenset({"status", "metadata", "notes"})

    name: str = knob(
        description="Recipe name, unique with version within an organisation",
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
    )
    version: int = knob(1, description="Version; a changed recipe is a new version", ge=1, le=1_000_000)
    status: RecipeStatus = Field(RecipeStatus.DRAFT, description="Approval status; kept by the catalogue")
    safety_hazard_level: int = knob(1, description="Hazard level, 1 (inert) to 5 (pyrophoric, toxic)", ge=1, le=5)
    required_interlocks: tuple[str, ...] = Field((), description="Interlocks that must be closed before a start")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Free notes for people; not part of the hash")
    notes: tuple[str, ...] = Field((), description="What labkit changed on import, in words")

    @field_validator("metadata")
    @classmethod
    def _holds_only_json(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        try:
            text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
            text.encode()
        except (TypeError, ValueError, RecursionError):
            raise ValueError("text, finite numbers, lists and objects, as JSON holds them") from None
        return dict(json.loads(text))

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """A recipe from decoded JSON.

        An imported ``status`` other than draft becomes a draft with a note: approval is given here, by two people.

        Raises
        ------
        RecipeError
            Listing every refused field with its value, the allowed range and the fix.
        """
        if _deeper_than(_MAX_DEPTH, document):
            raise RecipeError(f"{cls.process} recipe is nested too deeply", allowed="a few levels, as in the schema")
        fields = {key: value for key, value in document.items() if key != "process"}
        named = document.get("process", cls.process)
        if named != cls.process:
            raise RecipeError(f"recipe is for process {named!r}, not {cls.process!r}", allowed=cls.process)
        status = fields.pop("status", RecipeStatus.DRAFT)
        try:
            recipe = cls.model_validate(fields)
            if problems := tuple(_misread(fields, recipe)):
                raise RecipeError(f"{cls.process} recipe {recipe.name[:80]!r} was refused", problems)
            if status != RecipeStatus.DRAFT:
                note = (
                    f"imported with status {str(status)[:40]!r}: a draft here until two people of this lab approve it"
                )
                if note not in recipe.notes:
                    recipe = recipe.model_copy(update={"notes": (*recipe.notes, note)})
        except ValidationError as error:
            raise refusal(
                error, what=f"{cls.process} recipe {str(document.get('name', ''))[:80]!r} was refused"
            ) from None
        return recipe

    @classmethod
    def from_json(cls, source: str | Path) -> Self:
        """A recipe from JSON text or a ``.json`` file; ``//`` and ``/* */`` comments are tolerated."""
        return cls.parse(read_document(source))

    def to_json(self, *, indent: int | None = 2) -> str:
        """The recipe as JSON, with its ``process``; reads back equal."""
        return json.dumps({"process": self.process, **self.model_dump(mode="json")}, indent=indent, ensure_ascii=False)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON (sorted keys, shortest float repr) of everything that shapes the run."""
        content = self.model_dump(mode="json", exclude=set(self.unhashed))
        canonical = json.dumps(
            {"process": self.process, **content}, sort_keys=True, separators=(",", ":"), allow_nan=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A validated copy with *changes* by path, e.g. ``{"pressure_setpoints.process_pressure_torr": 0.4}``."""
        document = self.model_dump(mode="json")
        for path, value in changes.items():
            _assign(document, path, value)
        return type(self).parse(document)

    def value(self, path: str) -> Any:
        """The value at *path* (dots for fields, numbers for list positions: ``recipe_steps.3.duration_s``)."""
        found: Any = self.model_dump(mode="json")
        for part in path.split("."):
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise RecipeError(
                    f"recipe {self.name!r} has no field {path!r}",
                    allowed=", ".join(list(dict(leaves(self.model_dump(mode="json"))))[:20]),
                ) from None
        return found

    def diff(self, other: Recipe) -> tuple[Change, ...]:
        """What differs in *other*, field by field, ignoring status, metadata and notes."""
        mine = dict(leaves(self.model_dump(mode="json", exclude=set(self.unhashed))))
        theirs = dict(leaves(other.model_dump(mode="json", exclude=set(self.unhashed))))
        return tuple(
            Change(path, mine.get(path), theirs.get(path))
            for path in dict.fromkeys([*mine, *theirs])
            if mine.get(path) != theirs.get(path)
        )


class Change(Strict):
    """One field that differs between two recipes; ``None`` where a side lacks it."""

    path: str
    before: Any
    after: Any

    def __init__(self, path: str, before: Any, after: Any) -> None:
        BaseModel.__init__(self, path=path, before=before, after=after)

    def __str__(self) -> str:
        return f"{self.path}: {self.before!r} → {self.after!r}"

    __repr__ = __str__


def leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar in nested JSON as ``(path, value)``; an empty list or object counts as a scalar."""
    if isinstance(document, Mapping) and document:
        for key, value in document.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(document, list | tuple) and document:
        for position, value in enumerate(document):
            yield from leaves(value, f"{path}.{position}" if path else str(position))
    else:
        yield path, document


def read_document(source: str | Path) -> dict[str, Any]:
    """Decoded JSON object from text or a file, comments tolerated.

    Raises
    ------
    RecipeError
        If the file cannot be read, is not JSON, or is not an object.
    """
    text = _read_text(source) if isinstance(source, Path) else source
    where = f"{source}: " if isinstance(source, Path) else ""
    if len(text) > _MAX_DOCUMENT:
        raise RecipeError(f"{where}recipe of more than {_MAX_DOCUMENT} characters", allowed=f"at most {_MAX_DOCUMENT}")
    try:
        document = json.loads(
            _COMMENT.sub(lambda hit: hit[0] if hit[0].startswith('"') else " ", text),
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_duplicates,
        )
    except json.JSONDecodeError as error:
        raise RecipeError(
            f"{where}not JSON at line {error.lineno}, column {error.colno}: {error.msg}",
            fix="correct the syntax there; comments // and /* */ are allowed",
        ) from None
    except RecursionError:
        raise RecipeError(f"{where}nested too deeply", allowed="a few levels, as in the schema") from None
    except RecipeError as error:
        raise RecipeError(f"{where}{error.what}", fix=error.fix) from None
    except ValueError as error:
        raise RecipeError(f"{where}{error}", allowed="finite numbers") from None
    if not isinstance(document, dict):
        raise RecipeError(f"{where}a recipe is a JSON object, not {type(document).__name__}", allowed="{ … }")
    return document


def _misread(given: Any, kept: Any, path: str = "") -> Iterator[Problem]:
    """Scalars that Pydantic read as another kind: ``true`` as 1.0, ``"100"`` as 100, 1 as ``true``."""
    if isinstance(given, Mapping) and isinstance(kept, BaseModel):
        for key, value in given.items():
            yield from _misread(value, getattr(kept, key, None), f"{path}.{key}" if path else key)
    elif isinstance(given, list | tuple) and isinstance(kept, tuple) and len(given) == len(kept):
        for position, pair in enumerate(zip(given, kept, strict=True)):
            yield from _misread(*pair, f"{path}.{position}")
    elif isinstance(kept, bool) is not isinstance(given, bool) or isinstance(kept, str) is not isinstance(given, str):
        allowed = "true or false" if isinstance(kept, bool) else "a number, without quotes"
        if isinstance(kept, bool | int | float) and isinstance(given, str | bool | int | float):
            yield Problem(path, given, allowed, "correct the value")


def _deeper_than(levels: int, document: Any) -> bool:
    layer = [document]
    for _ in range(levels):
        layer = [
            child
            for node in layer
            if isinstance(node, Mapping | list | tuple)
            for child in (node.values() if isinstance(node, Mapping) else node)
        ]
    return bool(layer)


def _read_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(_MAX_DOCUMENT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RecipeError(
            f"{path}: cannot be read ({reason})", fix="check the path and that it is a JSON text file"
        ) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RecipeError(f"{twice[:80]!r} stands twice in one object", fix="remove one of them: only one can be meant")
    return document


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number a recipe may hold")


def _assign(document: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    try:
        for part in parents:
            document = document[int(part)] if isinstance(document, list) else document[part]
        if isinstance(document, list):
            document[int(last)] = value
        elif isinstance(document, dict):
            document[last] = value
        else:
            raise TypeError
    except (KeyError, IndexError, ValueError, TypeError):
        raise RecipeError(f"no recipe field {path!r} to change", fix="see recipe.to_json() for the paths") from None


_KINDS = {
    "float": "a number",
    "finite_number": "a finite number",
    "int": "a whole number",
    "string_type": "text",
    "bool": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model": "an object",
}
"""What a value of the wrong kind should have been, by how Pydantic's error types begin."""


def refusal(error: ValidationError, *, what: str) -> RecipeError:
    """A Pydantic error in our words: field, value, allowed range, fix."""
    problems = []
    for detail in error.errors(include_url=False):
        field = " ".join(".".join(str(part) for part in detail["loc"]).split())[:200] or "recipe"
        context = detail.get("ctx", {})
        kind = detail["type"]
        allowed, fix = _allowed(kind, context, detail["msg"])
        value = "(absent)" if kind == "missing" else detail["input"]
        problems.append(Problem(field, value, allowed, fix))
    return RecipeError(what, tuple(problems))


def _allowed(kind: str, context: Mapping[str, Any], message: str) -> tuple[str, str]:
    bounds = {
        "greater_than": ("gt", "above"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "below"),
        "less_than_equal": ("le", "at most"),
    }
    if kind in bounds:
        key, word = bounds[kind]
        return f"{word} {context[key]}", f"set a value {word} {context[key]}"
    if kind == "missing":
        return "a value", "add this field"
    if kind == "extra_forbidden":
        return "no such field", "remove it, or correct its spelling (metadata holds free notes)"
    if kind == "string_pattern_mismatch":
        return f"text that matches {context.get('pattern')}", "correct the value"
    if kind in ("literal_error", "enum"):
        return str(context.get("expected", "one of the listed values")), "use one of these"
    for start, words in _KINDS.items():
        if kind.startswith(start):
            return words, f"set {words}"
    return message.removeprefix("Value error, ")[:200], "correct the value"
