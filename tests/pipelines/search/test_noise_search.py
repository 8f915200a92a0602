import inspect
import json

import numpy as np
import pytest
import torch
import toys
from fakes import Brightness
from samplesmith.pipelines import BudgetError, NoiseSearch, RecordsError
from samplesmith.pipelines.call import encode_once
from samplesmith.pipelines.shadow import shadowed
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.strategies import Node, Strategy
from samplesmith.verifiers import RankEnsemble
from small_search import search


@pytest.fixture(scope="module")
def pipe():
    return toys.build("StableDiffusion")


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


def test_batches_of_two_sizes_in_turn_are_encoded_once_and_the_oldest_is_forgotten(pipe):
    encoded = []

    def encode_prompt(original, prompt, device, number, guided):
        encoded.append(number)
        return original(prompt, device, number, guided)

    with shadowed(pipe, "encode_prompt", encode_prompt), encode_once(pipe):
        for number in (3, 1, 3, 1, 2, 4, 5, 6, 6, 1):
            pipe.encode_prompt("a cat", "cpu", number, True)
    assert encoded == [3, 1, 2, 4, 5, 6, 1]


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


def test_out_of_memory_goes_on_with_half_batches(pipe, monkeypatch):
    expected = search(pipe, batch_size=4)
    original = type(pipe).__call__

    def greedy(self, *args, num_images_per_prompt=1, **kwargs):
        if num_images_per_prompt > 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, *args, num_images_per_prompt=num_images_per_prompt, **kwargs)

    greedy.__signature__ = inspect.signature(original)
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
