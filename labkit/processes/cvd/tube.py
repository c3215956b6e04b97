"""A hot-wall tube: gas is used up on its way past the wafers, gains volume as it reacts, and diffuses along the axis.

Isobaric, radially mixed annulus with one diffusivity for all species. With θ the extent variable in which every mole
fraction is linear, yᵢ = yᵢ₀ + (νᵢ - Δν yᵢ₀) θ, the balance of the reactant and of all moles becomes

    d/dz (θ N - Γ dθ/dz) = s(z),   N = N₀ + Δν S,   S = ∫ s dz,   Γ = A c D,

with Danckwerts conditions θ N - Γ θ' = 0 at the inlet and θ' = 0 at the outlet. Each face uses the exact solution
between cell centres (exponential scheme), which becomes the plug-flow march when Γ → 0. References:
jensen1983, danckwerts1953, grassmann1985.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labkit.core.arrays import Array, namespace
from labkit.core.errors import LabkitError
from labkit.processes.cvd.kinetics import RateLaw

_FLOOR = 1e-15
_STRIDE = 0.9
_TOLERANCE = 1e-12
_ROUNDING = 1e-15
_ITERATIONS = 250
_PATIENCE = 50
"""Iterations after which rounding is taken to be what keeps the balance open, and elimination without differences takes
over. Tubes that work as they should settle in 6 to 45."""
_EXCHANGE = 1e6
"""Exchange between cells over flow from which differences would lose more than 1e-9 of the balance, unnoticed."""
_OVERFLOW = 600.0


@dataclass(frozen=True)
class TubeSolution:
    """State along the tube, shapes ``(row, cell)``.

    ``extent`` is θ at cell centres; ``flux`` the deposition flux mol/(m² s); ``consumed`` the formula units deposited
    per cell, mol/s; ``outflow`` mol/s of all gas leaving, shape ``(row,)``; ``partial`` the partial pressures, Pa.
    """

    extent: Array
    flux: Array
    consumed: Array
    outflow: Array
    partial: dict[str, Array]


def fractions(feed: Mapping[str, Array], law: RateLaw, extent: Array) -> dict[str, Array]:
    """Mole fractions at *extent* θ from *feed* fractions, products included; shapes broadcast."""
    found = {}
    for name in {**dict.fromkeys(feed), **dict.fromkeys(law.stoichiometry)}:
        start = feed.get(name, 0.0)
        found[name] = start + (law.stoichiometry.get(name, 0.0) - law.expansion * start) * extent
    return found


def exhaustion(feed: Mapping[str, Array], law: RateLaw) -> Array:
    """Extent θ at which the first consumed gas would be gone, shape of the feed fractions."""
    limit: Array = None
    for name, coefficient in law.stoichiometry.items():
        if coefficient < 0.0:
            here = feed[name] / (law.expansion * feed[name] - coefficient)
            xp = namespace(here)
            limit = here if limit is None else xp.minimum(limit, here)
    return limit


def deplete(
    law: RateLaw,
    *,
    temperature: Array,
    pressure: Array,
    feed: Mapping[str, Array],
    molar_flow: Array,
    area: Array,
    conductance: Array,
    spacing: Array,
    activity: Array = 1.0,
    effectiveness: Array = 1.0,
) -> TubeSolution:
    """Steady state of the tube for many rows (points in time, sweeps …) at once.

    Parameters
    ----------
    temperature : (row, cell), K
    pressure : (row,), Pa
    feed : mole fractions at the inlet by gas, each (row,)
    molar_flow : (row,), mol/s of feed
    area : (cell,), m² of surface on which film grows
    conductance : (row,), m·mol/s, the product Γ = A c D; 0 is plug flow
    spacing : (cell - 1,), m between cell centres
    activity : broadcastable, factor on the rate law (surface activity)
    effectiveness : broadcastable, factor for depletion between wafers, applied to the cell's consumption only

    Raises
    ------
    LabkitError
        If Newton's iteration does not converge.

    Notes
    -----
    First-order convergence with cell length for plug flow (implicit march), second with dispersion resolved. Where
    gas is exchanged along the axis many times faster than it flows or reacts, the usual elimination loses the flow in
    the exchange's rounding; such balances are closed by elimination without differences (grassmann1985).
    """
    xp = namespace(temperature, pressure, molar_flow)
    limit = exhaustion(feed, law)
    columns = temperature.shape[1]
    columns_feed = {name: value[:, None] for name, value in feed.items()}
    prefactor = activity * law.rate_constant(temperature)

    def rates(theta: Array) -> tuple[Array, Array]:
        return _reduced_rate(law, columns_feed, theta, pressure[:, None])

    theta = xp.zeros_like(temperature)
    total = xp.zeros_like(temperature)
    scale = molar_flow[:, None] * limit[:, None]
    stiff = bool(float(xp.max(conductance / molar_flow)) > _EXCHANGE * float(xp.min(spacing)))
    for iteration in range(_ITERATIONS):
        shape, slope = rates(theta)
        consumed = prefactor * effectiveness * area * shape
        steepness = prefactor * effectiveness * area * slope
        moles = molar_flow[:, None] + law.expansion * total
        weight, excess = _face_weights(moles, conductance, spacing)
        previous = theta
        theta = _newton_step(
            theta, consumed, steepness, moles, weight, excess, columns, exact_sums=stiff or iteration >= _PATIENCE
        )
        theta = xp.clip(theta, 0.0, None)
        theta = xp.minimum(
            theta, xp.minimum(previous + _STRIDE * (limit[:, None] - previous), (1.0 - _FLOOR) * limit[:, None])
        )
        total_before = total
        total = xp.cumulative_sum(consumed + steepness * (theta - previous), axis=1)
        if _settled(total - total_before, theta - previous, steepness, limit[:, None], scale):
            break
    else:
        raise LabkitError("the balance along the tube did not converge", fix="check flows, pressure and temperature")
    shape, _ = rates(theta)
    flux = prefactor * shape
    consumed = flux * effectiveness * area
    partial = {name: y * pressure[:, None] for name, y in fractions(columns_feed, law, theta).items()}
    outflow = molar_flow + law.expansion * xp.sum(consumed, axis=1)
    return TubeSolution(extent=theta, flux=flux, consumed=consumed, outflow=outflow, partial=partial)


def _settled(transport: Array, extent: Array, steepness: Array, limit: Array, scale: Array) -> bool:
    """Whether the last changes are below the tolerance, or below what a steep rate makes of rounding."""
    xp = namespace(extent)
    rounding = _ROUNDING * xp.sum(xp.abs(steepness), axis=1)[:, None] * limit / scale
    moved = xp.max(xp.abs(transport) / scale - rounding)
    return bool(float(moved) < _TOLERANCE and float(xp.max(xp.abs(extent) / limit)) < _TOLERANCE)


def _reduced_rate(law: RateLaw, feed: Mapping[str, Array], theta: Array, pressure: Array) -> tuple[Array, Array]:
    """Rate relative to the law's reference composition and its derivative by θ."""
    xp = namespace(theta)
    here = fractions(feed, law, theta)
    partial = {name: xp.clip(here[name] * pressure, 1e-300, None) for name in {*law.orders, *law.langmuir}}
    shape = law.composition_factor(partial)
    slope: Array = 0.0
    for name, order in law.local_orders(partial).items():
        per_extent = law.stoichiometry.get(name, 0.0) - law.expansion * feed[name]
        slope = slope + order * per_extent * pressure / partial[name]
    return shape, shape * slope


def _face_weights(moles: Array, conductance: Array, spacing: Array) -> tuple[Array, Array]:
    """Coefficients a, b of each inner face, S = a θ_left - b θ_right (exponential scheme), shapes (row, cell - 1)."""
    xp = namespace(moles)
    flow = moles[:, :-1]
    exchange = conductance[:, None] / spacing[None, :]
    peclet = flow / xp.clip(exchange, 1e-300, None)
    decay = xp.exp(-xp.clip(peclet, 0.0, _OVERFLOW))
    right = flow * decay / -xp.expm1(-xp.clip(peclet, 1e-12, _OVERFLOW))
    return flow + right, right


def _newton_step(
    theta: Array,
    consumed: Array,
    slope: Array,
    moles: Array,
    left: Array,
    right: Array,
    columns: int,
    *,
    exact_sums: bool,
) -> Array:
    """θ after one Newton step of (S_right face - S_left face = consumed), by the Thomas algorithm along cells.

    What leaves a cell enters its neighbour, so a column of the matrix sums to what reacts there. With *exact_sums* the
    pivots are formed from these sums instead of differences, which keeps every digit however strong the exchange.
    """
    xp = namespace(theta)
    source = [consumed[:, j] - slope[:, j] * theta[:, j] for j in range(columns)]
    upper: list[Array] = []
    value: list[Array] = []
    surplus: Array = 0.0
    for j in range(columns):
        onward = left[:, j] if j < columns - 1 else moles[:, j]
        load = source[j]
        if exact_sums:
            surplus = -slope[:, j] + (upper[-1] * surplus if j > 0 else 0.0)
            centre = onward + surplus
        else:
            centre = -slope[:, j] + onward
            if j > 0:
                centre = centre + right[:, j - 1] - left[:, j - 1] * upper[j - 1]
        if j > 0:
            load = load + left[:, j - 1] * value[j - 1]
        value.append(load / centre)
        upper.append(right[:, j] / centre if j < columns - 1 else None)
    found = [value[-1]]
    for j in range(columns - 2, -1, -1):
        found.append(value[j] + upper[j] * found[-1])
    return xp.stack(found[::-1], axis=1)
