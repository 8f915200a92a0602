"""What a search will do, told before it runs."""

import pytest
from samplesmith.app.page.search.plan import Plan, planned
from samplesmith.samplers.strategies import Halving, Random


def test_a_plan_pays_as_the_search_will():
    assert planned(Random(), 56, 28, None, 8, 2) == Plan(8, 8, 448)
    plan = planned(Halving(rungs=[14], keep=0.25), 56, 28, 448, None, 2)
    assert plan == Plan(13, 3, 13 * 28 + 3 * 28)
    assert plan.nfe <= 448


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_it_does_not_depend_on_the_batch_size(batch_size):
    assert planned(Halving(), 56, 28, 448, None, batch_size) == planned(Halving(), 56, 28, 448, None, 2)
