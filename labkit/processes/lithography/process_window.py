"""The process window of a focus–exposure matrix: Bossung curves, exposure latitude, depth of focus, isofocal dose.

Works on any matrix with ``cd(focus, dose)`` in nm over nm and mJ/cm², simulated or measured.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from labkit.core.errors import LabkitError

LATITUDE_PCT = 10.0
"""Exposure latitude at which depth of focus is quoted, per cent; a convention. Reference: mack2007."""


def bossung(fem: xr.Dataset) -> xr.Dataset:
    """Line width through focus at each dose as a parabola, CD = c + k (δ − δ₀)².

    Returns
    -------
    xarray.Dataset
        ``best_focus(dose)`` δ₀ nm, ``cd_best(dose)`` c nm, ``curvature(dose)`` k nm⁻¹, and the scalars
        ``isofocal_dose`` mJ/cm² and ``isofocal_cd`` nm where the curvature changes sign (NaN where it does not).

    Notes
    -----
    Least squares over the focus values that printed, at least three; valid for focus ranges of about the depth of
    focus, where quartic terms are small. Reference: bossung1977.
    """
    focus, dose, cd = _matrix(fem)
    rows = []
    scale = max(float(np.abs(focus).max()), 1e-12)
    for column in cd.T:
        good = np.isfinite(column)
        if good.sum() < 3:
            rows.append((np.nan, np.nan, np.nan))
            continue
        a, b, c = np.polynomial.polynomial.polyfit(focus[good] / scale, column[good], 2)
        flat = abs(c) <= 1e-9 * max(abs(a), 1.0)
        centre = np.nan if flat else -b / (2 * c)
        rows.append((centre * scale, a if flat else a - b * b / (4 * c), c / scale**2))
    best, width, curvature = np.asarray(rows).T
    isofocal_dose, isofocal_cd = _sign_change(dose, curvature, width)
    return xr.Dataset(
        {
            "best_focus": ("dose", best, {"units": "nm"}),
            "cd_best": ("dose", width, {"units": "nm"}),
            "curvature": ("dose", curvature, {"units": "1/nm"}),
            "isofocal_dose": ((), isofocal_dose, {"units": "mJ/cm2"}),
            "isofocal_cd": ((), isofocal_cd, {"units": "nm"}),
        },
        coords={"dose": fem["dose"]},
    )


def process_window(
    fem: xr.Dataset,
    *,
    cd_target_nm: float | None = None,
    tolerance_pct: float | None = None,
    latitude_pct: float = LATITUDE_PCT,
) -> xr.Dataset:
    """Largest rectangles of focus and dose within which the line width stays in tolerance.

    Parameters
    ----------
    fem : xarray.Dataset
        Focus–exposure matrix; ``attrs`` give target and tolerance unless stated here.
    cd_target_nm, tolerance_pct : float, optional
        Target width, nm, and allowed departure either way, per cent.
    latitude_pct : float
        Exposure latitude at which the depth of focus is quoted, per cent.

    Returns
    -------
    xarray.Dataset
        ``dose_low(focus)`` and ``dose_high(focus)``, mJ/cm² (NaN where no dose serves); ``latitude(depth)``, per cent
        of the rectangle's central dose, over rectangles of each ``depth`` of focus; scalars ``depth_of_focus`` nm at
        *latitude_pct*, ``exposure_latitude`` per cent at best focus, ``best_focus`` nm and ``best_dose`` mJ/cm² (centre
        of the rectangle quoted), ``truncated`` whether the matrix ended before the window did.

    Reference: mack2007.
    """
    focus, dose, cd = _matrix(fem)
    target = float(fem.attrs["cd_target_nm"] if cd_target_nm is None else cd_target_nm)
    tolerance = float(fem.attrs["cd_tolerance_pct"] if tolerance_pct is None else tolerance_pct)
    spans = [_dose_span(dose, row, target * (1 - tolerance / 100), target * (1 + tolerance / 100)) for row in cd]
    low, high = np.asarray([span[:2] for span in spans]).T
    clipped = any(span[2] for span in spans)
    depths, latitudes, corners = _rectangles(focus, low, high)
    depth_of_focus, index = _depth_at(depths, latitudes, latitude_pct)
    first, last = corners[index]
    centre_dose = 0.5 * (low[first : last + 1].max() + high[first : last + 1].min()) if latitudes[index] > 0 else np.nan
    centre_focus = 0.5 * (focus[first] + focus[last]) if latitudes[index] > 0 else np.nan
    at_ends = bool(latitudes[-1] >= latitude_pct)
    return xr.Dataset(
        {
            "dose_low": ("focus", low, {"units": "mJ/cm2"}),
            "dose_high": ("focus", high, {"units": "mJ/cm2"}),
            "latitude": ("depth", latitudes, {"units": "percent", "long_name": "exposure latitude"}),
            "depth_of_focus": ((), depth_of_focus, {"units": "nm"}),
            "exposure_latitude": ((), float(latitudes[0]), {"units": "percent"}),
            "best_focus": ((), centre_focus, {"units": "nm"}),
            "best_dose": ((), centre_dose, {"units": "mJ/cm2"}),
            "truncated": ((), bool(clipped or at_ends)),
        },
        coords={"focus": fem["focus"], "depth": ("depth", depths, {"units": "nm", "long_name": "depth of focus"})},
        attrs={"cd_target_nm": target, "cd_tolerance_pct": tolerance, "latitude_pct": latitude_pct},
    )


def _matrix(fem: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if "cd" not in fem or set(fem["cd"].dims) != {"focus", "dose"}:
        raise LabkitError(
            "not a focus–exposure matrix",
            allowed="a Dataset with cd(focus, dose)",
            fix="call labkit.processes.lithography.focus_exposure_matrix(recipe)",
        )
    if any(bool((np.diff(fem[axis].values) <= 0).any()) for axis in ("focus", "dose")):
        raise LabkitError("focus and dose of the matrix do not ascend", fix='use fem.sortby(["focus", "dose"])')
    return (
        np.asarray(fem["focus"].values, dtype=float),
        np.asarray(fem["dose"].values, dtype=float),
        np.asarray(fem["cd"].transpose("focus", "dose").values, dtype=float),
    )


def _dose_span(dose: np.ndarray, cd: np.ndarray, small: float, large: float) -> tuple[float, float, bool]:
    """Dose interval with ``small ≤ cd ≤ large`` by interpolation in ln dose, and whether the matrix cut it short."""
    good = np.isfinite(cd)
    if good.sum() < 2:
        return float("nan"), float("nan"), False
    log_dose, width = np.log(dose[good]), cd[good]
    if width[-1] < width[0]:
        log_dose, width = log_dose[::-1], width[::-1]
    if width[0] > large or width[-1] < small:
        return float("nan"), float("nan"), False
    ends = np.exp(np.interp([small, large], width, log_dose))
    borders = np.log(dose[[0, -1]])
    cut = (width[0] > small and log_dose[0] in borders) or (width[-1] < large and log_dose[-1] in borders)
    return float(ends.min()), float(ends.max()), bool(cut)


def _rectangles(
    focus: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """For every depth of focus that the matrix's focus values span, the greatest latitude and where it lies."""
    best: dict[float, tuple[float, tuple[int, int]]] = {}
    for first in range(focus.size):
        floor, ceiling = -np.inf, np.inf
        for last in range(first, focus.size):
            floor, ceiling = np.fmax(floor, low[last]), np.fmin(ceiling, high[last])
            usable = np.isfinite(low[first : last + 1]).all() and ceiling > floor
            latitude = 200.0 * (ceiling - floor) / (ceiling + floor) if usable else 0.0
            depth = float(np.round(focus[last] - focus[first], 9))
            if latitude > best.get(depth, (-1.0, (0, 0)))[0]:
                best[depth] = (latitude, (first, last))
    depths = np.asarray(sorted(best))
    # Unevenly spaced focus values may offer a deeper rectangle of more latitude; it contains the shallower one.
    latitudes = np.maximum.accumulate(np.asarray([best[d][0] for d in depths])[::-1])[::-1]
    return depths, latitudes, [best[d][1] for d in depths]


def _depth_at(depths: np.ndarray, latitudes: np.ndarray, wanted: float) -> tuple[float, int]:
    """Depth at which the latitude falls to *wanted*, interpolated, and the index of the last rectangle that has it."""
    enough = np.flatnonzero(latitudes >= wanted)
    if enough.size == 0:
        return float("nan"), int(np.argmax(latitudes))
    last = int(enough[-1])
    if last + 1 == depths.size:
        return float(depths[-1]), last
    part = (latitudes[last] - wanted) / (latitudes[last] - latitudes[last + 1])
    return float(depths[last] + part * (depths[last + 1] - depths[last])), last


def _sign_change(dose: np.ndarray, curvature: np.ndarray, width: np.ndarray) -> tuple[float, float]:
    good = np.isfinite(curvature)
    e, k, w = np.log(dose[good]), curvature[good], width[good]
    crossings = np.flatnonzero(k[:-1] * k[1:] <= 0.0) if e.size > 1 else np.asarray([], dtype=int)
    # Curves that are flat throughout cross nowhere in particular.
    crossings = crossings[k[crossings] != k[crossings + 1]]
    if crossings.size == 0:
        return float("nan"), float("nan")
    at = int(crossings[0])
    part = k[at] / (k[at] - k[at + 1])
    return float(np.exp(e[at] + part * (e[at + 1] - e[at]))), float(w[at] + part * (w[at + 1] - w[at]))
