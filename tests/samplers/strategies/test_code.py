from samplesmith.samplers.strategies import Code, Svdd
from scripted_search import at_random, drive, name, scripted


def test_the_best_continuation_of_each_block_goes_on():
    """One draw to step 2, two blocks of 2 steps of 2 children, and a last step: 2 + 4 + 4 + 2 NFEs of 7 steps."""
    _, nodes = drive(Code(2, children=2), scripted(0.0, 0.3, 0.1, 0.1, 0.2), steps=7, budget=12)
    assert [(node.start, node.stop) for node in nodes[::2]] == [(0, 2), (2, 4), (4, 6), (6, None)]
    assert list(map(name, nodes)) == ["100", "100.1", "100.2", "100.1.1", "100.1.2", "100.1.2.1", "100.1.2.2"]


def test_blocks_of_one_step_are_svdd():
    assert drive(Code(1), steps=5, budget=30)[1] == drive(Svdd(), steps=5, budget=30)[1]


def test_a_block_as_long_as_the_run_is_best_of_n():
    search, nodes = drive(Code(9), steps=5, budget=24)
    assert [(node.seed, len(node.legs), node.finished) for node in nodes] == [(100 + k, 1, True) for k in range(4)]
    assert search.best == max(nodes, key=at_random)
