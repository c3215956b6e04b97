"""An open lab as such: where it lives, who acts, and how it is closed."""

from __future__ import annotations

import html
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import BaseFileLock

from labkit.core.errors import LabkitError, StoreError
from labkit.core.identity import Principal
from labkit.core.settings import Settings
from labkit.runs.workplace import Workplace
from labkit.store import audit


class OpenLab:
    """Settings, principal and folder of a lab whose catalogue is open, until :meth:`close`."""

    def __init__(self, place: Workplace, lock: BaseFileLock) -> None:
        self._workplace = place
        self._lock = lock
        self._closed = False

    @property
    def _place(self) -> Workplace:
        if self._closed:
            raise LabkitError(f"lab {self.folder} is closed", fix=f'open it again: labkit.open("{self.folder}")')
        return self._workplace

    @property
    def workplace(self) -> Workplace:
        """What the functions of the loop act on, for those who call them directly."""
        return self._place

    @property
    def folder(self) -> Path:
        """Where the lab lives."""
        return self._workplace.folder

    @property
    def settings(self) -> Settings:
        """Settings in force."""
        return self._workplace.settings

    @property
    def principal(self) -> Principal:
        """Who acts."""
        return self._workplace.principal

    def close(self) -> None:
        """Sign the head of the audit log and let go of the catalogue; closing again changes nothing."""
        if not self._closed:
            with suppress(StoreError):
                audit.anchor(self._workplace.catalogue)
        self._closed = True
        self._workplace.tools.close()
        self._workplace.catalogue.close()
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<lab {self.folder} of {self.principal.organisation}, {self.principal.signature}>"

    def _repr_html_(self) -> str:
        return f"<b>lab</b> {html.escape(str(self.folder))} · {html.escape(self.principal.signature)}"
