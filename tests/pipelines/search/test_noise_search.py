import json
import warnings

import numpy as np
import pytest
import torch
import toys
from chat_server import ChatServer, says
from fakes import Brightness
from PIL import Image
from samplesmith.pipelines import BudgetError, NoiseSearch, RecordsError
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.strategies import Node, Strategy
from samplesmith.verifiers import CallableVerifier, RankEnsemble, SelfSupervisedVerifier, VLMVerifier


@pytest.fixture(scope="module")
def pipe():
    return toys.build("StableDiffusion")


def search(pipe, verifier=None, prompt=toys.PROMPT, judge=None, strategy="random", **arguments):
    arguments = {"num_candidates": 5, "batch_size": 2, "progress": False, **toys.SMALL, **arguments}
    if "budget" in arguments:
        del arguments["num_candidates"]
    return NoiseSearch(pipe, verifier or Brightness(), strategy, judge=judge)(prompt, **arguments)


@pytest.mark.parametrize("name", toys.COMMON)
def test_any_pipeline_unmodified(name):
    """Winner and scores hold for other batch sizes, and the plain pipeline makes the winner again."""
    pipe = toys.build(name)
    _, prompt, arguments = toys.TOYS[name]
    common = {"num_candidates": 5, "seed": 3, "progress": False, **arguments}
    results = [NoiseSearch(pipe, Brightness())(prompt, batch_size=size, **common) for size in (1, 2, 5)]
    scores = [[candidate.score for candidate in result.candidates[0]] for result in results]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert scores[2] == pytest.approx(scores[0], abs=1e-4)
    assert len({round(score, 5) for score in scores[0]}) == 5
    assert {result.best[0].seed for result in results} == {3 + int(np.argmax(scores[0]))}

    best = results[0].best[0]
    again = pipe(**best.pipeline_kwargs()).images[0]
    difference = np.asarray(again).astype(int) - np.asarray(best.image)
    assert np.abs(difference).max() <= 1
    assert np.abs(np.asarray(best.reproduce(pipe)).astype(int) - np.asarray(best.image)).max() <= 1


@pytest.mark.parametrize("name", ["StableDiffusion3", "Flux"])
def test_a_stochastic_scheduler_draws_from_the_candidates_seeds(name):
    pipe = toys.build(name)
    pipe.scheduler = FlowSDEScheduler.from_scheduler(pipe.scheduler, diffusion="linear")
    _, prompt, arguments = toys.TOYS[name]
    common = {"num_candidates": 4, "progress": False, **arguments}
    one, four = (NoiseSearch(pipe, Brightness())(prompt, batch_size=size, **common) for size in (1, 4))
    assert [r["score"] for r in one.records] == pytest.approx([r["score"] for r in four.records], abs=1e-4)
    again = np.asarray(one.best[0].reproduce(pipe)).astype(int)
    assert np.abs(again - np.asarray(one.images[0])).max() <= 1


def test_candidates_differ_and_the_best_is_the_highest(pipe):
    result = search(pipe)
    assert result.best[0].score == max(record["score"] for record in result.records)
    assert result.best[0].record.to_json() in result.records
    assert [record["seed"] for record in result.records] == [0, 1, 2, 3, 4]
    assert result.images[0].size == (32, 32)


def test_prompts_are_encoded_once_for_a_batch_size(pipe):
    calls = []
    original = pipe.text_encoder.forward
    pipe.text_encoder.forward = lambda *a, **k: calls.append(1) or original(*a, **k)
    try:
        search(pipe, num_candidates=6, batch_size=2)
        once = len(calls)
        search(pipe, num_candidates=2, batch_size=2)
    finally:
        del pipe.text_encoder.forward
    # The prompt and the empty negative one; and once more for one candidate alone, when rows are tried.
    assert once == len(calls) - once == 4
    assert "encode_prompt" not in vars(pipe)


def test_the_pipeline_is_left_as_it_was(pipe):
    before = dict(pipe._progress_bar_config)
    search(pipe)
    assert pipe._progress_bar_config == before
    assert not pipe.unet._forward_pre_hooks


def test_ledger_and_budget(pipe):
    result = search(pipe, judge=Brightness("judge"))
    assert (result.ledger.nfe, result.ledger.decodes, result.ledger.verifier_calls) == (5 * 2 * 2, 5, 10)
    assert result.records[-1]["nfe_so_far"] == 20
    bought = search(pipe, budget=15)
    assert (len(bought.records), bought.ledger.nfe) == (3, 12)  # 4 each; the remainder of 3 is not spent
    assert [r["score"] for r in bought.records] == pytest.approx([r["score"] for r in result.records[:3]], abs=1e-5)
    with pytest.raises(BudgetError, match="budget is 3 NFEs, below one candidate, which costs 4 here; give at least 4"):
        search(pipe, budget=3)


def test_a_list_of_prompts_has_noises_of_its_own(pipe):
    result = search(pipe, prompt=["a cat on pink", "a dog on blue"], num_candidates=2)
    assert [record["seed"] for record in result.records] == [0, 1, 100_000, 100_001]
    assert [candidate.prompt for candidate in result.best] == ["a cat on pink", "a dog on blue"]
    assert len(result.images) == 2


def test_the_judge_measures_and_does_not_choose(pipe):
    result = search(pipe, judge=Brightness("judge", factor=-1.0))
    assert result.best[0].score == max(record["scores"]["brightness"] for record in result.records)
    assert result.best[0].scores["judge"] == -result.best[0].score
    assert result.judge == "judge"


def test_rank_ensemble_chooses_from_the_whole_pool(pipe):
    parts = [Brightness("a"), Brightness("b", factor=-1.0)]
    result = search(pipe, RankEnsemble(parts, weights=[1, 3]))
    assert result.best[0].scores["b"] == max(record["scores"]["b"] for record in result.records)
    assert all(record["score"] is None for record in result.records)
    assert result.best[0].score == pytest.approx((1 * 1 + 3 * 5) / 4)


def test_a_verifier_that_raises_loses_only_its_candidate(pipe):
    plain = search(pipe)
    second = sorted(record["score"] for record in plain.records)[-2]
    with pytest.warns(UserWarning, match="candidate lost .* brightness raised RuntimeError: too bright for me"):
        result = search(pipe, Brightness(fail_above=second + 1e-6))
    lost = [record for record in result.records if "reason" in record]
    assert len(lost) == 1
    assert lost[0]["score"] is None
    assert lost[0]["status"] == "failed"
    assert result.best[0].score == pytest.approx(second, abs=1e-6)
    assert not result.failed


def test_nan_scores_and_total_failure_are_recorded(pipe, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = search(pipe, Brightness(nan_above=-1.0), output_dir=tmp_path)
        assert result.failed
        assert {record["reason"] for record in result.records} == {"brightness gave NaN"}
        assert result.images == [None]
        result.save(tmp_path)
        again = search(pipe, Brightness(nan_above=-1.0), output_dir=tmp_path)
        assert [record["reason"] for record in again.records] == ["brightness gave NaN"] * 5


def strict(text):
    """Parse JSON as other languages do: NaN and Infinity are no part of it."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


class TestFailures:
    """A guide's failure loses a candidate, a judge's a judgement; both are null with a reason in the records."""

    @pytest.mark.parametrize("broken", [{"fail_above": -1.0}, {"nan_above": -1.0}])
    def test_a_judge_that_fails_changes_nothing_but_its_own_scores(self, pipe, broken):
        plain = search(pipe)
        with pytest.warns(UserWarning, match="no score of the judge"):
            judged = search(pipe, judge=Brightness("judge", **broken))
        assert judged.best[0].seed == plain.best[0].seed
        assert [one.score for one in judged.candidates[0]] == [one.score for one in plain.candidates[0]]
        for record in judged.records:
            assert record["scores"]["judge"] is None
            assert record["missing"]["judge"].startswith("judge ")
            assert record["status"] == "finished"
        assert not judged.failed

    @pytest.mark.parametrize("strategy", ["random", "zero-order:neighbours=2", "halving:rungs=[1],keep=0.5"])
    def test_guide_and_judge_of_one_name(self, pipe, strategy):
        """The judge turns the guide's order round, and is not followed."""
        result = search(pipe, Brightness("clip"), judge=Brightness("clip", factor=-1.0), strategy=strategy)
        assert result.judge == "clip#2"
        pool = result.candidates[0]
        assert result.best[0].score == max(one.scores["clip"] for one in pool)
        assert all(one.scores["clip#2"] == -one.scores["clip"] for one in pool)

    def test_records_are_json_whatever_fails(self, pipe, tmp_path):
        guide = RankEnsemble([Brightness("a", nan_above=0.0), Brightness("b")])
        levels = [record["score"] for record in search(pipe).records]
        guide.parts[0].nan_above = sorted(levels)[2] + 1e-6
        with pytest.warns(UserWarning, match="candidate lost"):
            result = search(
                pipe, guide, judge=Brightness("judge", fail_above=sorted(levels)[1] + 1e-6), output_dir=tmp_path
            )
        result.save(tmp_path)
        rows = [strict(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
        strict((tmp_path / "run.json").read_text())
        strict((tmp_path / "ledger.json").read_text())
        assert [row["status"] for row in rows].count("failed") == 2
        assert all(
            row["scores"]["a"] is row["scores"]["b"] is None and row["reason"] for row in rows if "reason" in row
        )
        assert [row["scores"]["judge"] is None for row in rows] == ["missing" in row for row in rows]
        assert sum("missing" in row for row in rows) == 3
        chosen = next(row for row in rows if row["seed"] == result.best[0].seed)
        assert chosen["scores"]["b"] == pytest.approx(sorted(levels)[2], abs=1e-5)


def alike(records, others):
    """Equal but for calls that failed, and the rounding of scores, which depends on how many were scored at once."""
    assert len(records) == len(others)
    for one, other in zip(records, others, strict=True):
        assert list(one) == list(other)
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)
        leave_out = {"score", "scores", "verifier_calls"}
        assert [one[key] for key in one if key not in leave_out] == [other[key] for key in one if key not in leave_out]


class TestTriedAgain:
    """A rerun asks again for what a verifier did not give, and makes again what is gone; the rest is recalled."""

    @pytest.fixture
    def denoised(self, pipe):
        """Counts calls of the denoiser."""
        calls = []
        handle = pipe.unet.register_forward_hook(lambda *_: calls.append(1))
        yield calls
        handle.remove()

    @pytest.mark.parametrize("strategy", ["random", "zero-order:neighbours=2", "halving:rungs=[1],keep=0.5"])
    @pytest.mark.parametrize("role", ["guide", "judge"])
    def test_an_endpoint_that_recovers(self, pipe, tmp_path, strategy, role):
        limit = 0.0

        def run(folder, failing):
            one = Brightness(role, fail_above=limit if failing else None)
            one.settings = lambda: {}  # an endpoint is the same when it answers again
            pair = (one, Brightness("other"))
            guide, judge = pair if role == "guide" else pair[::-1]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return search(pipe, guide, ["a cat", "a dog"], judge, strategy, output_dir=tmp_path / folder), one

        whole, _ = run("whole", False)
        scores = sorted(record["scores"][role] for record in whole.records if role in record["scores"])
        limit = scores[len(scores) // 2]
        ill, _ = run("ill", True)
        lost = [record for record in ill.records if record.get("reason") or record.get("missing")]
        assert 0 < len(lost) < len(ill.records)
        text = "raised RuntimeError: too bright for me"
        assert all(text in (record.get("reason") or record["missing"]["judge"]) for record in lost)
        still, _ = run("ill", True)
        alike(still.records, ill.records)
        assert still.ledger.verifier_calls == ill.ledger.verifier_calls + len(lost)
        well, asked = run("ill", False)
        alike(well.records, whole.records)
        alike([strict(line) for line in (tmp_path / "ill/records.jsonl").read_text().splitlines()], whole.records)
        if strategy == "random" or role == "judge":
            assert asked.images_scored == len(lost)
        again, asked = run("ill", False)
        assert asked.images_scored == 0
        assert again.records == well.records

    def test_pictures_are_not_made_again_for_a_score(self, pipe, tmp_path, denoised):
        with pytest.warns(UserWarning, match="candidate lost"):
            search(pipe, CallableVerifier(lambda x, p: x.mean((1, 2, 3)) * torch.nan, name="a"), output_dir=tmp_path)
        run = json.loads((tmp_path / "run.json").read_text())
        guide = Brightness("a")
        run["verifier_identity"] = guide.identity()
        (tmp_path / "run.json").write_text(json.dumps(run))
        denoised.clear()
        assert not search(pipe, guide, output_dir=tmp_path).failed
        assert denoised == []

    def test_reasons_of_an_endpoint_are_kept_by_image(self, pipe, tmp_path):
        answers = [says('{"score": 5}'), says("I see a cat."), says('{"score": 11}'), says('{"score": 6}')]
        with ChatServer(*answers) as server:
            judge = VLMVerifier(server.url, "vlm", concurrency=1)
            with pytest.warns(UserWarning, match="no score"):
                result = search(pipe, judge=judge, num_candidates=3, batch_size=3, output_dir=tmp_path)
            assert [record["scores"]["vlm"] for record in result.records] == [5, None, None]
            reasons = [record["missing"]["vlm"] for record in result.records[1:]]
            assert reasons[0] == "vlm gave NaN: its answer holds no score: 'I see a cat.'"
            assert reasons[1].startswith("vlm gave NaN: its score 11 is not from 0 to 10")
            again = search(pipe, judge=judge, num_candidates=3, batch_size=3, output_dir=tmp_path)
        assert [record["scores"]["vlm"] for record in again.records] == [5, 6, 6]
        assert len(server.requests) == 5

    @pytest.mark.parametrize("strategy", ["random", "zero-order:neighbours=2", "halving:rungs=[1],keep=0.5"])
    def test_a_picture_that_is_gone_or_torn(self, pipe, tmp_path, strategy):
        first = search(pipe, strategy=strategy, output_dir=tmp_path)
        finished = [record for record in first.records if record["status"] == "finished"]
        files = [tmp_path / record["file"] for record in finished]
        before = [np.asarray(Image.open(file)).astype(int) for file in files]
        files[0].unlink()
        files[-1].write_bytes(files[-1].read_bytes()[:-20])
        verifier = Brightness()
        again = search(pipe, verifier, strategy=strategy, output_dir=tmp_path)
        assert again.records == first.records
        assert verifier.images_scored == 0
        for file, pixels in zip(files, before, strict=True):
            assert np.abs(np.asarray(Image.open(file)) - pixels).max() <= (1 if "halving" in strategy else 0)
        assert np.asarray(again.images[0]).shape == (32, 32, 3)

    def test_a_picture_that_the_pipeline_spoils_stays_lost(self, pipe, monkeypatch, tmp_path, denoised):
        original = pipe.image_processor.postprocess

        def spoil(*args, **kwargs):
            images = original(*args, **kwargs)
            images[0] = np.nan
            return images

        monkeypatch.setattr(pipe.image_processor, "postprocess", spoil)
        with pytest.warns(UserWarning, match="NaN"):
            first = search(pipe, num_candidates=2, output_dir=tmp_path)
        denoised.clear()
        assert search(pipe, num_candidates=2, output_dir=tmp_path).records == first.records
        assert denoised == []

    def test_a_verifier_of_previews_gets_them_again(self, pipe, tmp_path):
        def run(folder, failing):
            def features(pictures):
                if failing:
                    raise RuntimeError("out of order")
                return pictures.mean((2, 3))

            judge = SelfSupervisedVerifier(features, "settled")
            judge.settings = lambda: {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return search(pipe, judge=judge, output_dir=tmp_path / folder)

        whole, ill = run("whole", False), run("ill", True)
        assert all(record["scores"]["settled"] is None for record in ill.records)
        alike(run("ill", False).records, whole.records)


def test_a_nan_image_is_recorded_with_its_reason(pipe, monkeypatch):
    original = pipe.image_processor.postprocess

    def spoil_the_second(*args, **kwargs):
        images = original(*args, **kwargs)
        images[1] = np.nan
        return images

    monkeypatch.setattr(pipe.image_processor, "postprocess", spoil_the_second)
    with pytest.warns(UserWarning, match="NaN"):
        result = search(pipe, num_candidates=3, batch_size=3)
    assert ["reason" in record for record in result.records] == [False, True, False]


def test_out_of_memory_goes_on_with_half_batches(pipe, monkeypatch):
    expected = search(pipe, batch_size=4)
    original = type(pipe).__call__

    def greedy(self, *args, num_images_per_prompt=1, **kwargs):
        if num_images_per_prompt > 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, *args, num_images_per_prompt=num_images_per_prompt, **kwargs)

    greedy.__signature__ = __import__("inspect").signature(original)
    monkeypatch.setattr(type(pipe), "__call__", greedy)
    with pytest.warns(UserWarning, match="out of memory with 4 candidates per call; going on with 2"):
        result = search(pipe, batch_size=4)
    assert [r["score"] for r in result.records] == pytest.approx([r["score"] for r in expected.records], abs=1e-5)
    assert result.ledger.nfe == expected.ledger.nfe


def test_on_batch_sees_all_and_can_stop(pipe):
    seen = []
    result = search(pipe, on_batch=lambda report: seen.append(report) or len(seen) < 2)
    assert [len(report.records) for report in seen] == [2, 2]
    assert seen[0].images[0].size == (32, 32)
    assert len(result.records) == 4


class Local(Strategy):
    """A user's own: after two draws it stays beside the better seed."""

    name = "local"

    def propose(self, count):
        if len(self.observed) < 2:
            return [Node.draw(self.seed + 1000 * k) for k in range(len(self.observed), 2)][:count]
        return [Node.draw(self.best.seed + 1)]


def test_a_users_own_strategy(pipe):
    result = search(pipe, strategy=Local(), num_candidates=4)
    seeds = [record["seed"] for record in result.records]
    assert seeds[:2] == [0, 1000]
    assert set(seeds[2:]) <= {1, 2, 3, 1001, 1002, 1003}
    assert result.records[0]["strategy"] == "local"


class TestResume:
    def test_an_interrupted_run_goes_on_where_it_was(self, pipe, tmp_path):
        whole = search(pipe, output_dir=tmp_path / "whole")
        stops = []
        search(pipe, output_dir=tmp_path / "cut", on_batch=lambda report: stops.append(1) or len(stops) < 2)
        with (tmp_path / "cut/records.jsonl").open("a") as file:
            file.write('{"torn')
        verifier = Brightness()
        again = search(pipe, verifier, output_dir=tmp_path / "cut")
        assert verifier.images_scored == 1  # 4 of 5 were on record
        assert (tmp_path / "cut/records.jsonl").read_bytes() == (tmp_path / "whole/records.jsonl").read_bytes()
        assert again.best[0].record == whole.best[0].record
        assert again.ledger.nfe == whole.ledger.nfe

    def test_part_of_a_batch_is_evaluated_again_as_a_whole(self, pipe, tmp_path):
        whole = search(pipe, output_dir=tmp_path)
        lines = (tmp_path / "records.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "records.jsonl").write_text("".join(lines[:3]))
        verifier = Brightness()
        assert search(pipe, verifier, output_dir=tmp_path).records == whole.records
        assert verifier.images_scored == 3

    def test_a_finished_run_costs_nothing(self, pipe, tmp_path):
        first = search(pipe, output_dir=tmp_path, budget=12)
        verifier = Brightness()
        again = search(pipe, verifier, output_dir=tmp_path, budget=12)
        assert verifier.images_scored == 0
        assert again.records == first.records
        assert np.array_equal(np.asarray(again.images[0]), np.asarray(first.images[0]))

    @pytest.mark.parametrize(
        "change", [{"seed": 1}, {"num_inference_steps": 3}, {"batch_size": 3}, {"num_candidates": 6}]
    )
    def test_another_run_is_refused_by_name(self, pipe, tmp_path, change):
        search(pipe, output_dir=tmp_path)
        name = next(iter(change))
        with pytest.raises(RecordsError, match=rf"holds another run \((arguments\.)?{name} was"):
            search(pipe, output_dir=tmp_path, **change)

    def test_a_folder_without_records_is_free(self, pipe, tmp_path):
        with pytest.raises(BudgetError):
            search(pipe, output_dir=tmp_path, budget=3)
        assert len(search(pipe, output_dir=tmp_path, budget=4).records) == 1

    def test_a_corrupt_records_file_is_refused(self, pipe, tmp_path):
        search(pipe, output_dir=tmp_path)
        lines = (tmp_path / "records.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "records.jsonl").write_text(lines[0] + "nonsense\n" + lines[1])
        with pytest.raises(RecordsError, match=r"line 2 of .* is no record"):
            search(pipe, output_dir=tmp_path)


def test_run_json_says_what_was_run(pipe, tmp_path):
    search(pipe, output_dir=tmp_path, negative_prompt="a dog")
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["pipeline"] == "StableDiffusionPipeline"
    assert run["scheduler"] == "DDIMScheduler"
    assert run["arguments"]["negative_prompt"] == "a dog"
    assert set(run["versions"]) == {"torch", "diffusers", "transformers"}


def test_save_writes_what_a_person_looks_at(pipe, tmp_path):
    folder = search(pipe, judge=Brightness("judge")).save(tmp_path / "out")
    assert {file.name for file in folder.iterdir()} == {"contact_sheet.png", "best.png", "records.jsonl", "ledger.json"}
    assert len((folder / "records.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "  "}, "the prompt is empty"),
        ({"prompt": []}, "the prompt is empty"),
        ({"seed": 2**64}, "seed is 18446744073709551616; give at most 4611686018427387904"),
        ({"seed": -1}, "seed is -1; give a whole number of at least 0"),
        ({"num_candidates": 0}, "num_candidates is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"num_candidates": None}, "just one of budget"),
        ({"generator": None}, "generator: set by the search"),
        ({"latents": None, "output_type": "pil"}, "latents, output_type: set by the search"),
        ({"guidance": 3}, "StableDiffusionPipeline takes no guidance; it takes"),
    ],
)
def test_bad_arguments_are_one_sentence(pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        search(pipe, **arguments)


def test_an_output_folder_that_cannot_be_written(pipe, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordsError, match="cannot write to the output folder"):
        search(pipe, output_dir=tmp_path / "file" / "under")


class TestStopAt:
    """`stop_at` ends a prompt's search; what it did not need goes to the prompts that are still below."""

    @pytest.fixture(scope="class")
    def scores(self, pipe):
        """Of twelve candidates of two prompts, and a score that only the first prompt reaches in six."""
        pools = search(pipe, prompt=["a cat", "a dog"], num_candidates=12).candidates
        return [[candidate.score for candidate in pool] for pool in pools]

    @pytest.mark.parametrize("batch_size", [1, 2, 5, 12])
    def test_the_first_to_reach_it_wins_whatever_the_batch(self, pipe, scores, batch_size):
        stop_at = sorted(scores[0])[6]
        result = search(pipe, prompt="a cat", num_candidates=12, batch_size=batch_size, stop_at=stop_at - 1e-5)
        assert result.best[0].seed == next(k for k, score in enumerate(scores[0]) if score >= stop_at - 1e-5)
        assert len(result.records) == -(-(result.best[0].seed + 1) // batch_size) * batch_size

    def test_what_is_left_goes_to_the_prompts_below(self, pipe):
        """Cats reach the score at once and spend one of their five; dogs never do, and get the other four."""

        class FondOfCats(Brightness):
            def score(self, images, prompts, previews=None):
                return super().score(images, prompts) + torch.tensor([1.0 if "cat" in p else 0.0 for p in prompts])

        prompts = ["a cat", "a dog", "two dogs", "two cats"]
        result = search(pipe, FondOfCats(), prompts, num_candidates=5, batch_size=1, stop_at=1.0)
        assert [len(pool) for pool in result.candidates] == [1, 9, 9, 1]
        assert [record["prompt_index"] for record in result.records] == [0] + [1] * 9 + [2] * 9 + [3]

    def test_it_resumes(self, pipe, scores, tmp_path):
        stop_at = max(scores[1][:5]) + 1e-6
        arguments = {"prompt": ["a dog", "a cat"], "num_candidates": 5, "batch_size": 1, "stop_at": stop_at, "seed": 0}
        whole = search(pipe, output_dir=tmp_path / "whole", **arguments)
        stops = iter([True] * 6 + [False])
        search(pipe, output_dir=tmp_path / "cut", on_batch=lambda report: next(stops), **arguments)
        again = search(pipe, output_dir=tmp_path / "cut", **arguments)
        again.save(tmp_path / "cut")
        files = [(tmp_path / name / "records.jsonl").read_bytes() for name in ("whole", "cut")]
        assert files[0] == files[1]
        assert again.records == whole.records

    def test_a_ranking_cannot_stop(self, pipe):
        with pytest.raises(ValueError, match="leave stop_at out"):
            search(pipe, RankEnsemble([Brightness("a"), Brightness("b")]), stop_at=0.5)
