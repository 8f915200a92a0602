import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samplesmith.evaluation.scaling import best_of, chance_of_choice, ranking_accuracy


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.data())
def test_chances_equal_the_average_over_all_subsets(values, data):
    from itertools import combinations

    k = data.draw(st.integers(1, min(4, len(values))))
    wins = np.zeros(len(values))
    subsets = list(combinations(range(len(values)), k))
    for subset in subsets:
        wins[max(subset, key=lambda i: (values[i], -i))] += 1
    assert chance_of_choice(np.array(values), k) == pytest.approx(wins / len(subsets))


def test_best_of_k_of_uniform_scores_is_the_expected_maximum():
    """E max of k draws of U(0, 1) is k / (k + 1)."""
    rng = np.random.default_rng(0)
    records = [
        {"prompt_index": i, "scores": {"guide": s, "judge": float(s > 0.5)}}
        for i in range(400)
        for s in rng.random(16).tolist()
    ]
    for row in best_of(records, [1, 4, 16], "guide", "judge"):
        assert row.score.mean == pytest.approx(row.k / (row.k + 1), abs=0.012)
        assert row.success.mean == pytest.approx(1 - 0.5**row.k, abs=0.02)
        assert row.oracle.mean == pytest.approx(row.success.mean)
        assert row.success.low <= row.success.mean <= row.success.high
        assert row.gain.mean == pytest.approx(row.success.mean - 0.5, abs=0.02)


def test_k_beyond_the_pool_is_refused():
    with pytest.raises(ValueError, match="best-of-5 of a pool of 4"):
        chance_of_choice(np.zeros(4), 5)


def test_ranking_accuracy_is_the_area_under_the_curve():
    """For N(d, 1) against N(0, 1) it is Phi(d / sqrt 2): 0.7602 for d = 1."""
    rng = np.random.default_rng(2)
    records = [
        {"prompt_index": i, "scores": {"guide": float(rng.normal() + k % 2), "judge": float(k % 2)}}
        for i in range(200)
        for k in range(20)
    ]
    assert ranking_accuracy(records, "guide", "judge") == pytest.approx(0.7602, abs=0.02)
    assert np.isnan(ranking_accuracy(records[:1], "guide", "judge"))


def test_a_missing_score_is_one_sentence_with_its_reason():
    rows = [{"prompt_index": 0, "scores": {"guide": float(k), "judge": 1.0}} for k in range(4)]
    rows[2] |= {"scores": {"guide": 2.0, "judge": None}, "missing": {"judge": "the answer is prose"}}
    for measure in (lambda: best_of(rows, [2], "guide", "judge"), lambda: ranking_accuracy(rows, "guide", "judge")):
        with pytest.raises(ValueError, match=r"1 of 4 candidates have no score of judge \(the answer is prose\)"):
            measure()
