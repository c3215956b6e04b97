"""Telemetry and Datasets come back from bytes as they were."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labkit.core import registry
from labkit.core.errors import Corrupted, SchemaError
from labkit.core.wire import pack_dataset, pack_telemetry, unpack_dataset, unpack_telemetry

NUMBERS = st.sampled_from(["float32", "float64", "int64", "int16", "uint8"])


@settings(max_examples=50, deadline=None)
@given(data=st.data(), length=st.integers(0, 50), kinds=st.lists(NUMBERS, min_size=1, max_size=5))
def test_telemetry_comes_back_bit_by_bit(data, length, kinds):
    block = {f"c{n}": data.draw(hnp.arrays(kind, length)) for n, kind in enumerate(kinds)}
    again = unpack_telemetry(pack_telemetry(block))
    assert list(again) == list(block)
    for name, values in block.items():
        assert again[name].dtype == values.dtype
        assert again[name].tobytes() == values.tobytes()


@pytest.mark.parametrize("name", ["cvd", "lithography"])
def test_wafers_of_every_process_come_back(name):
    process = registry.process(name)
    recipe = process.example_recipes()[0]
    for wafers in (process.incoming_wafers(recipe), process.simulate(recipe, process.incoming_wafers(recipe))):
        again = unpack_dataset(pack_dataset(wafers))
        xr.testing.assert_identical(again, wafers)
        assert list(again.coords) == list(wafers.coords)


def test_text_flags_and_numbers_of_numpy_come_back():
    dataset = xr.Dataset(
        {"flag": ("n", np.array([True, False])), "empty": ("m", np.zeros(0)), "scalar": 3.5},
        coords={"n": ["ä", "longer"]},
        attrs={"count": np.int64(3), "level": np.float32(0.5), "list": [1, 2], "ok": np.bool_(True)},
    )
    again = unpack_dataset(pack_dataset(dataset))
    xr.testing.assert_equal(again, dataset)
    assert again.attrs == {"count": 3, "level": 0.5, "list": [1, 2], "ok": True}


def test_an_array_in_a_fortran_order_comes_back_the_same():
    dataset = xr.Dataset({"a": (("x", "y"), np.asfortranarray(np.arange(6.0).reshape(2, 3)))})
    xr.testing.assert_identical(unpack_dataset(pack_dataset(dataset)), dataset)


def test_what_was_unpacked_may_be_written_to():
    telemetry = unpack_telemetry(pack_telemetry({"time": np.arange(3.0)}))
    telemetry["time"][0] = 5.0
    dataset = unpack_dataset(pack_dataset(xr.Dataset({"a": ("x", np.arange(3.0))})))
    dataset["a"][0] = 5.0


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -20])
def test_anything_else_is_refused(cut):
    telemetry = pack_telemetry({"time": np.arange(100.0)})
    dataset = pack_dataset(xr.Dataset({"a": ("x", np.arange(100.0))}))
    with pytest.raises(Corrupted):
        unpack_dataset(dataset[:cut])
    with pytest.raises(Corrupted):
        unpack_telemetry(telemetry[:cut])


def test_objects_become_text_and_are_never_pickled():
    hostile = xr.Dataset({"a": ("x", np.array([{"not": "data"}, None], dtype=object))})
    assert unpack_dataset(pack_dataset(hostile))["a"].dtype.kind == "U"


def test_an_attribute_that_json_cannot_hold_is_refused():
    with pytest.raises(SchemaError, match="object"):
        pack_dataset(xr.Dataset(attrs={"thing": object()}))
