"""What a budget pays, and what it takes later legs to cost."""

import pytest
from samplesmith.samplers.strategies import Budget, Node

DRAW = Node.draw(0, stop=4)
NODES = [DRAW, DRAW.child(), DRAW]


@pytest.mark.parametrize(
    ("nfe", "spent", "count"), [(None, 0, 3), (7, 0, 0), (8, 0, 1), (27, 0, 1), (28, 0, 2), (36, 0, 3), (36, 1, 2)]
)
def test_it_pays_nodes_in_their_order_and_never_beyond_its_bound(nfe, spent, count):
    budget = Budget(nfe, {(0, 4): 8, (4, None): 20})
    budget.spent = spent
    assert budget.pays(NODES) == count


def test_the_first_counted_price_holds():
    budget = Budget(100)
    assert not budget.knows(DRAW)
    budget.learn(DRAW, 8)
    budget.learn(DRAW, 9)
    assert budget.knows(DRAW)
    assert budget.prices == {(0, 4): 8}


def test_a_later_leg_costs_as_much_per_call_as_the_dearest_before_it():
    """2, then 3 NFEs per call: 5 calls are held to cost 15, whatever they did cost others."""
    calls = {(0, 4): 4, (4, 6): 2, (6, None): 5}
    budget = Budget(100, {(0, 4): 8, (4, 6): 6, (6, None): 99}, lambda start, stop: calls[start, stop])
    assert budget.estimates(list(calls), 0) == [8, 4, 10]
    assert budget.estimates(list(calls), 1) == [8, 6, 15]
    assert budget.estimates(list(calls), 2) == [8, 6, 99]
