import numpy as np
import pytest
from samplesmith.evaluation.diversity import diversity
from samplesmith.evaluation.scaling import chance_of_choice


def features(rng, *shape):
    values = rng.normal(size=shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_known_distances():
    east, north = np.eye(2)
    assert diversity(np.stack([east, east])) == 0
    assert diversity(np.stack([east, north])) == 1
    assert diversity(np.stack([east, -east])) == 2
    assert diversity(np.stack([east, east, north])) == pytest.approx(2 / 3)


def test_expected_features_give_the_expected_distance():
    """Of two searches, each best-of-2 of a pool of its own, over all pairs of what they may choose."""
    rng = np.random.default_rng(0)
    pools, scores = features(rng, 2, 5, 7), rng.normal(size=(2, 5))
    p, q = (chance_of_choice(row, 2) for row in scores)
    pairs = sum(p[i] * q[j] * diversity(np.stack([pools[0, i], pools[1, j]])) for i in range(5) for j in range(5))
    assert diversity(np.stack([p @ pools[0], q @ pools[1]])) == pytest.approx(pairs)


def test_one_search_has_none():
    with pytest.raises(ValueError, match="1 searches have no distance between them"):
        diversity(np.ones((1, 3)))
