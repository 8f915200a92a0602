"""Searches of the page as its work, without a browser: what a visitor gets, and cancelling."""

import json
import re
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import toys
from page_turns import follow_work
from PIL import Image
from samplesmith.app.page.models import IN_HAND, Models
from samplesmith.app.page.search.cost import CostEstimate
from samplesmith.app.page.search.request import checked_job
from samplesmith.app.page.search.run import Batch, Begun, run_search
from samplesmith.app.page.search.view import SearchView, facts, final_answer, summary
from samplesmith.app.page.studio import Studio
from samplesmith.assets import call_defaults
from samplesmith.pipelines import SearchJob
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.counting import denoisers
from samplesmith.pipelines.row import Row
from samplesmith.pipelines.search.calibration import Calibration, StepCount

ASKED = SearchJob(
    prompts=("two cats on pink",),
    verifiers=("emoji-clip",),
    judge="emoji-detector",
    candidates=5,
    seed=7,
    batch_size=2,
    steps=3,
)


def changed(**changes):
    return replace(ASKED, **changes)


def test_a_search_comes_batch_by_batch_and_ends_with_all_that_is_shown(studio, costs, tmp_path):
    asked = ASKED
    news, outcome = follow_work(studio, partial(run_search, studio, costs, asked, tmp_path))
    assert news[0] == Begun(tmp_path, 5, None)
    batches = [one for one in news if isinstance(one, Batch)]
    assert [len(one.records) for one in batches] == [2, 2, 1]
    assert [one.ledger.nfe for one in batches] == [12, 24, 30], "each report keeps the cost of its own moment"
    assert batches[0].tried[0].sight.words.startswith("two cats: found ")
    assert outcome.best.score == max(record["score"] for record in outcome.result.records)
    assert outcome.first.seed == 7
    assert re.match(r"(right|wrong): two cats: found \d; .*background pink: (yes|no)", outcome.best.verdict)
    assert {file.name for file in tmp_path.iterdir()} >= {"contact_sheet.png", "best.png", "records.jsonl"}
    assert not outcome.stopped

    view = SearchView(asked)
    view.begin(news[0])
    view.take(batches[0])
    assert view.gallery().count("<img") == 2
    assert view.gallery().count("<figure") == 5, "the places of those to come are kept"
    assert "12 of 30 NFEs" in view.progress()
    for one in batches[1:]:
        view.take(one)
    html = view.gallery()
    assert html.count('class="cell best"') == 1
    alt = re.search(r'class="cell best">.*?alt="([^"]*)"', html)[1]
    assert alt.startswith("two cats on pink, candidate ")
    assert f"score {outcome.best.score:.3f}" in alt
    assert html.count('class="tick') == 5, "the judge's word on every candidate"
    view.end(outcome)
    assert summary(outcome, view).startswith(f"Best of 5 has score {outcome.best.score:.3f}")
    assert re.search(r"\d of 5 right", summary(outcome, view))
    panel = final_answer(outcome, view)
    assert panel.index("two cats on pink") < panel.index("Best of 5") < panel.index("First draw")
    assert facts(outcome).count("download=") == 3
    assert "NFEs</button></dt><dd>30</dd>" in facts(outcome)


def test_cancelling_frees_the_models_within_a_step_and_keeps_what_was_found(studio, costs, tmp_path):
    asked = changed(candidates=40, steps=12)
    after, calls = [], []
    handle = denoisers(studio.models.pipeline("emoji-sd3"))[0].register_forward_pre_hook(
        lambda module, args: after.append(1) if calls else None
    )

    def cancel(turn, news):
        if isinstance(news, Batch):
            turn.stop()
            calls.append(1)

    news, outcome = follow_work(studio, partial(run_search, studio, costs, asked, tmp_path), cancel)
    handle.remove()
    assert len(after) <= 2
    assert outcome.stopped
    seen = [record for one in news if isinstance(one, Batch) for record in one.records]
    assert [record["seed"] for record in outcome.result.records] == [record.seed for record in seen]
    assert outcome.best.score == max(record.score for record in seen)
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [record.seed for record in seen]
    assert (tmp_path / "contact_sheet.png").exists()
    assert outcome.first.seed == 7
    assert (outcome.job.budget, outcome.job.candidates) == (None, len(seen)), "what makes the same part again"
    view = SearchView(asked)
    for one in news:
        if isinstance(one, Batch):
            view.take(one)
    view.end(outcome)
    assert summary(outcome, view).startswith("Cancelled: the best of ")
    news, outcome = follow_work(studio, partial(run_search, studio, costs, changed(candidates=1), tmp_path / "next"))
    assert not outcome.stopped, "the hook that stops is gone"


def test_cancelling_before_a_candidate_has_come(studio, costs, tmp_path):
    def cancel(turn, news):
        if isinstance(news, Begun):
            turn.stop()

    _, outcome = follow_work(
        studio, partial(run_search, studio, costs, changed(candidates=40, steps=12), tmp_path), cancel
    )
    assert outcome is None or (outcome.stopped and len(outcome.result.records) <= 2)


@pytest.mark.parametrize("strategy", ["random", "zero-order", "halving"])
def test_each_strategy_shows_best_of_1_of_its_seed(studio, costs, tmp_path, strategy):
    asked = changed(strategy=strategy, candidates=6, steps=4)
    news, outcome = follow_work(studio, partial(run_search, studio, costs, asked, tmp_path))
    assert outcome.first.seed == 7
    plain, _ = PipelineCall(studio.models.pipeline("emoji-sd3"), asked.call_arguments)(
        Row.draws("two cats on pink", [7])
    )
    difference = abs(plain[0].astype(int) - np.asarray(Image.open(outcome.first.file)).astype(int))
    assert difference.max() <= 2, "a row of another batch differs by rounding alone"
    view = SearchView(asked)
    places = []
    for one in news:
        if isinstance(one, Begun):
            view.begin(one)
        if isinstance(one, Batch):
            view.take(one)
            assert 'role="progressbar"' in view.progress()
            order = [each.noise for each in view.latest]
            assert order[: len(places)] == places, "each candidate keeps its place"
            places = order
    planned = view.places
    view.end(outcome)
    assert view.chosen.seed == outcome.best.seed
    chart = ET.fromstring(view.chart())
    end = max(float(dot.get("cx")) for dot in chart.iter("circle"))
    ends = [float(one.get("points").split()[-1].split(",")[0]) for one in chart.iter("polyline")]
    assert ends == pytest.approx([end] * (1 + (strategy == "halving"))), (
        "the best so far is drawn through the whole run"
    )
    assert view.gallery().count('class="cell best') == 1
    assert final_answer(outcome, view).count("<section>") == 2
    tried = {(record["seed"], str(record["legs"][0]["moves"])) for record in outcome.result.records}
    assert summary(outcome, view).startswith(f"Best of {len(tried)} ")
    assert len(tried) == planned, "what was planned is what ran"
    finished = sum(record["status"] == "finished" for record in outcome.result.records)
    if strategy == "halving":
        assert view.plan.finish == finished < len(tried)
        assert f"({finished} finished, {len(tried) - finished} dropped early)" in summary(outcome, view)
        assert view.gallery().count("dropped early") == 2 * (len(tried) - finished), "in the caption and for ears"
        assert view.chart().count("ring") > len(tried) - finished, "early looks are drawn apart"


def test_steps_auto_spend_the_budget_as_the_calibration_says(studio, costs, tmp_path, monkeypatch):
    guidance = call_defaults("emoji-sd3")["guidance_scale"]
    file = tmp_path / "calibration.json"
    rows = (StepCount(2, 4, (0.5, 0.6, 0.7, 0.8)), StepCount(28, 56, (0.6,)))
    names = ("StableDiffusion3Pipeline", "FlowMatchEulerDiscreteScheduler", guidance, "emoji-clip", None, 10)
    Calibration(*names, rows).save(file)
    monkeypatch.setattr(Models, "has_calibration", lambda self, name: True)
    monkeypatch.setattr(Models, "calibration", lambda self, name, verifier: file)
    monkeypatch.setattr("samplesmith.pipelines.search.auto_steps.shipped_calibration", lambda model, verifier: file)
    asked = changed(steps="auto", candidates=1, judge=None)
    assert costs.of(asked).nfe == 56, "a candidate of the default steps, as it was counted"
    news, outcome = follow_work(studio, partial(run_search, studio, costs, asked, tmp_path / "run"))
    assert news[0] == Begun(tmp_path / "run", 14, 56)
    assert (outcome.job.budget, outcome.job.candidates) == (56, None)
    assert outcome.result.allocation.num_inference_steps == 2
    assert len(outcome.result.records) == 14
    assert "the calibration chose 14 candidates of 2 steps, 56 NFEs. Expected, over many prompts" in facts(outcome)
    code = outcome.job.python()
    assert "budget=56" in code
    assert "calibration=shipped_calibration('emoji-sd3', guide.name)" in code
    assert "--budget 56" in outcome.job.command()
    assert "--steps auto" in outcome.job.command()


def test_a_folder_of_another_pipeline_class_is_searched_with_clip(emoji_clip, tmp_path):
    toys.build("StableDiffusion").save_pretrained(tmp_path / "toy")
    models = Models(str(tmp_path / "toy"))
    models.keep("emoji-clip", emoji_clip)
    studio = Studio(models)
    size = {"candidates": 3, "batch_size": 2, "steps": 2, "height": 32, "width": 32}
    asked = {"prompt": "a star on blue", "model": models.model, "verifier": "emoji-clip"}
    job = checked_job(models, studio.limits, **asked, **size)
    _, outcome = follow_work(studio, partial(run_search, studio, CostEstimate(models), job, tmp_path / "run"))
    studio.close()
    assert outcome.best.score == max(record["score"] for record in outcome.result.records)
    assert outcome.best.verdict is None
    assert Image.open(outcome.folder / "best.png").size == (32, 32)


def test_a_pipeline_in_hand_is_searched_by_a_verifier_in_hand(tmp_path):
    from samplesmith.verifiers import CallableVerifier

    brightness = CallableVerifier(lambda images, prompts: images.mean((1, 2, 3)), name="brightness")
    studio = Studio(Models(pipe=toys.build("StableDiffusion"), verifier=brightness))
    size = {"candidates": 3, "batch_size": 3, "steps": 2, "height": 32, "width": 32}
    asked = {"prompt": "a red fox", "model": IN_HAND, "verifier": "brightness"}
    job = checked_job(studio.models, studio.limits, **asked, **size)
    _, outcome = follow_work(studio, partial(run_search, studio, CostEstimate(studio.models), job, tmp_path))
    studio.close()
    assert "verifier_1 = ...  # your brightness" in outcome.job.python(studio.models.in_hand)
    assert outcome.result.verifier == "brightness"
    assert len(outcome.result.records) == 3


def test_a_visitor_who_leaves_frees_the_models_and_the_disk(studio, costs):
    visitor = studio.visitors.visitor("a")
    folder = visitor.new_folder("Search")
    turn = studio.line.join(partial(run_search, studio, costs, changed(candidates=40, steps=12), folder))
    visitor.began("Search", turn)
    following = studio.line.follow(turn)
    while not isinstance(next(following), Batch):
        pass
    studio.visitors.leave("a")
    batches = [news for news in following if isinstance(news, Batch)]
    assert turn.future.done()
    assert len(batches) < 19, "it does not go on to its end"
    deadline = time.monotonic() + 60
    while visitor.folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not visitor.folder.exists()
