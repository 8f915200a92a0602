import math
import random

import pytest
from samplesmith.samplers.strategies import Budget, BudgetError, Halving, Node, Random

STEPS = 28


def search(strategy, count, early, final, batch=3, steps=STEPS):
    """Run a search on scripted scores, by seed and step: (its strategy, steps summed over candidates, proposals)."""
    halving = strategy.start(100, count, num_steps=steps)
    spent, seen = 0, []
    while not halving.done:
        proposals = halving.propose(batch)
        assert 1 <= len(proposals) <= batch
        assert proposals == halving.propose(batch)
        spent += sum((one.stop or steps) - one.start for one in proposals)
        seen += proposals
        halving.observe(
            proposals, [final(one.seed) if one.finished else early(one.seed, one.stop) for one in proposals]
        )
    assert halving.propose(batch) == []
    return halving, spent, seen


def values(seed=0):
    """A fixed score a candidate."""
    return lambda candidate: random.Random(f"{seed}:{candidate}").gauss(0, 1)


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_perfect_early_score_finds_best_of_ns_winner_at_less_cost(seed, batch):
    final = values(seed)
    halving, spent, _ = search(Halving(3, 0.5), 16, lambda one, step: final(one), final, batch)
    assert halving.best.seed == max(range(100, 116), key=final)
    assert spent == halving.cost(16, STEPS) == 16 * 4 + 8 * 8 + 4 * 16
    assert spent / (16 * STEPS) == pytest.approx(3 / 7)


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_a_useless_early_score_is_random_search_candidate_for_candidate(batch):
    final, useless = values(1), values(2)
    halving, spent, seen = search(
        Halving(correlations={4: 0.1, 8: 0.3, 12: 0.79}), 10, lambda one, step: useless(one), final, batch
    )
    plain, expected = Random().start(100, 10), []
    while not plain.done:
        proposals = plain.propose(batch)
        expected += proposals
        plain.observe(proposals, [final(one.seed) for one in proposals])
    assert [one.seed for one in seen] == [one.seed for one in expected]
    assert all(one == Node.draw(one.seed) for one in seen)
    assert halving.best.seed == plain.best.seed
    assert spent == 10 * STEPS
    trusting, _, _ = search(Halving(3, 0.5), 10, lambda one, step: useless(one), final, batch)
    assert len([one for one, _ in trusting.observed if one.finished]) < 10


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("rungs", [2, 3])
def test_every_rung_costs_about_the_same(rungs, keep):
    steps, count = 1000, 1024
    halving = Halving(rungs, keep)
    ends = halving.ends(steps)
    assert len(ends) == rungs
    costs, start = [], 0
    for end in ends:
        costs.append(count * (end - start))
        count, start = halving.survivors(count), end
    assert max(costs) / min(costs) < 1.02


@pytest.mark.parametrize(
    ("settings", "ends"),
    [
        ({}, [14, 28]),
        ({"correlations": {4: 0.2, 8: 0.6, 10: 0.8, 13: 0.9}}, [10, 28]),
        ({"correlations": {4: 0.2, 8: 0.6}}, [28]),
        ({"correlations": {}}, [28]),
        ({"rungs": 1}, [28]),
        ({"rungs": 3, "keep": 0.5}, [4, 12, 28]),
        ({"rungs": 3, "keep": 0.5, "correlations": {4: 0.2, 8: 0.8, 13: 0.9}}, [8, 24, 28]),
        ({"rungs": 3, "keep": 0.5, "correlations": {4: 0.8}}, [4, 12, 28]),
        ({"rungs": 3, "correlations": {4: 0.2, 8: 0.6}}, [28]),
        ({"rungs": (5, 10, 20)}, [5, 10, 20, 28]),
        ({"rungs": (5, 10, 20), "correlations": {10: 0.9}}, [10, 20, 28]),
    ],
    ids=str,
)
def test_where_rungs_end(settings, ends):
    assert Halving(**settings).ends(STEPS) == ends


@pytest.mark.parametrize(("steps", "ends"), [(1, [1]), (2, [1, 2]), (5, [2, 5]), (8, [4, 8])])
def test_one_look_in_the_middle(steps, ends):
    assert Halving().ends(steps) == ends


def test_more_rungs_than_steps_allow():
    ends = Halving(10, 0.5).ends(STEPS)
    assert ends == sorted(set(ends))
    assert 4 <= len(ends) < 10
    assert ends[-1] == STEPS


@pytest.mark.parametrize("budget", [STEPS, 100, 448, 1000])
def test_a_budget_is_used_and_never_exceeded(budget):
    halving = Halving(3, 0.5)
    count = halving.affordable(budget, [4, 8, 16])
    assert halving.cost(count, STEPS) <= budget < halving.cost(count + 1, STEPS)
    assert search(halving, count, lambda one, step: 0.0, values())[1] <= budget


def test_a_budget_below_one_run_buys_nothing():
    assert Halving(3, 0.5).affordable(STEPS - 1, [4, 8, 16]) == 0


def test_rungs_of_any_price():
    """Guided steps that cost more at the start, and a last one that costs less."""
    halving = Halving(3, 0.5)
    assert halving.price(5, [12, 16, 31]) == 5 * 12 + 2 * 16 + 31
    assert halving.affordable(123, [12, 16, 31]) == 5
    assert halving.affordable(122, [12, 16, 31]) == 4


def paid(budget, prices=None, calls=lambda start, stop: (STEPS if stop is None else stop) - start):
    return Budget(budget, prices, calls)


def test_a_budget_says_how_many_begin_once_the_first_rung_is_counted():
    budget = paid(100)
    halving = Halving(2, 0.5).start(0, None, budget, STEPS)
    assert halving.legs == [(0, 9), (9, None)]
    assert [one.seed for one in halving.propose(8)] == [0]
    first = halving.propose(1)
    budget.learn(first[0], 9)
    budget.spent += 9
    halving.check_budget()
    halving.observe(first, [0.0])
    # 5 begin for 9 each and 2 go on for 19; 6 would cost 54 + 3 * 19.
    assert [one.seed for one in halving.propose(8)] == [1, 2, 3, 4]
    assert halving.expected() == 5 * 9 + 2 * 19


def test_fewer_go_on_where_a_later_rung_proves_dearer():
    budget = paid(83)
    halving = Halving(2, 0.5).start(0, None, budget, STEPS)
    budget.learn(halving.propose(1)[0], 9)
    nodes = halving.propose(8)
    assert len(nodes) == 5
    budget.spent += 45
    halving.observe(nodes, [float(node.seed) for node in nodes])
    first = halving.propose(1)
    assert [node.seed for node in halving.propose(8)] == [4, 3]
    budget.learn(first[0], 28)  # not 19: the second cannot be paid
    budget.spent += 28
    halving.observe(first, [0.5])
    assert halving.done
    assert halving.propose(8) == []
    assert halving.best.seed == 4


def test_a_budget_below_one_bracket_names_the_least():
    budget = paid(20)
    halving = Halving(2, 0.5).start(0, None, budget, STEPS)
    budget.learn(halving.propose(1)[0], 9)
    with pytest.raises(BudgetError, match="budget is 20 NFEs, below one candidate, which costs 28 here"):
        halving.check_budget()


def test_correlations_of_a_calibration_are_taken_where_there_are_none_of_its_own():
    assert Halving().informed({4: 0.1, 8: 0.9}).ends(STEPS) == [8, 28]
    assert Halving(correlations={4: 0.9}).informed({8: 0.9}).ends(STEPS) == [4, 28]
    assert Halving(3, 0.5).correlations is None


def test_better_rows_go_on_and_failed_ones_do_not():
    final = values(3)
    _, _, seen = search(Halving(2, 0.5), 8, lambda one, step: -math.inf if one % 2 else float(one), final)
    assert [one.seed for one in seen if len(one.legs) == 2] == [106, 104, 102, 100]
    _, _, seen = search(Halving(2, 0.5), 8, lambda one, step: 0.0, final)
    assert [one.seed for one in seen if len(one.legs) == 2] == [100, 101, 102, 103]


def test_the_best_is_a_finished_one():
    """An early score, even a higher one, is none of an image."""
    halving, _, _ = search(Halving(2, 0.5), 4, lambda one, step: 100.0 + one, lambda one: float(-one))
    assert halving.best.finished
    assert halving.best.seed == 102


def test_a_search_leaves_its_settings_as_they_were():
    settings = Halving(3, 0.5)
    first = search(settings, 8, lambda one, step: 0.0, values())[2]
    assert search(settings, 8, lambda one, step: 0.0, values())[2] == first
    assert first[0] == Node.draw(100, stop=4)


def test_more_candidates_start_in_the_first_rung_only():
    halving = Halving(2, 0.5).start(0, 2, num_steps=STEPS)
    halving.extend(2)
    proposals = halving.propose(8)
    assert [one.seed for one in proposals] == [0, 1, 2, 3]
    halving.observe(proposals, [0.0] * 4)
    with pytest.raises(ValueError, match="decided a rung already"):
        halving.extend(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rungs": 0}, "rungs are 0"),
        ({"rungs": (8, 4)}, "rising steps from 1"),
        ({"rungs": (0, 4)}, "rising steps from 1"),
        ({"keep": 1.0}, "keep is 1.0"),
        ({"keep": 0.0}, "keep is 0.0"),
        ({"keep": "half"}, "keep is half"),
        ({"rungs": 2.5}, "rungs are 2.5"),
        ({"threshold": 1.5}, "threshold is 1.5; give a rank correlation"),
        ({"correlations": 0.5}, "give numbers by step"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Halving(**settings)


def test_bad_starts():
    with pytest.raises(ValueError, match="pass num_steps="):
        Halving(3, 0.5).start(0, 4)
    with pytest.raises(ValueError, match="num_candidates is 0"):
        Halving(3, 0.5).start(0, 0, num_steps=STEPS)
    with pytest.raises(ValueError, match="rungs end at 30, but the run has 28 steps"):
        Halving(rungs=(8, 30)).start(0, 4, num_steps=STEPS)
