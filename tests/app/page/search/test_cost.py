"""What a search will cost."""

from dataclasses import replace
from functools import partial

from page_turns import follow_work
from samplesmith.app.page.search.run import run_search
from samplesmith.pipelines import SearchJob

ASKED = SearchJob(("two cats on pink",), verifiers=("emoji-clip",), candidates=5, seed=7, batch_size=2, steps=3)


def test_the_cost_is_predicted_from_the_last_run(studio, costs, tmp_path):
    assert costs.of(ASKED).seconds is None
    follow_work(studio, partial(run_search, studio, costs, ASKED, tmp_path))
    cost = costs.of(replace(ASKED, candidates=10, steps=6))
    assert (cost.candidate, cost.nfe) == (12, 120)
    assert cost.seconds > 0
