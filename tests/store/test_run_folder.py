"""A run's folder holds what it was given, with units, lazily, and notices any later change."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labkit.core.errors import Corrupted, NotFound, SchemaError, StoreError
from labkit.store import channels, run_folder, zarr_format
from labkit.store.run_folder import RunFolders

CREATED = datetime(2025, 3, 9, tzinfo=UTC)


def telemetry(samples: int = 50, scale: float = 1.0) -> xr.Dataset:
    return xr.Dataset(
        {
            "pressure": (
                "time",
                (np.arange(samples) * scale).astype("float32"),
                {"units": "torr", "long_name": "pressure"},
            ),
            "valve": ("time", np.arange(samples) % 2, {"units": "1"}),
        },
        {"time": ("time", np.arange(samples) * 0.5, {"units": "s"})},
    )


def wafers() -> xr.Dataset:
    draw = np.random.default_rng(0)
    return xr.Dataset(
        {
            "thickness": (("slot", "site"), draw.normal(size=(25, 49)), {"units": "nm"}),
            "film_thickness": (
                ("slot", "film", "site"),
                draw.normal(size=(25, 2, 49)).astype("float32"),
                {"units": "nm"},
            ),
            "good": (("slot",), np.arange(25) % 2 == 0),
            "total": ((), np.float64(7.5), {"units": "nm"}),
        },
        {
            "slot": ("slot", np.arange(1, 26), {"units": "1"}),
            "x": ("site", draw.normal(size=49), {"units": "mm"}),
            "film": ["SiO2", "poly-Sì"],
            "taken": ("slot", np.datetime64("2025-03-09T12:00:00", "ns") + np.arange(25) * np.timedelta64(1, "s")),
        },
        {"seed": 3, "references": "deal1965", "nested": [1, 2]},
    )


def publish(folders: RunFolders, run: str = "R1", **more: Any) -> tuple[str, str]:
    parts = {
        "telemetry": telemetry(),
        "fields": {"measured": wafers(), "wafer/before": wafers()},
        "created": CREATED,
        **more,
    }
    with folders.stage(run, {"process": "cvd", "seed": 3}, **parts) as staged:
        staged.publish()
    return staged.folder, staged.checksum


@pytest.fixture(params=["local", "memory"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolders:
    return RunFolders(tmp_path if request.param == "local" else f"memory://{tmp_path.name}/lab")


def test_a_run_comes_back_as_one_tree_equal_to_what_was_written(anywhere: RunFolders) -> None:
    folder, checksum = publish(anywhere)
    assert folder == "runs/2025/03/R1"
    tree = anywhere.open(folder, checksum)
    assert set(tree.groups) >= {"/telemetry", "/measured", "/wafer/before"}
    xr.testing.assert_identical(tree["measured"].to_dataset().load(), wafers())
    xr.testing.assert_identical(tree["wafer/before"].to_dataset().load(), wafers())
    xr.testing.assert_identical(tree["telemetry"].to_dataset().load(), telemetry())
    assert (tree.name, tree.attrs["process"], tree.attrs["seed"]) == ("R1", "cvd", 3)
    assert anywhere.document(folder, checksum)["id"] == "R1"
    assert anywhere.verify(folder, checksum) == 3


def test_other_programs_read_the_fields_as_zarr_and_the_telemetry_as_parquet(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    folder, _ = publish(folders)
    with zarr.storage.ZipStore(tmp_path / folder / "fields.zarr.zip", mode="r") as store:
        group = zarr.open_group(store, mode="r", use_consolidated=False)
        assert group.metadata.zarr_format == 3
        np.testing.assert_array_equal(group["measured/thickness"][:], wafers()["thickness"].values)
        assert group["measured/film"][:].tolist() == ["SiO2", "poly-Sì"]
        opened = xr.open_dataset(store, engine="zarr", group="measured", chunks=None, consolidated=False)
        xr.testing.assert_identical(opened.load(), wafers())
    table = pa.parquet.read_table(tmp_path / folder / "telemetry.parquet")
    assert table.schema.field("pressure").metadata[b"units"] == b"torr"
    assert table.column_names[0] == "time"
    assert json.loads((tmp_path / folder / "run.json").read_text())["process"] == "cvd"


def test_opening_reads_no_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = RunFolders(tmp_path)
    folder, checksum = publish(folders)
    read: list[str] = []
    original = zarr_format._StoredArray._chunk
    monkeypatch.setattr(
        zarr_format._StoredArray, "_chunk", lambda self, place: read.append(self.path) or original(self, place)
    )
    tree = folders.open(folder, checksum)
    repr(tree)
    assert "measured/thickness" not in read
    tree["measured/thickness"].load()
    assert read.count("measured/thickness") == 1


def test_arrays_can_be_handed_to_dask_workers(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    folder, checksum = publish(folders)
    tree = folders.open(folder, checksum).chunk()
    assert tree["measured/thickness"].chunks == ((25,), (49,))
    assert float(tree["measured/thickness"].sum().compute(scheduler="synchronous")) == pytest.approx(
        float(wafers()["thickness"].sum())
    )
    lazy = folders.open(folder, checksum)["telemetry/pressure"]
    assert float(pickle.loads(pickle.dumps(lazy)).max()) == 49.0


@given(
    values=hnp.arrays(
        st.sampled_from(["f4", "f8", "i2", "i8", "u1", "?", "c16"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7),
    ),
    data=st.data(),
    chunk=st.sampled_from([1, 40, 10**6]),
)
def test_any_array_and_any_part_of_it_comes_back(values: np.ndarray, data: st.DataObject, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_format, "CHUNK_BYTES", chunk)
        dims = tuple(f"d{n}" for n in range(values.ndim))
        files = dict(zarr_format.encode({"g": xr.Dataset({"v": (dims, values)})}))
        found = zarr_format.decode(files.__getitem__)["g"]["v"]
        key = data.draw(hnp.basic_indices(values.shape, allow_newaxis=False)) if values.ndim else ()
        np.testing.assert_array_equal(found[key].values, values[key])
        np.testing.assert_array_equal(found.values, values)
        assert found.dtype == values.dtype


def test_big_arrays_are_cut_and_zarr_still_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_format, "CHUNK_BYTES", 2_000)
    folders = RunFolders(tmp_path)
    folder, checksum = publish(folders)
    with zipfile.ZipFile(tmp_path / folder / "fields.zarr.zip") as packed:
        assert sum(name.startswith("measured/thickness/c.") for name in packed.namelist()) == 5
    with zarr.storage.ZipStore(tmp_path / folder / "fields.zarr.zip", mode="r") as store:
        np.testing.assert_array_equal(
            zarr.open_array(store, path="measured/thickness", mode="r")[:], wafers()["thickness"].values
        )
    xr.testing.assert_identical(folders.open(folder, checksum)["measured"].to_dataset().load(), wafers())


def test_equal_runs_make_equal_bytes(tmp_path: Path) -> None:
    first, second = (publish(RunFolders(tmp_path / name)) for name in ("a", "b"))
    assert first == second


def test_a_run_without_fields_or_telemetry_is_a_run(anywhere: RunFolders) -> None:
    folder, checksum = publish(anywhere, telemetry=None, fields=None)
    assert list(anywhere.open(folder, checksum).children) == []


def _change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["run.json", "checksums.json", "telemetry.parquet", "fields.zarr.zip"])
@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
def test_a_damaged_folder_is_named_and_the_others_stay_usable(tmp_path: Path, name: str, damage: str) -> None:
    folders = RunFolders(tmp_path)
    bad, checksum = publish(folders, "BAD")
    good, other = publish(folders, "GOOD")
    path = tmp_path / bad / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, path.stat().st_size - 3)
    else:
        _change(path)
    for call in (folders.open, folders.verify):
        with pytest.raises(Corrupted, match="BAD") as caught:
            call(bad, checksum)
        assert name in str(caught.value)
    assert folders.open(good, other)["telemetry/pressure"].shape == (50,)
    moved = folders.quarantine(bad)
    assert (tmp_path / moved).is_dir()
    assert not (tmp_path / bad).exists()


def test_a_file_added_later_is_noticed(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    folder, checksum = publish(folders)
    (tmp_path / folder / "extra.txt").write_text("x")
    with pytest.raises(Corrupted, match=r"extra\.txt was added"):
        folders.open(folder, checksum)


def test_damage_to_big_files_is_noticed_when_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "CHECKED_ON_OPEN", 0)
    folders = RunFolders(tmp_path)
    folder, checksum = publish(folders)
    tree = folders.open(folder, checksum)
    path = tmp_path / folder / "fields.zarr.zip"
    with zipfile.ZipFile(path) as packed:
        place = packed.getinfo("measured/thickness/c.0.0").header_offset + 200
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Corrupted, match="measured/thickness"):
        tree["measured/thickness"].load()
    assert float(tree["measured/total"]) == 7.5


def test_leaving_without_publishing_leaves_nothing(anywhere: RunFolders) -> None:
    with anywhere.stage("R1", {}, telemetry=telemetry(), created=CREATED):
        pass
    with pytest.raises(RuntimeError), anywhere.stage("R1", {}, telemetry=telemetry(), created=CREATED):
        raise RuntimeError
    assert anywhere.published() == []
    if anywhere.local is not None:
        assert list((anywhere.local / "staging").iterdir()) == []


def test_a_run_is_published_once(anywhere: RunFolders) -> None:
    publish(anywhere)
    with pytest.raises(StoreError, match="already has a folder"):
        publish(anywhere)
    assert anywhere.published() == ["runs/2025/03/R1"]
    anywhere.open("runs/2025/03/R1")


def test_two_cannot_finish_the_same_run(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    with folders.stage("R1", {}, created=CREATED), pytest.raises(StoreError, match="another process"):
        folders.stage("R1", {}, created=CREATED)
    publish(folders)


@pytest.mark.parametrize("name", ["../../x", "a/b", ""])
def test_a_run_cannot_be_written_outside_its_lab(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot identify"):
        RunFolders(tmp_path / "lab").stage(name, {})
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize(
    ("channels_", "what"),
    [
        ({"pressure": np.zeros(3)}, "time"),
        ({"time": np.zeros(3), "p": np.zeros(4)}, "one length"),
        ({"time": np.zeros((2, 2)), "p": np.zeros((2, 2))}, "1-D"),
        ({}, "none"),
    ],
)
def test_telemetry_without_time_or_of_several_lengths_is_refused(
    tmp_path: Path, channels_: dict[str, Any], what: str
) -> None:
    with pytest.raises(StoreError, match=what):
        RunFolders(tmp_path).stage("R1", {}, telemetry=channels_)
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.parametrize(
    "dataset",
    [xr.Dataset({"a": ("d", np.array([object()]))}), xr.Dataset({"a/b": ("d", [1])}), xr.Dataset({".a": ("d", [1])})],
)
def test_what_zarr_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, dataset: xr.Dataset) -> None:
    with pytest.raises(StoreError):
        RunFolders(tmp_path).stage("R1", {}, fields={"g": dataset})
    assert list((tmp_path / "staging").iterdir()) == []


def test_one_channel_of_many_runs_is_filled_up_and_keeps_its_unit(anywhere: RunFolders) -> None:
    rows = [
        {"id": f"R{n}", "folder": publish(anywhere, f"R{n}", telemetry=telemetry(40 + n, n), fields=None)[0]}
        for n in range(5)
    ]
    found = channels.channel(anywhere, "pressure", rows)
    assert found.dims == ("run", "sample")
    assert found.shape == (5, 44)
    assert found.attrs == {"units": "torr", "long_name": "pressure"}
    assert found.sel(run="R3").values[10] == 30.0
    assert np.isnan(found.sel(run="R0").values[40:]).all()
    assert not np.isnan(found.sel(run="R4").values).any()
    assert float(found.time.sel(run="R2")[4]) == 2.0


def test_a_channel_that_is_missing_or_changes_its_unit_is_refused(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    other = telemetry()
    other["pressure"].attrs["units"] = "Pa"
    rows = [
        {"id": "A", "folder": publish(folders, "A")[0]},
        {"id": "B", "folder": publish(folders, "B", telemetry=other)[0]},
    ]
    with pytest.raises(SchemaError, match="Pa and torr"):
        channels.channel(folders, "pressure", rows)
    with pytest.raises(NotFound, match="pressure"):
        channels.channel(folders, "temperature", rows)
    with pytest.raises(NotFound, match="finished runs"):
        channels.channel(folders, "pressure", [{"id": "C", "folder": None}])
    _change(tmp_path / rows[1]["folder"] / "telemetry.parquet")
    (tmp_path / rows[1]["folder"] / "telemetry.parquet").write_bytes(b"PAR1")
    with pytest.raises(Corrupted, match="run B"):
        channels.channel(folders, "pressure", rows)
