"""Strategies side by side at one budget, as work of the page."""

import json
import re
from functools import partial

import pytest
from page_turns import follow_work
from samplesmith.app.page.compare.tab import comparison, summary
from samplesmith.app.page.compare.work import WAYS, Cell, CompareRequest, Comparing, run_compare
from samplesmith.app.page.judged import Sight
from samplesmith.app.page.limits import Limits
from samplesmith.app.page.models import Models
from samplesmith.app.page.search.cost import CostEstimate

ASKED = {"prompt": "a star on blue", "model": "emoji-sd3", "candidates": 1, "across": "seed", "columns": 1, "seed": 3}


def test_each_way_spends_no_more_than_the_budget_and_shows_its_cost(studio, tmp_path):
    request = CompareRequest.of(studio.models, studio.limits, **ASKED)
    work = partial(run_compare, studio, CostEstimate(studio.models), request, tmp_path)
    news, compared = follow_work(studio, work)
    assert [one.way for one in news if isinstance(one, Comparing)] == list(WAYS)
    assert compared.budget == 56
    for cell in compared.cells:
        assert 0 < cell.nfe <= 56, cell.reason
        assert cell.sight.right in (True, False)
    html = comparison("a star on blue", compared.cells, compared.columns, "seed")
    assert html.count("<img") == len(WAYS) + 2, "the best and what it has to beat stand over the grid"
    assert f"{compared.cells[0].nfe} <button" in html
    assert (tmp_path / "comparison.png").is_file()
    stored = json.loads((tmp_path / "comparison.json").read_text())
    assert [one["nfe"] for one in stored] == [cell.nfe for cell in compared.cells]


def test_a_way_that_the_model_does_not_know_says_why_and_the_others_run():
    fashion = {**ASKED, "model": "fashion-ddpm", "prompt": "Sneaker"}
    request = CompareRequest.of(Models(), Limits(), **fashion)
    assert "carries no calibration" in request.jobs["auto", 3.0]
    assert request.jobs["random", 3.0].verifiers == ("fashion-classifier",)
    html = comparison("Sneaker", [Cell("auto", 3.0, reason="no <calibration>")], [3.0], "seed")
    assert "no &lt;calibration&gt;" in html


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"across": "moon"}, "no way of columns 'moon' on this page; it has seed, guidance scale"),
        ({"candidates": 1000}, "the budget is 1000; give a number from 1 to 16 candidates"),
        ({"columns": 0}, "the number of columns is 0"),
        ({"seed": float("nan")}, "the seed is nan"),
        ({"model": "/etc"}, "no model '/etc' on this page"),
        ({"prompt": "a dragon on blue"}, "unknown word 'dragon'"),
    ],
)
def test_what_may_not_be_compared_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        CompareRequest.of(Models(), Limits(), **{**ASKED, **changes})
    assert message in str(error.value)


def test_the_best_winner_stands_first_beside_what_it_has_to_beat(tmp_path):
    def titles(*cells):
        return re.findall(r"<h3>(.*?)</h3>", comparison("a star", list(cells), [0.0, 1000.0], "seed"))

    def won(way, column, score):
        return Cell(way, column, tmp_path / "a.png", score, Sight(True, ""), 56, 1.0, 2)

    assert titles() == ["Best", "Random"]
    plain, other = won("random", 0.0, 0.5), won("halving", 0.0, 0.7)
    assert titles(plain) == ["Best: random", "Beside it"]
    assert titles(plain, other) == ["Best: halving", "Random"]
    elsewhere = won("auto", 1000.0, 0.8)
    assert titles(won("random", 0.0, 0.9), other, elsewhere) == ["Best: random", "Halving"], "of the same seed"
    alike = comparison("a star", [other, won("auto", 0.0, 0.7)], [0.0], "seed")
    assert "Of 2 winners, that of halving has the highest score, as has that of auto. The judge: 2 of 2 right." in alike
    assert alike.count("cell best") == 2, "one in the panel, one in the grid"


def test_the_line_over_the_grid_counts_each_way():
    assert summary([]) == "No search could be made."
