from math import inf

import numpy as np
import pytest
from samplesmith.evaluation.power_law import PowerLaw, fit_power_law


def law(a, b, ceiling=1.0, offset=0.0):
    return PowerLaw(*map(np.float64, (a, b, ceiling, offset)))


def test_a_law_is_found_again_and_inverted():
    ks = np.arange(1, 33)
    exact = [law(-2.0, -0.4), law(-1.2, -0.7), law(-0.3, -1.5)]
    found = fit_power_law(ks, np.stack([one(ks) for one in exact]), with_ceiling=False)
    assert found.b == pytest.approx([-0.4, -0.7, -1.5], rel=0.03)
    assert found.a == pytest.approx([-2.0, -1.2, -0.3], rel=0.03)
    for one in exact:
        assert one.samples(one(20)) == 20
        assert one.samples(one(20) + 1e-6) == 21
    assert law(-2.0, -0.4, ceiling=0.7).samples(0.7) == inf
    assert law(-0.1, -0.4).samples(0.5) == 1


def test_the_geometric_approach_to_a_ceiling_is_found():
    """A guide with one chance of success and false positives: its curve is C - (C - first) * (1 - taken)^(k - 1)."""
    ks = np.arange(1, 33)
    curve = 0.6 - 0.4 * 0.9 ** (ks - 1)
    found = fit_power_law(ks, curve[None], with_ceiling=True)[0]
    assert found.ceiling == pytest.approx(0.6, abs=0.02)
    assert np.abs(found(ks) - curve).max() < 0.01
