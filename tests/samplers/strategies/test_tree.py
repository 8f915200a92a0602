import math

import pytest
from samplesmith.samplers.strategies import Tree
from samplesmith.samplers.strategies.tree import Branch, back_up, upper_bound
from scripted_search import at_random, drive, name, scripted


def test_backup_on_a_hand_worked_tree():
    """Two children of the root; below the first, leaves of log 1 and log 3, below the second one of log 8; lambda = 1.

    log mean(1, 3) = log 2, log mean(8) = log 8, and above both log mean(2, 8) = log 5.
    """
    leaves = [Branch(value=math.log(value)) for value in (1, 3, 8)]
    first, second, root = Branch(children=leaves[:2]), Branch(children=leaves[2:]), Branch()
    root.children = [first, second]
    back_up([root, second, leaves[2]], 1.0)
    back_up([root, first, leaves[1]], 1.0)
    assert first.value == pytest.approx(math.log(2))
    assert second.value == pytest.approx(math.log(8))
    assert root.value == pytest.approx(math.log(5)), "a mean over children: a sum would be log 10"
    assert [branch.visits for branch in (root, first, second, *leaves)] == [3, 2, 2, 1, 2, 2]
    cold = Branch(children=[Branch(value=0.2), Branch(value=0.9)])
    back_up([cold, cold.children[0]], 1e4)
    assert cold.value == pytest.approx(0.9, abs=1e-3), "with a large lambda the best counts alone"


def test_what_a_child_may_be_worth():
    parent, child = Branch(visits=8), Branch(value=0.5, visits=2)
    assert upper_bound(parent, child, 2.0) == pytest.approx(0.5 + 2 * math.sqrt(math.log(8) / 2))
    assert upper_bound(parent, child, 0.0) == 0.5


def test_rollouts_by_hand():
    """Four steps, branching at 0 and 2, so a rollout costs 4 from the root and 2 below; N^.5 children at most; 12 NFEs.

    1. The root, N = 1, has room for one: 100 and its image, .3.
    2. N = 2, 1 < 1.4: 101 and its image, .9. N = 3.
    3. 2 >= 1.7, so down to the better, 101, whose N = 2 leaves room for a second: .1. Its value falls to .83, N = 3.
    4. 2 >= 2 at the root, and 2 >= 1.7 at 101: its better image is met again, which is a visit and costs nothing, and
       again where only 2 NFEs are left, too few for the root; then N = 5 leaves room for a third.
    """
    search, nodes = drive(Tree(branches=2, width=1, growth=0.5), scripted(0, 0.3, 0, 0.9, 0.1), steps=4, budget=12)
    assert list(map(name, nodes)) == ["100", "100.2", "101", "101.4", "101.5", "101.6"]
    assert search.best == nodes[3]
    assert [branch.visits for branch in search.root.children] == [2, 6]


@pytest.mark.parametrize("rule", ["search", "sample"])
def test_good_branches_get_more_rollouts(rule):
    """Images below seed 101 are good, others are not."""
    strategy = Tree(rule, branches=3, exploration=0.2)
    _, nodes = drive(strategy, lambda node: float(node.seed == 101), steps=6, budget=300)
    below = [sum(node.seed == seed and node.finished for node in nodes) for seed in (100, 101, 102)]
    assert below[1] > 3 * max(below[0], below[2])


def test_where_it_branches():
    def stops(strategy, steps):
        return [leg[1] for leg in strategy.start(0, 2, num_steps=steps).legs]

    assert stops(Tree(), 50) == [10, 20, 30, 40, None]
    assert stops(Tree(), 4) == [1, 2, 3, None]
    assert stops(Tree(branches=1), 10) == [None]
    assert stops(Tree(branches=3, first_scored=6), 10) == [6, 8, None]


def test_only_finished_images_count():
    early = drive(Tree(branches=3), lambda node: at_random(node) if node.finished else 0.0, steps=6, budget=60)[1]
    other = drive(Tree(branches=3), lambda node: at_random(node) if node.finished else 99.0, steps=6, budget=60)[1]
    assert early == other


def test_bad_settings():
    for settings, message in (
        ({"rule": "mcts"}, "rule is 'mcts'; give 'search' or 'sample'"),
        ({"tilt": 0.0}, "give a tilt above 0"),
        ({"growth": 1.5}, "growth from 0 to 1"),
        ({"branches": 0}, "branches is 0; give at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Tree(**settings)
