import pytest
from samplesmith.samplers.strategies import Noise, Renoise, Sop
from scripted_search import drive, scripted


def test_rounds_of_steps_back_and_on():
    """Two noises to step 3 of 6, one step back and two on: [2, 4), [3, 5), [4, end)."""
    scores = scripted(0.1, 0.2, 0.5, 0.1, 0.4, 0.3, 0.1, 0.2, 0.3, 0.4)
    _, nodes = drive(Sop(2, children=2, back=1, on=2), scores, steps=6, budget=6 + 8 + 8 + 8)
    assert [(node.start, node.stop) for node in nodes] == [
        *[(0, 3)] * 2,
        *[(2, 4)] * 4,
        *[(3, 5)] * 4,
        *[(4, None)] * 4,
    ]
    first = nodes[2:6]
    assert [node.parent for node in first] == [nodes[1], nodes[0]] * 2, "the best first, in turn"
    assert [node.moves for node in first] == [(Renoise(2, k), Noise(k)) for k in (1, 2, 3, 4)]
    assert [node.parent for node in nodes[6:10]] == [nodes[2], nodes[4]] * 2
    assert [node.parent for node in nodes[10:]] == [nodes[9], nodes[8]] * 2


def test_the_budget_tells_the_children_and_the_paths():
    """5 + 5 NFEs for two paths to step 5 of 10; then rounds of 4 steps to 7 and 9 and of 3 to the end: 11 per child."""
    for strategy, budget, used in ((Sop(), 10 + 2 * 3 * 11 + 4, [2, 6, 6, 7]), (Sop(4), 16, [1, 1, 1, 1])):
        _, nodes = drive(strategy, steps=10, budget=budget)
        assert [sum(len(node.legs) == level for node in nodes) for level in (1, 2, 3, 4)] == used


def test_a_round_that_starts_early_goes_back_to_the_noise_at_most():
    nodes = drive(Sop(1, 1, back=2, on=3, first_scored=1), steps=4, budget=20)[1]
    assert [(node.start, node.stop) for node in nodes[:3]] == [(0, 1), (0, 3), (1, None)]


def test_bad_settings():
    with pytest.raises(ValueError, match="on is 2 and back 2; give more steps on than back"):
        Sop(on=2)
