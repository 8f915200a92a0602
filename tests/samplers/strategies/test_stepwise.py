"""What all strategies share that choose from step to step: budgets, batches, where they begin to score, refusals."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samplesmith.samplers.strategies import STRATEGIES, BudgetError, Code, Rbf, Smc, Sop, Svdd, Threshold, Tree
from samplesmith.samplers.strategies.stepwise import Stepwise
from scripted_search import at_random, drive

ALL = [kind() for kind in STRATEGIES.values() if issubclass(kind, Stepwise)]
NAMES = [one.name for one in ALL]
SETTINGS = st.one_of(
    st.builds(Svdd, st.none() | st.integers(1, 5), st.sampled_from([0.0, 0.3]), st.integers(1, 3)),
    st.builds(Code, st.integers(1, 4), st.none() | st.integers(1, 5)),
    st.builds(
        Smc,
        st.none() | st.integers(1, 6),
        st.sampled_from(["difference", "max", "sum"]),
        st.just(5.0),
        st.sampled_from(["systematic", "multinomial"]),
    ),
    st.builds(Rbf, st.none() | st.integers(1, 4), st.integers(1, 9)),
    st.builds(Threshold, st.floats(0.1, 0.9), st.none() | st.integers(1, 5), st.integers(1, 4)),
    st.builds(Sop, st.integers(1, 3), st.none() | st.integers(1, 3), st.just(1), st.integers(2, 3)),
    st.builds(Tree, st.sampled_from(["search", "sample"]), st.integers(1, 5)),
)


def least(strategy, steps):
    """Model calls of one path; more than a run's where it goes back."""
    legs = strategy.start(0, 99, num_steps=steps).legs
    return sum((steps if stop is None else stop) - start for start, stop in legs)


@settings(max_examples=150, deadline=None)
@given(SETTINGS, st.integers(1, 8), st.integers(0, 60), st.integers(1, 2), st.integers(1, 5))
def test_a_budget_is_never_exceeded_and_spent_but_for_less_than_one_candidate(strategy, steps, more, price, batch):
    budget = least(strategy, steps) * price + more
    search, nodes = drive(strategy, steps=steps, batch=batch, budget=budget, per_call=lambda call: price)
    ends = {node.legs[-1].start for node in nodes if node.finished}
    assert 0 <= budget - search.budget.spent < price * (steps - max(ends))
    assert search.best.finished
    assert at_random(search.best) == max(at_random(node) for node in nodes if node.finished)
    assert len({node.id for node in nodes}) == len(nodes), "nothing is evaluated twice"


@settings(max_examples=100, deadline=None)
@given(SETTINGS, st.integers(1, 7), st.integers(0, 50))
def test_another_plan_of_batches_evaluates_the_same_nodes(strategy, steps, more):
    plans = [drive(strategy, steps=steps, batch=batch, budget=least(strategy, steps) + more)[1] for batch in (1, 3, 64)]
    assert plans[0] == plans[1] == plans[2]


@settings(max_examples=60, deadline=None)
@given(SETTINGS, st.integers(2, 6), st.integers(1, 6))
def test_candidates_bound_it_by_the_calls_of_as_many_whole_runs(strategy, steps, candidates):
    if steps * candidates < least(strategy, steps):
        with pytest.raises(ValueError, match=r"pays \d+ model calls, and sop makes \d+ at least; give more candidates"):
            drive(strategy, steps=steps, num_candidates=candidates)
        return
    _, nodes = drive(strategy, steps=steps, num_candidates=candidates)
    _, same = drive(strategy, steps=steps, budget=steps * candidates)
    assert nodes == same


@settings(max_examples=60, deadline=None)
@given(SETTINGS, st.integers(2, 6), st.integers(0, 40))
def test_later_steps_may_cost_more_than_the_first(strategy, steps, more):
    """As where guidance sets in on the way: a price is known once it was paid, so one candidate may be too much."""
    legs = strategy.start(0, 99, num_steps=steps).legs
    total = sum(1 + call for start, stop in legs for call in range(start, steps if stop is None else stop)) + more
    try:
        search, _ = drive(strategy, steps=steps, budget=total, per_call=lambda call: 1 + call)
    except BudgetError:
        pytest.fail("it would have paid a whole run")
    over = search.budget.spent - total
    assert over <= 0 or over < max(search.budget.prices.values())


@pytest.mark.parametrize("strategy", ALL, ids=NAMES)
def test_a_budget_below_one_run_is_refused_by_its_price(strategy):
    with pytest.raises(BudgetError, match="budget is 11 NFEs, below one candidate, which costs"):
        drive(strategy, steps=6, budget=11, per_call=lambda call: 2)
    drive(strategy, steps=6, budget=40, per_call=lambda call: 2)


@pytest.mark.parametrize("strategy", ALL, ids=NAMES)
def test_settings_are_left_as_they_were_and_wrong_starts_are_refused(strategy):
    before = dict(vars(strategy))
    first, second = drive(strategy, budget=40)[1], drive(strategy, budget=40)[1]
    assert first == second
    assert vars(strategy) == before
    with pytest.raises(ValueError, match="pass num_steps="):
        strategy.start(0, 4)
    with pytest.raises(ValueError, match="give a budget, or num_candidates="):
        strategy.start(0, num_steps=4)
    with pytest.raises(ValueError, match="first_scored is 7, but the run has 6 steps"):
        drive(type(strategy)(first_scored=7), budget=40)
    with pytest.raises(ValueError, match="first_scored is 0; give at least 1"):
        type(strategy)(first_scored=0)


@pytest.mark.parametrize("strategy", [one for one in ALL if one.name != "tree"], ids=lambda one: one.name)
def test_a_calibration_says_where_scores_begin_to_tell(strategy):
    told = strategy.informed({1: 0.1, 2: 0.5, 3: 0.81, 4: 0.9})
    nodes = drive(told, budget=60)[1]
    assert {node.stop for node in nodes if len(node.legs) == 1} == {3}
    own = type(strategy)(first_scored=2).informed({3: 0.9})
    assert drive(own, budget=60)[1][0].stop == 2
    never = drive(strategy.informed({1: 0.1, 5: 0.5}), budget=60)[1]
    assert [(node.seed, len(node.legs), node.stop) for node in never] == [(100 + k, 1, None) for k in range(10)]


def test_failed_candidates_do_not_end_a_search():
    for strategy in ALL:
        _, nodes = drive(strategy, lambda node: -math.inf, budget=50)
        assert any(node.finished for node in nodes)
        search, _ = drive(strategy, lambda node: -math.inf if at_random(node) < 0.5 else 1.0, budget=90)
        assert search.best.finished
