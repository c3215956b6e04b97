"""The one line of ``labkit.toml`` that says where a lab's catalogue is, changed without touching the others."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

from labkit.core.errors import StoreError
from labkit.store.places import sync_folder, writing

SETTINGS = "labkit.toml"
"""The lab's settings file; its ``database_url`` says where the catalogue is."""
_ASSIGNED = re.compile(r"""^([ \t]*database_url[ \t]*=[ \t]*)("[^"\r\n]*"|'[^'\r\n]*')""", re.MULTILINE)
_TAKEN_OUT = "# database_url was here; without it the catalogue is the SQLite file of this folder"


def point_to(path: Path, url: str) -> None:
    """Set ``database_url`` in the settings file *path*, in one step that survives a power cut.

    Raises
    ------
    StoreError
        If the file cannot be read or written, or is laid out so that the line cannot be set by itself.
    """
    changed = redirected(settings_text(path), url).encode()
    aside = path.with_name(f".{path.name}.new")
    with writing(path):
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        handle = os.open(aside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode)
        with os.fdopen(handle, "wb") as sink:
            sink.write(changed)
            sink.flush()
            os.fsync(handle)
        os.replace(aside, path)
        sync_folder(path.parent)


def settings_text(path: Path) -> str:
    """What the settings file *path* says, line endings as they are; nothing where there is none.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}", fix="correct or remove the file") from None


def redirected(text: str, url: str | None) -> str:
    """The settings *text* with ``database_url`` set to *url*, or taken out where that is ``None``.

    Raises
    ------
    StoreError
        If the result would not say that, or say anything else differently.
    """
    ending = "\r\n" if "\r\n" in text else "\n"
    line = None if url is None else json.dumps(url, ensure_ascii=False)
    if _ASSIGNED.search(text):
        changed = _ASSIGNED.sub(lambda found: _TAKEN_OUT if line is None else f"{found[1]}{line}", text)
    elif line is None:
        changed = text
    else:
        gap = "" if not text or text.endswith("\n") else ending
        changed = f"{text}{gap}database_url = {line}{ending}"
    try:
        wanted = {key: value for key, value in tomllib.loads(text).items() if key != "database_url"}
        if url is not None:
            wanted["database_url"] = url
        if tomllib.loads(changed) == wanted:
            return changed
    except tomllib.TOMLDecodeError:
        pass
    raise StoreError(
        f"database_url in {SETTINGS} cannot be changed without changing something else",
        allowed='a line of its own: database_url = "…"',
        fix="write it on a line of its own, above any [section]",
    )
