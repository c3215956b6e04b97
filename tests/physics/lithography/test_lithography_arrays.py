"""The imaging kernels on other array libraries and devices."""

import array_api_strict
import numpy as np
import pytest

from labkit.processes.lithography import cd, imaging, mask, source
from labkit.processes.lithography.pupil import Lens


def printed(like, convert):
    lens = Lens(0.75, 193.0, zernikes=((2, 0.02), (7, 0.03), (9, 0.01)))
    light = source.upper_half(source.annular(0.5, 0.8, like=like))
    grating = mask.line_space(
        240.0,
        100.0,
        line_amplitude=mask.shifter(0.06, 175.0),
        like=like,
        highest=imaging.highest_order(240.0, lens, light.sigma),
    )
    series = imaging.image_series(grating, light, lens, convert([-80.0, 0.0, 80.0]))
    series = imaging.flared(imaging.blurred(series, 240.0, 3.0), 0.02)
    left, right = cd.edges(series[:, None, :], 240.0, convert([0.2, 0.3]))
    nils = cd.normalised_log_slope(series, 240.0, right[:, 0], 100.0)
    return left, right, nils, cd.contrast(series, 240.0)


def test_strict_arrays_on_a_second_device_give_what_numpy_gives_and_stay_there():
    device = array_api_strict.Device("device1")
    like = array_api_strict.asarray(0.0, device=device)
    results = printed(like, lambda v: array_api_strict.asarray(v, dtype=array_api_strict.float64, device=device))
    for strict, plain in zip(results, printed(0.0, np.asarray), strict=True):
        assert strict.device == device
        there = np.asarray(array_api_strict.asarray(strict, device=array_api_strict.Device("CPU_DEVICE")))
        assert np.allclose(there, plain, rtol=1e-10)
        assert np.isfinite(plain).all()


def test_torch_gives_what_numpy_gives():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    results = printed(torch.zeros((), dtype=torch.float64), lambda v: torch.tensor(v, dtype=torch.float64))
    for there, plain in zip(results, printed(0.0, np.asarray), strict=True):
        assert np.allclose(there.numpy(), plain, rtol=1e-10)
