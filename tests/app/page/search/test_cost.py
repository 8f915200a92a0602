"""What a search will cost."""

from page_jobs import follow_work
from samplesmith.app.page.search.request import SearchRequest
from samplesmith.app.page.search.run import search_job

ASKED = SearchRequest("emoji-sd3", "two cats on pink", "emoji-clip", "emoji-detector", "random", 5, 7, 2, 3)


def changed(**changes):
    return SearchRequest(**{**vars(ASKED), **changes})


def test_the_cost_is_predicted_from_the_last_run(studio, costs, tmp_path):
    assert costs.of(changed(model="emoji-sd3")).seconds is None
    follow_work(studio, search_job(studio, costs, ASKED, tmp_path))
    cost = costs.of(changed(candidates=10, steps=6))
    assert (cost.candidate, cost.nfe) == (12, 120)
    assert cost.seconds > 0
