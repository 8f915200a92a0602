"""Superpositions of the page as its work, without a browser: what a visitor gets, and cancelling."""

from dataclasses import replace
from functools import partial

import pytest
from page_turns import follow_work
from samplesmith.app.page.line import Stopped
from samplesmith.app.page.on_the_way import OnTheWay
from samplesmith.app.page.superpose.run import StepDone, run_superposition
from samplesmith.app.page.superpose.view import (
    density_chart,
    facts,
    final_answer,
    kappa_chart,
    pictures,
    places,
    summary,
    waiting,
)
from samplesmith.pipelines import SuperposeJob

JOB = SuperposeJob(("with a cat", "on pink"), num_images=2, seed=7, steps=3, judge="emoji-detector")


def test_steps_are_told_and_all_is_shown(studio, tmp_path):
    news, done = follow_work(studio, partial(run_superposition, studio, JOB, tmp_path))
    assert [one.step for one in news if isinstance(one, StepDone)] == list(range(1, 10))
    assert {one.steps for one in news if isinstance(one, StepDone)} == {9}
    html = pictures(done)
    assert html.count("<figure") == places(JOB, 2).count("<figure") == 6, "the layout does not jump"
    assert html.count("<h3>") == 3
    for arm in done.outcome.arms:
        assert all((tmp_path / file).is_file() for file in done.outcome.files(arm))
    assert html.count("The judge says ") == 6
    assert "joint prompt: with a cat on pink, seed 8, " in html
    assert kappa_chart(done.outcome).count("<polyline") == 2
    assert density_chart(done.outcome).count("<polyline") == 2
    assert summary(done).startswith("2 images of and: with a cat, on pink, 48 NFEs in all; right by emoji-detector: ")
    assert facts(done).count("download=") == 2
    panel = final_answer(done)
    assert panel.index("and: with a cat, on pink") < panel.index("Superposed") < panel.index("Joint prompt")
    assert panel.count("<img") == panel.count("The judge says ") == 2


def test_without_a_judge_nothing_is_said(studio, tmp_path):
    job = replace(JOB, judge=None, prompts=(), formula='"with a cat" & ~"on blue"', operator=None)
    _, done = follow_work(studio, partial(run_superposition, studio, job, tmp_path))
    assert "The judge says" not in pictures(done) + final_answer(done)
    assert "&quot;with a cat&quot; &amp; ~&quot;on blue&quot;" in final_answer(done)
    assert list(done.outcome.rivals) == ["alone"]
    assert summary(done) == '2 images of "with a cat" & ~"on blue", 30 NFEs in all.'


def test_cancelling_frees_the_models_within_a_step(studio, tmp_path):
    news = []

    def cancel(turn, one):
        news.append(one)
        if isinstance(one, OnTheWay):
            assert one.file.is_file()
            assert "Being drawn" in waiting(JOB, one)
            turn.stop()

    with pytest.raises(Stopped):
        follow_work(studio, partial(run_superposition, studio, replace(JOB, steps=40), tmp_path), cancel)
    assert max(one.step for one in news if isinstance(one, StepDone)) < 10
    assert {file.name for file in tmp_path.iterdir()} <= {"on_the_way_4.png", "on_the_way_8.png"}
