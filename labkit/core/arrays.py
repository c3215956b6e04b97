"""Array dispatch: kernels take their namespace from their inputs, so NumPy, CuPy and Torch run the same code.

All knowledge about a particular backend lives in this module; physics code only ever sees ``xp``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import array_api_compat
import numpy as np

from labkit.core.errors import LabkitError

Array = Any


def namespace(*arrays: Array) -> ModuleType:
    """Array-API namespace shared by *arrays*; Python scalars are ignored, with none at all it is NumPy.

    Raises
    ------
    LabkitError
        If the arrays belong to different libraries.
    """
    concrete = [a for a in arrays if array_api_compat.is_array_api_obj(a)]
    if not concrete:
        return array_api_compat.array_namespace(np.empty(0))
    try:
        return array_api_compat.array_namespace(*concrete)
    except TypeError as error:
        kinds = sorted({type(a).__module__.split(".")[0] for a in concrete})
        raise LabkitError(
            f"arrays of different libraries were mixed: {', '.join(kinds)}",
            allowed="one library per call",
            fix="convert all inputs with the same library, e.g. cupy.asarray(x)",
        ) from error


def device_of(array: Array) -> Any:
    """Device on which *array* lives, in its own library's terms."""
    return array_api_compat.device(array)


def like(values: Any, reference: Array, *, dtype: Any = None) -> Array:
    """*values* as an array of the library and on the device of *reference*."""
    xp = namespace(reference)
    if array_api_compat.is_array_api_obj(reference):
        return xp.asarray(values, dtype=dtype, device=device_of(reference))
    return xp.asarray(values, dtype=dtype)


def to_numpy(array: Array) -> np.ndarray:
    """*array* as a NumPy array in host memory (a view where possible)."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_cupy_array(array):
        return np.asarray(array.get())
    if array_api_compat.is_torch_array(array):
        return np.asarray(array.detach().cpu().numpy())
    try:
        return np.asarray(array)
    except Exception:
        xp = namespace(array)
        host = array_api_compat.to_device(array, "cpu") if hasattr(xp, "to_device") else array
        return np.from_dlpack(host)


def device_name(array: Array) -> str:
    """Short name of where *array* lives, as run records state it: ``"cpu"``, ``"cuda:0"`` …"""
    if array_api_compat.is_cupy_array(array):
        return f"cuda:{array.device.id}"
    return str(device_of(array))
