"""Array dispatch: the namespace follows the inputs, and libraries are not mixed."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest

from labkit.core import arrays
from labkit.core.errors import LabkitError

DEVICE = array_api_strict.Device("device1")


def test_the_namespace_is_that_of_the_arrays_and_scalars_are_ignored() -> None:
    assert arrays.namespace(1.0, np.ones(2)).asarray([1.0]).__class__ is np.ndarray
    strict = array_api_strict.ones(2, device=DEVICE)
    assert arrays.namespace(2.0, strict).__name__.startswith("array_api_strict")
    assert arrays.namespace(1.0, None).asarray([1.0]).__class__ is np.ndarray


def test_mixing_libraries_is_refused_with_both_named() -> None:
    with pytest.raises(LabkitError, match="array_api_strict, numpy"):
        arrays.namespace(np.ones(2), array_api_strict.ones(2))


def test_like_follows_library_and_device_of_the_reference() -> None:
    made = arrays.like([1.0, 2.0], array_api_strict.ones(1, device=DEVICE))
    assert made.device == DEVICE
    assert isinstance(arrays.like([1.0], np.ones(1)), np.ndarray)
    assert isinstance(arrays.like([1.0], 2.0), np.ndarray)
    assert arrays.like([1], np.ones(1), dtype=np.float32).dtype == np.float32


def test_to_numpy_brings_arrays_home() -> None:
    values = np.arange(3.0)
    assert arrays.to_numpy(values) is values
    assert np.array_equal(arrays.to_numpy(array_api_strict.asarray(values)), values)
    assert np.array_equal(arrays.to_numpy(array_api_strict.asarray(values, device=DEVICE)), values)
    assert arrays.to_numpy(2.0) == 2.0


def test_device_names_are_short_text() -> None:
    assert arrays.device_name(np.ones(1)) == "cpu"


def test_torch_tensors_dispatch_and_come_home() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed; it is an optional extra")
    tensor = torch.arange(3.0, dtype=torch.float64, requires_grad=True)
    xp = arrays.namespace(tensor, 1.0)
    assert isinstance(xp.exp(tensor), torch.Tensor)
    assert np.array_equal(arrays.to_numpy(tensor), np.arange(3.0))
    assert arrays.device_name(tensor) == "cpu"
    with pytest.raises(LabkitError, match="numpy, torch"):
        arrays.namespace(tensor, np.ones(3))


@pytest.mark.gpu
def test_cupy_arrays_dispatch_and_come_home() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed; it is an optional extra")
    if cupy.cuda.runtime.getDeviceCount() == 0:
        pytest.skip("no CUDA device")
    array = cupy.arange(3.0)
    assert isinstance(arrays.namespace(array).exp(array), cupy.ndarray)
    assert np.array_equal(arrays.to_numpy(array), np.arange(3.0))
    assert arrays.device_name(array).startswith("cuda:")
