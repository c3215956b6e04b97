"""Local reaction orders are the logarithmic slopes of the rate, also where a reactant runs out."""

import math

import numpy as np
import pytest

from labkit.processes.cvd.kinetics import LAWS, SCARCE

STEP = 1e-5


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("part", [0.1 * SCARCE, 0.5 * SCARCE, SCARCE, 3.0 * SCARCE, 0.3, 1.0, 4.0])
def test_a_local_order_is_the_slope_of_the_logarithm_of_the_rate(name, part):
    law = LAWS[name]
    partial = {gas: np.asarray(part * law.reference[gas]) for gas in {*law.orders, *law.langmuir}}
    orders = law.local_orders(partial)
    assert set(orders) == set(partial)
    for gas in partial:
        up, down = (
            float(law.composition_factor({**partial, gas: partial[gas] * math.exp(side * STEP)})) for side in (1, -1)
        )
        assert float(orders[gas]) == pytest.approx((math.log(up) - math.log(down)) / (2.0 * STEP), abs=1e-8)


@pytest.mark.parametrize("name", LAWS)
def test_every_order_becomes_one_where_the_reactant_is_gone_and_the_declared_one_where_it_is_plenty(name):
    law = LAWS[name]
    for gas, order in law.orders.items():
        scarce = law.local_orders({g: np.asarray(1e-6 * SCARCE * p) for g, p in law.reference.items()})[gas]
        plenty = law.local_orders({g: np.asarray(1e6 * p) for g, p in law.reference.items()})[gas]
        assert float(scarce) == pytest.approx(1.0, abs=1e-6)
        assert float(plenty) == pytest.approx(order, abs=1e-6)
