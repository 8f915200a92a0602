"""Runs of the page as jobs, without a browser: what a visitor gets, cancelling, and repeating a run elsewhere."""

import json
import re
import shlex
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import toys
from PIL import Image
from samplesmith.app.line import Stopped
from samplesmith.app.live_search import Batch, Begun, search_job
from samplesmith.app.models import IN_HAND, Models
from samplesmith.app.search_request import SearchRequest
from samplesmith.app.search_view import SearchView, outcome_panel, summary
from samplesmith.app.shift_comparison import ShiftRequest, StepDone, shift_job
from samplesmith.app.snippet import search_command, search_snippet
from samplesmith.app.studio import Studio
from samplesmith.assets import call_defaults
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.ledger import denoisers
from samplesmith.pipelines.search.calibration import Calibration, StepCount

ASKED = SearchRequest("emoji-sd3", "two cats on pink", "emoji-clip", "emoji-detector", "random", 5, 7, 2, 3)


def changed(**changes):
    return SearchRequest(**{**vars(ASKED), **changes})


@pytest.fixture
def studio(emoji_pipe, emoji_clip, judge):
    models = Models()
    for name, model in {"emoji-sd3": emoji_pipe, "emoji-clip": emoji_clip, "emoji-detector": judge}.items():
        models.keep(name, model)
    studio = Studio(models)
    yield studio
    studio.close()


def followed(studio, work, on_news=lambda job, news: None):
    job = studio.line.join(work)
    news, following = [], studio.line.follow(job)
    while True:
        try:
            news.append(next(following))
        except StopIteration as end:
            return news, end.value
        on_news(job, news[-1])


def test_a_search_comes_batch_by_batch_and_ends_with_all_that_is_shown(studio, tmp_path):
    asked = ASKED.check(studio.models, studio.limits)
    news, outcome = followed(studio, search_job(studio, asked, tmp_path))
    assert news[0] == Begun(tmp_path, 5, None)
    batches = [one for one in news if isinstance(one, Batch)]
    assert [len(one.records) for one in batches] == [2, 2, 1]
    assert [one.ledger.nfe for one in batches] == [12, 24, 30], "each report keeps the cost of its own moment"
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
    alt = re.search(r'class="cell best"><img[^>]*alt="([^"]*)"', html)[1]
    assert alt.startswith("two cats on pink, candidate ")
    assert f"score {outcome.best.score:.3f}" in alt
    assert summary(outcome).startswith(f"Best of 5 has score {outcome.best.score:.3f}")
    panel = outcome_panel(outcome)
    assert "Best of 1: the first draw" in panel
    assert panel.count("download=") == 3
    assert "<dt>NFEs</dt><dd>30</dd>" in panel


def test_cancelling_frees_the_models_within_a_step_and_keeps_what_was_found(studio, tmp_path):
    asked = changed(candidates=40, steps=12)
    after, calls = [], []
    handle = denoisers(studio.models.pipeline("emoji-sd3"))[0].register_forward_pre_hook(
        lambda module, args: after.append(1) if calls else None
    )

    def cancel(job, news):
        if isinstance(news, Batch):
            job.stop()
            calls.append(1)

    news, outcome = followed(studio, search_job(studio, asked, tmp_path), cancel)
    handle.remove()
    assert len(after) <= 2
    assert outcome.stopped
    seen = [record for one in news if isinstance(one, Batch) for record in one.records]
    assert [record["seed"] for record in outcome.result.records] == [record["seed"] for record in seen]
    assert outcome.best.score == max(record["score"] for record in seen)
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [record["seed"] for record in seen]
    assert (tmp_path / "contact_sheet.png").exists()
    assert outcome.first.seed == 7
    assert outcome.size == {"num_candidates": len(seen)}, "what makes the same part again"
    assert summary(outcome).startswith("Cancelled: the best of ")
    news, outcome = followed(studio, search_job(studio, changed(candidates=1), tmp_path / "next"))
    assert not outcome.stopped, "the hook that stops is gone"


def test_cancelling_before_a_candidate_has_come(studio, tmp_path):
    def cancel(job, news):
        if isinstance(news, Begun):
            job.stop()

    _, outcome = followed(studio, search_job(studio, changed(candidates=40, steps=12), tmp_path), cancel)
    assert outcome.result is None or len(outcome.result.records) <= 2
    assert outcome.stopped


@pytest.mark.parametrize("strategy", ["random", "zero-order", "halving"])
def test_each_strategy_shows_best_of_1_of_its_seed(studio, tmp_path, strategy):
    asked = changed(strategy=strategy, candidates=6, steps=4)
    news, outcome = followed(studio, search_job(studio, asked, tmp_path))
    assert outcome.first.seed == 7
    plain, _ = PipelineCall(studio.models.pipeline("emoji-sd3"), asked.arguments())("two cats on pink", [7])
    difference = abs(plain[0].astype(int) - np.asarray(Image.open(outcome.first.file)).astype(int))
    assert difference.max() <= 2, "a row of another batch differs by rounding alone"
    view = SearchView(asked)
    for one in news:
        if isinstance(one, Batch):
            view.take(one)
            assert 'role="progressbar"' in view.progress()
    assert view.chosen["seed"] == outcome.best.seed
    assert view.gallery().count('class="cell best"') == 1
    assert outcome_panel(outcome).count("<section>") == 2
    tried = {(record["seed"], str(record["lineage"])) for record in outcome.result.records}
    assert summary(outcome).startswith(f"Best of {len(tried)} ")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "zero-order"])
def test_the_snippet_and_the_command_line_find_the_same_winner_in_a_fresh_process(studio, tmp_path, strategy):
    asked = changed(strategy=strategy).check(studio.models, studio.limits)
    _, outcome = followed(studio, search_job(studio, asked, tmp_path))
    code = search_snippet(asked, outcome.size, studio.models)
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    seed, score = re.search(r"seed (\d+), score ([-.\d]+)", run.stdout).groups()
    assert int(seed) == outcome.best.seed
    assert float(score) == pytest.approx(outcome.best.score, abs=1e-4)
    words = shlex.split(search_command(asked, outcome.size, studio.models))
    run = subprocess.run([sys.executable, "-m", *words, "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (best,) = json.loads(run.stdout)["best"]
    assert best["seed"] == outcome.best.seed
    assert best["score"] == pytest.approx(outcome.best.score, abs=1e-4)


def test_the_cost_is_predicted_from_the_last_run(studio, tmp_path):
    assert studio.costs.of(changed(model="emoji-sd3")).seconds is None
    followed(studio, search_job(studio, ASKED, tmp_path))
    cost = studio.costs.of(changed(candidates=10, steps=6))
    assert (cost.candidate, cost.nfe) == (12, 120)
    assert cost.seconds > 0


def test_steps_auto_spend_the_budget_as_the_calibration_says(studio, tmp_path, monkeypatch):
    guidance = call_defaults("emoji-sd3")["guidance_scale"]
    file = tmp_path / "calibration.json"
    rows = (StepCount(2, 4, (0.5, 0.6, 0.7, 0.8)), StepCount(28, 56, (0.6,)))
    names = ("StableDiffusion3Pipeline", "FlowMatchEulerDiscreteScheduler", guidance, "emoji-clip", None, 10)
    Calibration(*names, rows).save(file)
    monkeypatch.setattr(Models, "has_calibration", lambda self, name: True)
    monkeypatch.setattr(Models, "calibration", lambda self, name, verifier: file)
    asked = changed(steps="auto", candidates=1, judge=None).check(studio.models, studio.limits)
    assert studio.costs.of(asked).nfe == 56, "a candidate of the default steps, as it was counted"
    news, outcome = followed(studio, search_job(studio, asked, tmp_path / "run"))
    assert news[0] == Begun(tmp_path / "run", 14, 56)
    assert outcome.size == {"budget": 56}
    assert outcome.result.allocation.num_inference_steps == 2
    assert len(outcome.result.records) == 14
    assert "The calibration chose 14 candidates of 2 steps" in outcome_panel(outcome)
    code = search_snippet(asked, outcome.size, studio.models)
    assert "budget=56" in code
    assert "calibration=shipped_calibration('emoji-sd3', 'emoji-clip')" in code
    assert "--budget 56" in search_command(asked, outcome.size, studio.models)
    assert "--steps auto" in search_command(asked, outcome.size, studio.models)


def test_the_page_opens_on_a_pipeline_in_hand(tmp_path):
    from samplesmith.app import launch
    from samplesmith.verifiers import CallableVerifier

    brightness = CallableVerifier(lambda images, prompts: images.mean((1, 2, 3)), name="brightness")
    page = launch(toys.build("StableDiffusion"), verifier=brightness, block=False)
    try:
        assert page.local_url.startswith("http://127.0.0.1:")
        assert page.share_url is None
        config = json.load(urllib.request.urlopen(f"{page.local_url}config", timeout=60))
        choices = [one["props"].get("choices") for one in config["components"] if one["type"] == "dropdown"]
        assert choices[0][:2] == [[IN_HAND, IN_HAND], ["emoji-sd3", "emoji-sd3"]]
        assert choices[1][0] == ["brightness", "brightness"]
    finally:
        page.close()
        page.studio.close()


def test_a_folder_of_another_pipeline_class_is_searched_with_clip(emoji_clip, tmp_path):
    toys.build("StableDiffusion").save_pretrained(tmp_path / "toy")
    models = Models(str(tmp_path / "toy"))
    models.keep("emoji-clip", emoji_clip)
    studio = Studio(models)
    asked = SearchRequest(models.model, "a star on blue", "emoji-clip", None, "random", 3, 0, 2, 2, None, 32, 32)
    _, outcome = followed(studio, search_job(studio, asked.check(models, studio.limits), tmp_path / "run"))
    studio.close()
    assert outcome.best.score == max(record["score"] for record in outcome.result.records)
    assert outcome.best.verdict is None
    assert Image.open(outcome.folder / "best.png").size == (32, 32)


def test_a_pipeline_in_hand_is_searched_by_a_verifier_in_hand(tmp_path):
    from samplesmith.verifiers import CallableVerifier

    brightness = CallableVerifier(lambda images, prompts: images.mean((1, 2, 3)), name="brightness")
    studio = Studio(Models(pipe=toys.build("StableDiffusion"), verifier=brightness))
    asked = SearchRequest(IN_HAND, "a red fox", "brightness", None, "random", 3, 0, 3, 2, None, 32, 32)
    _, outcome = followed(studio, search_job(studio, asked.check(studio.models, studio.limits), tmp_path))
    studio.close()
    assert outcome.result.verifier == "brightness"
    assert len(outcome.result.records) == 3


def test_a_visitor_who_leaves_frees_the_models_and_the_disk(studio):
    visitor = studio.visitors.visitor("a")
    folder = visitor.new_folder("Search")
    job = studio.line.join(search_job(studio, changed(candidates=40, steps=12), folder))
    visitor.began("Search", job)
    following = studio.line.follow(job)
    while not isinstance(next(following), Batch):
        pass
    studio.visitors.leave("a")
    start = time.monotonic()
    list(following)
    assert job.future.done()
    assert time.monotonic() - start < 30
    deadline = time.monotonic() + 5
    while visitor.folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not visitor.folder.exists()


SHIFT = ShiftRequest("emoji-sd3", "a star on blue", "flow-euler", 4, 160, 200, "paper", 0.0, True, 2, 3)


def test_a_comparison_is_plain_and_shifted_from_the_same_noises(studio, tmp_path):
    pipe = studio.models.pipeline("emoji-sd3")
    stock = pipe.scheduler
    (tmp_path / "a").mkdir()
    news, found = followed(studio, shift_job(studio, SHIFT, tmp_path / "a"))
    assert [one.call for one in news if isinstance(one, StepDone)] == list(range(1, 9))
    assert pipe.scheduler is stock
    assert not denoisers(pipe)[0]._forward_pre_hooks
    assert len(found.grid) == len(found.chosen) == 4
    assert found.chosen[0] == [found.grid[0]] * 2
    assert any(row != [time] * 2 for time, row in zip(found.grid, found.chosen, strict=True))
    assert all(abs(one - time) <= 81 for time, row in zip(found.grid, found.chosen, strict=True) for one in row)
    assert 0 <= found.saturated <= 1
    plain, _ = PipelineCall(pipe, call_defaults("emoji-sd3") | {"num_inference_steps": 4})("a star on blue", [3, 4])
    assert (np.asarray(Image.open(found.plain[0])) == plain[0]).all()
    (tmp_path / "b").mkdir()
    _, still = followed(studio, shift_job(studio, ShiftRequest(**{**vars(SHIFT), "window": 0}), tmp_path / "b"))
    assert [file.read_bytes() for file in still.shifted] == [file.read_bytes() for file in still.plain]
    assert still.saturated is None


def test_a_comparison_is_cancelled_and_puts_the_scheduler_back(studio, tmp_path):
    pipe = studio.models.pipeline("emoji-sd3")
    stock = pipe.scheduler

    def cancel(job, news):
        if isinstance(news, StepDone) and news.call == 6:
            job.stop()

    with pytest.raises(Stopped):
        followed(studio, shift_job(studio, SHIFT, tmp_path), cancel)
    assert pipe.scheduler is stock
    assert not denoisers(pipe)[0]._forward_pre_hooks


def test_solvers_are_those_of_the_model_s_kind(studio):
    with pytest.raises(ValueError, match="ddim does not solve emoji-sd3; take one of flow-euler"):
        ShiftRequest(**{**vars(SHIFT), "solver": "ddim"}).check(studio.models, studio.limits)
    own = ShiftRequest(**{**vars(SHIFT), "solver": None}).check(studio.models, studio.limits)
    assert own.solver == "flow-euler"


def test_time_shift_of_a_class_conditional_pipeline_in_hand(tmp_path):
    import torch
    from diffusers import DDIMScheduler, UNet2DModel
    from samplesmith import ClassConditionalPipeline

    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=16,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            num_class_embeds=3,
        )
    pipe = ClassConditionalPipeline(DDIMScheduler(), unet=unet.eval(), id2label={0: "bag", 1: "boot"}, null_class=2)
    models = Models(pipe=pipe)
    assert models.labels(IN_HAND) == ["bag", "boot"]
    studio = Studio(models)
    for solver in ("ddim", "pndm", "dpmsolver++"):
        folder = tmp_path / solver
        folder.mkdir()
        asked = ShiftRequest(IN_HAND, "boot", solver, 6, 80, 100, "paper", 0.0, True, 2, 0)
        _, found = followed(studio, shift_job(studio, asked.check(models, studio.limits), folder))
        assert len(found.shifted) == 2
        assert len(found.chosen) == len(found.grid)
        assert 0 <= found.saturated <= 1
    studio.close()
