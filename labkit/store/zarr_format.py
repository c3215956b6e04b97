"""Zarr v3 groups as plain files: a small writer for finished runs and a lazy reader for what it wrote.

zarr-python takes tens of milliseconds per group; a run has a budget of twenty for everything. The subset written here
is regular chunks, little endian, zstd, text as ``vlen-utf8``, consolidated metadata; zarr-python and xarray open it
as any other Zarr v3.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd
from xarray.backends.common import BackendArray
from xarray.core import indexing

from labkit.core.errors import Corrupted, StoreError
from labkit.store.documents import plain

CHUNK_BYTES = 16_000_000
"""Arrays above this are cut along their first dimension, bytes."""
_ZSTD = Zstd(level=1)
_TEXT = VLenUTF8()
_FILL: dict[str, Any] = {"b": False, "c": [0.0, 0.0]}
Read = Callable[[str], bytes]


def encode(groups: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, bytes]]:
    """The files, as (path, content), of one Zarr v3 hierarchy holding *groups* (``"prediction"``, ``"wafer/before"``
    …).

    Raises
    ------
    StoreError
        If a variable has a dtype that Zarr v3 does not know.
    """
    metadata: dict[str, Any] = {}
    for name, dataset in groups.items():
        for parent in _parents(name):
            metadata.setdefault(parent, _group({}))
        variables, attrs = _cf(dataset)
        metadata[name] = _group(attrs)
        for key, variable in variables.items():
            path = f"{name}/{key}"
            metadata[path], chunks = _array(path, variable)
            yield from ((f"{path}/c{place}", content) for place, content in chunks)
    for path, document in metadata.items():
        yield f"{path}/zarr.json", _json(document)
    yield (
        "zarr.json",
        _json(
            {**_group({}), "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": metadata}}
        ),
    )


def decode(read: Read) -> dict[str, xr.Dataset]:
    """The groups of a hierarchy written by :func:`encode`; *read* gives the content of a path. No array is read yet."""
    root = _parse(read("zarr.json"), "zarr.json")
    metadata = root.get("consolidated_metadata", {}).get("metadata", {})
    groups: dict[str, Any] = {
        path: ({}, meta.get("attributes", {})) for path, meta in metadata.items() if meta["node_type"] == "group"
    }
    for path, meta in metadata.items():
        if meta["node_type"] == "array":
            parent, _, name = path.rpartition("/")
            lazy = indexing.LazilyIndexedArray(_StoredArray(read, path, meta))
            groups[parent][0][name] = xr.Variable(meta.get("dimension_names", ()), lazy, meta.get("attributes", {}))
    return {path: _opened(variables, attrs) for path, (variables, attrs) in groups.items()}


def _opened(variables: dict[str, xr.Variable], attrs: dict[str, Any]) -> xr.Dataset:
    named: set[str] = set()
    for variable in variables.values():
        named.update(str(variable.attrs.pop("coordinates", "")).split())
    named.update(str(attrs.get("coordinates", "")).split())
    kept = {key: value for key, value in attrs.items() if key != "coordinates"}
    times = {key for key, v in variables.items() if " since " in str(v.attrs.get("units", "")) or "calendar" in v.attrs}
    dataset = xr.Dataset(
        {key: v for key, v in variables.items() if key not in named},
        {key: v for key, v in variables.items() if key in named},
        kept,
    )
    return xr.decode_cf(dataset, mask_and_scale=False, decode_coords=False) if times else dataset


def _cf(dataset: xr.Dataset) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    variables, attrs = xr.conventions.encode_dataset_coordinates(dataset)
    encoded = {}
    for key, variable in variables.items():
        if not isinstance(key, str) or not key or "/" in key or key.startswith((".", "__")):
            raise StoreError(
                f"variable name {key!r} cannot be stored", allowed="text without '/' or leading '.' or '__'"
            )
        encoded[key] = xr.conventions.encode_cf_variable(variable) if variable.dtype.kind in "mM" else variable
    return encoded, dict(attrs)


def _array(path: str, variable: xr.Variable) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    values = np.asarray(variable.values)
    text = values.dtype.kind in "UOT"
    if text and not all(isinstance(item, str) for item in values.ravel().tolist()):
        raise StoreError(f"{path} holds objects that are not text", allowed="numbers, booleans, times and text")
    if not text and values.dtype.kind not in "fiubc":
        raise StoreError(f"{path} has dtype {values.dtype}", allowed="numbers, booleans, times and text")
    shape = values.shape
    per_row = values.nbytes // max(shape[0], 1) if shape else 0
    rows = max(1, min(shape[0], CHUNK_BYTES // max(per_row, 1))) if shape else 1
    chunk = (rows, *(max(n, 1) for n in shape[1:])) if shape else ()
    codec: dict[str, Any] = {"name": "vlen-utf8"} if text else {"name": "bytes"}
    if not text and values.dtype.itemsize > 1:
        codec["configuration"] = {"endian": "little"}
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": "string" if text else values.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": "" if text else _FILL.get(values.dtype.kind, 0),
        "codecs": [codec, {"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
        "attributes": plain(variable.attrs),
        "dimension_names": [str(dim) for dim in variable.dims],
        "storage_transformers": [],
    }
    return document, list(_chunks(values, chunk, text))


def _chunks(values: np.ndarray, chunk: tuple[int, ...], text: bool) -> Iterator[tuple[str, bytes]]:
    if not values.shape:
        yield "", _packed(values, chunk, text)
    elif values.size:
        for at in range(0, values.shape[0], chunk[0]):
            place = (at // chunk[0], *[0] * (values.ndim - 1))
            yield _place(place), _packed(values[at : at + chunk[0]], chunk, text)


def _packed(values: np.ndarray, chunk: tuple[int, ...], text: bool) -> bytes:
    """One chunk, zstd-compressed; the last one is filled up to the chunk shape, as Zarr demands."""
    if values.shape != chunk:
        whole = np.full(chunk, "", dtype=object) if text else np.zeros(chunk, dtype=values.dtype)
        whole[tuple(slice(n) for n in values.shape)] = values
        values = whole
    if text:
        return bytes(_ZSTD.encode(_TEXT.encode(np.ascontiguousarray(values.astype(object)).ravel())))
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return bytes(_ZSTD.encode(np.ascontiguousarray(little)))


class _StoredArray(BackendArray):
    """One array of a finished run; chunks are read when values are asked for."""

    def __init__(self, read: Read, path: str, meta: dict[str, Any]) -> None:
        self.read, self.path = read, path
        try:
            self.shape = tuple(meta["shape"])
            self.chunk = tuple(meta["chunk_grid"]["configuration"]["chunk_shape"])
            self.text = meta["data_type"] == "string"
            self.dtype = np.dtype(object) if self.text else np.dtype(meta["data_type"])
        except (KeyError, TypeError) as error:
            raise Corrupted(f"{path}: its Zarr metadata cannot be read") from error

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """The values at *key*."""
        if isinstance(key, indexing.BasicIndexer):
            return self._values(key.tuple)
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._values)

    def _values(self, key: tuple[Any, ...]) -> np.ndarray:
        """The part of the array that *key*, integers and slices, addresses; only the chunks it touches are read."""
        picked = [_positions(part, n) for part, n in zip(key, self.shape, strict=True)]
        if not all(picked):
            return np.empty(
                [len(part) for part, k in zip(picked, key, strict=True) if isinstance(k, slice)], self.dtype
            )
        spans = [range(min(part) // size, max(part) // size + 1) for part, size in zip(picked, self.chunk, strict=True)]
        starts = [span.start * size for span, size in zip(spans, self.chunk, strict=True)]
        box = np.empty([len(span) * size for span, size in zip(spans, self.chunk, strict=True)], self.dtype)
        for place in product(*spans):
            corner = [at * size - start for at, size, start in zip(place, self.chunk, starts, strict=True)]
            box[tuple(slice(at, at + size) for at, size in zip(corner, self.chunk, strict=True))] = self._chunk(place)
        inside = [
            slice(part.start - start, part.stop - start if part.stop >= start else None, part.step)
            if isinstance(k, slice)
            else part.start - start
            for k, part, start in zip(key, picked, starts, strict=True)
        ]
        found: np.ndarray = box[tuple(inside)]
        return found

    def _chunk(self, place: tuple[int, ...]) -> np.ndarray:
        raw = _ZSTD.decode(self.read(f"{self.path}/c{_place(place)}"))
        if self.text:
            words: np.ndarray = np.asarray(_TEXT.decode(raw), dtype=object).reshape(self.chunk)
            return words
        found: np.ndarray = np.frombuffer(raw, dtype=self.dtype.newbyteorder("<"))
        if found.size != math.prod(self.chunk):
            raise Corrupted(f"{self.path}: chunk {place} holds {found.size} values, not {math.prod(self.chunk)}")
        return np.asarray(found.reshape(self.chunk), dtype=self.dtype)


def _positions(part: int | slice, count: int) -> range:
    """Positions along one dimension of *count* that *part* addresses."""
    return range(count)[part] if isinstance(part, slice) else range(part % count, part % count + 1)


def _place(index: tuple[int, ...]) -> str:
    return "".join(f".{at}" for at in index)


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    if not all(part and not part.startswith((".", "__")) for part in parts):
        raise StoreError(f"group name {name!r} cannot be stored", allowed="words separated by '/'")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _group(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": plain(attrs)}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _parse(content: bytes, path: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise Corrupted(f"{path} is not JSON") from error
    if not isinstance(found, dict):
        raise Corrupted(f"{path} is not a JSON object")
    return found
