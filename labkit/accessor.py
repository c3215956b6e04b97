"""``ds.lab`` on every xarray Dataset and DataTree once this module is imported: what a result rests on and what in it
is a guess."""

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


@xr.register_datatree_accessor("lab")  # type: ignore[no-untyped-call]
class TreeAccessor:
    """What labkit knows about all Datasets of a tree together, such as a run's ``data``."""

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def cite(self) -> str:
        """References that any node rests on, each once, one per line."""
        found = [line for node in self._results() for line in node.cite().splitlines()]
        return "\n".join(dict.fromkeys(found))

    @property
    def caveats(self) -> tuple[str, ...]:
        """Guesses in any node, each once."""
        return tuple(dict.fromkeys(caveat for node in self._results() for caveat in node.caveats))

    def __repr__(self) -> str:
        names = dict.fromkeys(str(node.attrs["process"]) for node in self._tree.subtree if "process" in node.attrs)
        return f"<labkit results of {', '.join(names) or 'unknown process'}, {len(self.caveats)} caveats>"

    def _results(self) -> list[LabAccessor]:
        return [
            LabAccessor(node.to_dataset(inherit=False)) for node in self._tree.subtree if "references" in node.attrs
        ]
