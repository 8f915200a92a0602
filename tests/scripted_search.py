"""Searches on scripted scores: what the engine does with a strategy, without a model."""

import hashlib
from itertools import chain, groupby, repeat

from samplesmith.samplers.strategies import Budget, Noise


def calls_of(steps):
    return lambda start, stop: (steps if stop is None else stop) - start


def at_random(node):
    """A fixed score in [0, 1) for each node."""
    return int(hashlib.sha256(node.id.encode()).hexdigest()[:8], 16) / 2**32


def drive(strategy, score=at_random, steps=6, batch=3, budget=None, num_candidates=None, per_call=None, seed=100):
    """Run a search.

    Args:
        strategy: settings.
        score: of a node.
        steps: of a run.
        batch: nodes at once, at most.
        budget: in NFEs; None for `num_candidates`.
        per_call: NFEs of a model call by its number; None for 1.

    Returns:
        the search, and the evaluated nodes.
    """
    paid = Budget(budget, {}, calls_of(steps))
    search = strategy.start(seed, num_candidates, paid, steps)
    while not search.done:
        nodes = search.propose(batch)
        assert nodes == search.propose(batch)
        assert len(nodes) <= batch
        same = next(list(group) for _, group in groupby(nodes, lambda node: (node.start, node.stop)))
        same = same[: paid.pays(same)] if paid.knows(same[0]) else same[:1]
        if not same:
            break
        start, stop = same[0].start, steps if same[0].stop is None else same[0].stop
        price = sum(1 if per_call is None else per_call(call) for call in range(start, stop))
        paid.learn(same[0], price)
        search.check_budget()
        paid.spent += price * len(same)
        search.observe(same, [score(node) for node in same])
    return search, [node for node, _ in search.observed]


def name(node):
    """Seed, and the key of each further leg's noise: "100.3" is the third child of seed 100's first node."""
    keys = [move.key for leg in node.legs for move in leg.moves if isinstance(move, Noise)]
    return ".".join(map(str, [node.seed, *keys]))


def scripted(*scores):
    """Scores in the order in which nodes are evaluated; zeros behind."""
    left = chain(scores, repeat(0.0))
    return lambda node: next(left)
