"""The tube against its closed forms: plug flow, expansion, half order, mixing, Danckwerts; and against conservation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import brentq

from labkit.core.errors import LabkitError
from labkit.processes.cvd.kinetics import SIO2_N2O, RateLaw
from labkit.processes.cvd.tube import TubeSolution, deplete

PRESSURE = 30.0
FLOW = 1e-4


def made_law(order: float, products: float) -> RateLaw:
    """SiH4 -> film + *products* H2, of *order*, 1e-4 mol/(m2 s) at 10 Pa and any temperature."""
    return RateLaw(
        name="made",
        film="poly-Si",
        reactant="SiH4",
        activation_ev=0.0,
        temperature_ref=900.0,
        flux_ref=1e-4,
        reference={"SiH4": 10.0},
        orders={"SiH4": order},
        stoichiometry={"SiH4": -1.0, "H2": products},
        validity="",
        temperature_range_c=(0.0, 2000.0),
        sources={},
        references=(),
    )


def solve(law: RateLaw, surface: float, cells: int, *, share: float = 1.0, exchange: float = 0.0) -> TubeSolution:
    """A tube of *surface* m² and unit length in *cells* cells, fed with *share* of silane in hydrogen."""
    one = np.ones(1)
    return deplete(
        law,
        temperature=np.full((1, cells), 900.0),
        pressure=PRESSURE * one,
        feed={"SiH4": share * one, "H2": (1.0 - share) * one},
        molar_flow=FLOW * one,
        area=np.full(cells, surface / cells),
        conductance=exchange * one,
        spacing=np.full(cells - 1, 1.0 / cells),
    )


def conversion(solution: TubeSolution, share: float = 1.0) -> float:
    return float(solution.consumed.sum()) / (FLOW * share)


def test_first_order_without_expansion_decays_exponentially() -> None:
    law, surface, share = made_law(1.0, 1.0), 0.5, 0.2
    uptake = 1e-4 / 10.0 * PRESSURE * surface / FLOW
    assert conversion(solve(law, surface, 4000, share=share), share) == pytest.approx(1.0 - np.exp(-uptake), rel=1e-3)


def test_neat_silane_follows_the_implicit_closed_form_with_expansion() -> None:
    law, surface = made_law(1.0, 2.0), 0.4
    uptake = 1e-4 / 10.0 * PRESSURE * surface / FLOW
    exact = brentq(lambda x: -2.0 * np.log(1.0 - x) - x - uptake, 0.0, 1.0 - 1e-12)
    assert conversion(solve(law, surface, 4000)) == pytest.approx(exact, rel=1e-3)


def test_expansion_slows_the_conversion() -> None:
    assert conversion(solve(made_law(1.0, 2.0), 0.4, 50)) < conversion(solve(made_law(1.0, 1.0), 0.4, 50)) - 0.05


def test_half_order_growth_falls_linearly_along_the_tube() -> None:
    growth = solve(made_law(0.5, 1.0), 0.5, 2000, share=0.5).flux[0]
    steps = np.diff(growth)
    assert np.all(steps < 0.0)
    assert steps[1500] == pytest.approx(steps[100], rel=1e-2)


def test_plug_flow_march_converges_in_first_order() -> None:
    law, surface, share = made_law(1.0, 1.0), 0.5, 0.3
    exact = 1.0 - np.exp(-1e-4 / 10.0 * PRESSURE * surface / FLOW)
    errors = [abs(conversion(solve(law, surface, n, share=share), share) - exact) for n in (40, 80, 160)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders == pytest.approx([1.0, 1.0], abs=0.1)


def danckwerts(damkoehler: float, peclet: float) -> float:
    """Conversion of a first-order reaction in a closed vessel with axial dispersion (Danckwerts 1953)."""
    a = np.sqrt(1.0 + 4.0 * damkoehler / peclet)
    left = 4.0 * a * np.exp(peclet / 2.0)
    return float(1.0 - left / ((1.0 + a) ** 2 * np.exp(a * peclet / 2) - (1.0 - a) ** 2 * np.exp(-a * peclet / 2)))


@pytest.mark.parametrize("peclet", [0.5, 3.0, 12.0])
def test_dispersion_follows_danckwerts(peclet: float) -> None:
    law, surface, share = made_law(1.0, 1.0), 0.3, 0.4
    uptake = 1e-4 / 10.0 * PRESSURE * surface / FLOW
    found = conversion(solve(law, surface, 400, share=share, exchange=FLOW / peclet), share)
    assert found == pytest.approx(danckwerts(uptake, peclet), rel=2e-3)


def test_dispersion_profile_converges_at_least_in_first_order() -> None:
    law, surface, share, peclet = made_law(1.0, 1.0), 0.5, 0.4, 3.0
    exact = danckwerts(1e-4 / 10.0 * PRESSURE * surface / FLOW, peclet)
    errors = [
        abs(conversion(solve(law, surface, n, share=share, exchange=FLOW / peclet), share) - exact)
        for n in (20, 40, 80)
    ]
    assert errors[0] / errors[1] > 1.8
    assert errors[1] / errors[2] > 1.8


def test_strong_dispersion_is_a_well_mixed_vessel() -> None:
    law, surface = made_law(1.0, 2.0), 0.4
    uptake = 1e-4 / 10.0 * PRESSURE * surface / FLOW
    exact = brentq(lambda x: uptake * (1.0 - x) / (1.0 + x) - x, 0.0, 1.0)
    solution = solve(law, surface, 30, exchange=1e3)
    assert conversion(solution) == pytest.approx(exact, rel=1e-4)
    assert np.ptp(solution.flux) < 1e-4 * solution.flux.max()


@pytest.mark.parametrize("order", [0.5, 1.0])
@pytest.mark.parametrize("exchange", [1e2, 1e4, 1e6])
def test_exchange_however_strong_leaves_a_balance_that_closes(order: float, exchange: float) -> None:
    """Up to 2.5e11 times the flow is exchanged between neighbouring cells: the tube is a well-mixed vessel."""
    law, surface, share = made_law(order, 2.0), 2.0, 0.0625
    uptake = 1e-4 * (PRESSURE / 10.0) ** order * surface

    def missing(converted: float) -> float:
        here = share * (1.0 - converted) / (1.0 + share * converted)
        return uptake * here**order - FLOW * share * converted

    solution = solve(law, surface, 25, share=share, exchange=exchange)
    assert conversion(solution, share) == pytest.approx(brentq(missing, 0.0, 1.0, xtol=1e-14), rel=3e-5)
    left = solution.partial["SiH4"][0, -1] / PRESSURE * solution.outflow[0]
    assert left + solution.consumed.sum() == pytest.approx(FLOW * share, rel=1e-10)


@given(
    surface=st.floats(1e-3, 30.0),
    exchange=st.floats(0.0, 1e-2),
    order=st.sampled_from([0.5, 1.0]),
    share=st.floats(0.01, 1.0),
)
@example(surface=19.524257902883015, exchange=0.01, order=1.0, share=0.0625)
@example(surface=8.26953515674511, exchange=0.01, order=1.0, share=0.01)
def test_silane_used_up_is_film_deposited(surface: float, exchange: float, order: float, share: float) -> None:
    law = made_law(order, 2.0)
    solution = solve(law, surface, 25, share=share, exchange=exchange)
    left = solution.partial["SiH4"][0, -1] / PRESSURE * solution.outflow[0]
    assert left + solution.consumed.sum() == pytest.approx(FLOW * share, rel=1e-10)
    assert solution.outflow[0] == pytest.approx(FLOW + solution.consumed.sum(), rel=1e-12)
    assert np.all(solution.partial["SiH4"] >= 0.0)


def test_pressures_add_up_and_oxidant_goes_two_for_one() -> None:
    one = np.ones(2)
    solution = deplete(
        SIO2_N2O,
        temperature=np.full((2, 20), 1073.15),
        pressure=66.7 * one,
        feed={"SiH4": one / 3, "N2O": 2 * one / 3},
        molar_flow=np.array([1.8e-4, 0.9e-4]),
        area=np.full(20, 0.05),
        conductance=2e-5 * one,
        spacing=np.full(19, 0.01),
    )
    total = sum(solution.partial.values())
    assert total == pytest.approx(np.full((2, 20), 66.7), rel=1e-12)
    assert solution.partial["N2O"] == pytest.approx(2.0 * solution.partial["SiH4"], rel=1e-9)
    assert solution.partial["H2"] == pytest.approx(solution.partial["N2"], rel=1e-12)
    assert solution.flux[1].mean() < solution.flux[0].mean()


def test_rows_do_not_know_each_other() -> None:
    law = made_law(0.5, 2.0)
    arguments = {"area": np.full(10, 0.02), "spacing": np.full(9, 0.1)}
    flows = np.array([1e-4, 3e-4])
    both = deplete(
        law,
        temperature=np.full((2, 10), 900.0),
        pressure=np.array([30.0, 20.0]),
        feed={"SiH4": np.ones(2)},
        molar_flow=flows,
        conductance=np.array([1e-5, 0.0]),
        **arguments,
    )
    for row in range(2):
        alone = deplete(
            law,
            temperature=np.full((1, 10), 900.0),
            pressure=np.array([[30.0], [20.0]][row]),
            feed={"SiH4": np.ones(1)},
            molar_flow=flows[row : row + 1],
            conductance=np.array([[1e-5], [0.0]][row]),
            **arguments,
        )
        assert both.flux[row] == pytest.approx(alone.flux[0], rel=1e-9)


def test_less_effective_wafers_use_up_less() -> None:
    law = made_law(1.0, 2.0)
    one = np.ones(1)
    arguments = {
        "temperature": np.full((1, 10), 900.0),
        "pressure": 30.0 * one,
        "feed": {"SiH4": one},
        "molar_flow": 1e-4 * one,
        "area": np.full(10, 0.02),
        "conductance": 0.0 * one,
        "spacing": np.full(9, 0.1),
    }
    full = deplete(law, **arguments)
    half = deplete(law, **arguments, effectiveness=0.5)
    assert half.consumed.sum() < 0.65 * full.consumed.sum()
    assert half.flux[0, -1] > full.flux[0, -1]
    faster = deplete(law, **arguments, activity=2.0)
    assert faster.flux[0, 0] > full.flux[0, 0]


def test_a_balance_without_numbers_is_refused() -> None:
    with pytest.raises(LabkitError, match="did not converge"):
        solve(made_law(1.0, 2.0), float("nan"), 5)
