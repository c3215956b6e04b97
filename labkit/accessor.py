"""``ds.lab`` on every xarray Dataset once this module is imported: what a result rests on and what in it is a guess."""

from __future__ import annotations

import xarray as xr

from labkit.core.citations import citations


@xr.register_dataset_accessor("lab")  # type: ignore[no-untyped-call]
class LabAccessor:
    """What labkit knows about one Dataset."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def cite(self) -> str:
        """References the result rests on, one per line; see :func:`labkit.core.citations.citations`."""
        return citations(self._dataset)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Constants and models in the result that are plausible guesses, as its process declared them."""
        declared = str(self._dataset.attrs.get("illustrative", ""))
        return tuple(declared.split("; ")) if declared else ()

    def __repr__(self) -> str:
        process = self._dataset.attrs.get("process", "unknown process")
        return f"<labkit result of {process}, {len(self.caveats)} caveats>"
