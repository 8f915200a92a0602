"""Halving through unmodified pipelines: rungs in batches that go on from where they stood."""

import inspect
import json
from typing import ClassVar

import pytest
import torch
import toys
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)
from fakes import Brightness
from halved import STEPS, difference, search
from samplesmith.pipelines import BudgetError, NoiseSearch, RecordsError, record_previews
from samplesmith.pipelines.counting import count_nfe
from samplesmith.pipelines.decoding import decode
from samplesmith.pipelines.outputs import as_pixels
from samplesmith.pipelines.search.calibration import Calibration, Preview, StepCount
from samplesmith.pipelines.step_noise import step_noise
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.strategies import Halving
from samplesmith.verifiers import VerifierUnavailable

SETUPS = {
    "SD, DPM++": ("StableDiffusion", DPMSolverMultistepScheduler()),
    "SD3": ("StableDiffusion3", FlowMatchEulerDiscreteScheduler(shift=3.0)),
    "SD3, Heun": ("StableDiffusion3", FlowSDEScheduler(shift=3.0, integrator="heun")),
    "SD3, SDE": ("StableDiffusion3", FlowSDEScheduler(shift=3.0, diffusion="square")),
    "FLUX": ("Flux", FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)),
}


@pytest.fixture(scope="module")
def pipes():
    return {name: toys.build(name) for name in ("StableDiffusion", "StableDiffusion3", "Flux")}


@pytest.fixture
def pipe(pipes):
    """SD3, with a scheduler of its own."""
    pipes["StableDiffusion3"].scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return pipes["StableDiffusion3"]


def rungs(records):
    """How many candidates ran in each rung."""
    return [sum(len(record["legs"]) == rung for record in records) for rung in range(1, 1 + len(records[-1]["legs"]))]


def calibration(correlations, scheduler="FlowMatchEulerDiscreteScheduler", steps=STEPS):
    previews = tuple(Preview(steps, step, value, 0.5) for step, value in correlations.items())
    return Calibration(
        "StableDiffusion3Pipeline", scheduler, 7.0, "brightness", None, 4, (StepCount(STEPS, 14, (0.5,)),), previews
    )


@pytest.mark.parametrize("setup", SETUPS)
def test_any_pipeline_unmodified(pipes, setup):
    """The rungs' previews and the winner's image are those of the plain run, at the counted cost, in any batches."""
    name, scheduler = SETUPS[setup]
    pipe, (_, prompt, arguments) = pipes[name], toys.TOYS[name]
    pipe.scheduler = scheduler
    with count_nfe(pipe) as counted:
        result = search(pipe, judge=Brightness("judge"))
    assert pipe.scheduler is scheduler
    assert rungs(result.records) == [8, 4, 2]
    assert [sum(record["nfe"] for record in result.records), result.ledger.nfe] == [counted.nfe] * 2
    assert (result.ledger.decodes, result.ledger.verifier_calls) == (14, 14 + 2)
    assert [record["steps_done"] for record in result.records[-3:]] == [3, STEPS, STEPS]
    assert [candidate.finished for candidate in result.evaluated] == [False] * 12 + [True] * 2
    assert [candidate.record.to_json() for candidate in result.candidates[0]] == result.records[-2:]
    assert ["judge" in record["scores"] for record in result.records] == [False] * 12 + [True] * 2

    best = result.best[0]
    assert best.score == max(record["score"] for record in result.records[-2:])
    assert difference(best.reproduce(pipe), best.image) <= 1
    if setup != "SD3, SDE":  # the scheduler's noise is none of the arguments
        assert difference(pipe(**best.pipeline_kwargs()).images[0], best.image) <= 1
    seeds = [record["seed"] for record in result.records[:8]]
    call = {"prompt": prompt, "num_images_per_prompt": 8, **arguments, "num_inference_steps": STEPS}
    noise = step_noise(pipe, seeds)
    with record_previews(pipe, [0]) as previews, noise, count_nfe(pipe) as whole:
        pipe(**call, generator=[torch.Generator().manual_seed(seed) for seed in seeds], output_type="latent")
    early, _ = as_pixels(decode(pipe, previews.latents[0], 32, 32).permute(0, 2, 3, 1).numpy())
    for candidate, picture in zip(result.evaluated[:8], early, strict=True):
        assert difference(candidate.image, picture) <= 1
    if scheduler.order == 1:
        assert counted.nfe * 8 * STEPS == Halving(3, 0.5).cost(8, STEPS) * whole.nfe
    else:  # Heun's last step makes one call, the others two
        assert counted.nfe * 8 * (2 * STEPS - 1) == (2 * Halving(3, 0.5).cost(8, STEPS) - 2) * whole.nfe

    for batch_size in (1, 8):
        again = search(pipe, batch_size=batch_size)
        assert [record["seed"] for record in again.records] == [record["seed"] for record in result.records]
        assert [r["score"] for r in again.records] == pytest.approx([r["score"] for r in result.records], abs=1e-4)
        assert again.ledger.nfe == counted.nfe


FORMS = {
    "QwenImagePipeline": "tokens, and a frame axis before its autoencoder",
    "Flux2KleinPipeline": "latents= in another form than its steps have; a batch norm in its autoencoder",
    "ZImagePipeline": "a transformer of lists",
    "SanaPipeline": "another autoencoder",
    "FluxKontextPipeline": "a picture beside the noise",
    "StableDiffusionControlNetPipeline": "a picture for a ControlNet",
    "HunyuanDiTPipeline": "noise in its steps",
    "FluxControlPipeline": "a picture encoded with the candidate's generator before its noise",
}
"""Pipelines by what is particular to their latents."""


@pytest.mark.parametrize("name", FORMS)
def test_latents_of_any_form_are_resumed_and_shown(name):
    """The winner is the plain run's, for any batches, and every model call is counted."""
    pipe, (_, prompt, arguments) = toys.build(name), toys.TOYS[name]
    arguments = {**arguments, "num_inference_steps": 4, "progress": False}

    def found(batch_size, strategy="halving:rungs=2,keep=0.5,threshold=0.5", **size):
        finder = NoiseSearch(pipe, Brightness(), strategy)
        with torch.random.fork_rng():  # some ControlNets' pictures are encoded with noise of the global generator
            return finder(prompt, batch_size=batch_size, **size, **arguments)

    with count_nfe(pipe) as counted:
        result = found(3, num_candidates=4)
    assert result.ledger.nfe == counted.nfe
    assert rungs(result.records) == [4, 2]
    best = result.best[0]
    plain = found(1, "random", num_candidates=1, seed=best.seed)
    assert difference(plain.images[0], best.image) <= 1
    assert plain.ledger.nfe == sum(record["nfe"] for record in result.records if record["seed"] == best.seed)
    alone = found(1, num_candidates=4)
    assert [r["score"] for r in alone.records] == pytest.approx([r["score"] for r in result.records], abs=1e-3)


def identity():
    """SD3 whose velocity is zero: each clean prediction, and the sample, is the noise itself."""
    pipe = toys.build("StableDiffusion3")
    for parameter in pipe.transformer.proj_out.parameters():
        parameter.data.zero_()
    return pipe


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_a_perfect_early_score_finds_best_of_ns_winner_at_its_reduced_cost(batch_size):
    pipe = identity()
    plain = search(pipe, "random", num_candidates=16)
    halved = search(pipe, num_candidates=16, batch_size=batch_size)
    assert halved.best[0].seed == plain.best[0].seed
    assert halved.best[0].score == pytest.approx(plain.best[0].score, abs=1e-4)  # other batches
    assert (plain.ledger.nfe, halved.ledger.nfe) == (16 * STEPS * 2, Halving(3, 0.5).cost(16, STEPS) * 2)
    assert rungs(halved.records) == [16, 8, 4]
    bought = search(pipe, budget=halved.ledger.nfe, batch_size=batch_size)
    assert bought.best[0].seed == plain.best[0].seed
    assert bought.ledger.nfe == halved.ledger.nfe


class TestCalibration:
    """The calibration says where an early score tells enough to go by."""

    @pytest.mark.parametrize("size", [{"num_candidates": 7}, {"budget": 7 * STEPS * 2 + 5}])
    def test_a_useless_early_score_is_random_search_candidate_for_candidate(self, pipe, size):
        useless = calibration({2: 0.1, 4: 0.3, 6: 0.49})
        halved = search(pipe, calibration=useless, prompt=["a cat", "a dog"], **size)
        plain = search(pipe, "random", prompt=["a cat", "a dog"], **size)
        ours = [{k: v for k, v in r.items() if k not in ("steps_done", "steps")} for r in halved.records]
        assert ours == [{**record, "strategy": "halving"} for record in plain.records]
        assert [record["steps_done"] for record in halved.records] == [STEPS] * 14
        assert [best.seed for best in halved.best] == [best.seed for best in plain.best]
        assert all(difference(a.image, b.image) == 0 for a, b in zip(halved.best, plain.best, strict=True))
        assert halved.ledger.nfe == plain.ledger.nfe
        assert len(search(pipe, **size).candidates[0]) < 7

    def test_it_sets_the_first_rung_at_the_threshold(self, pipe):
        told = calibration({1: 0.2, 3: 0.4, 5: 0.8})
        assert [r["steps_done"] for r in search(pipe, calibration=told, num_candidates=2).records] == [5, 5, 7]
        eager = search(pipe, "halving:rungs=3,keep=0.5,threshold=0.3", calibration=told, num_candidates=2)
        assert [r["steps_done"] for r in eager.records] == [3, 3, 7]
        own = search(pipe, Halving(3, 0.5, correlations={1: 0.9}), calibration=told, num_candidates=2)
        assert [r["steps_done"] for r in own.records] == [1, 1, 3, 7]

    def test_runs_of_another_length_are_read_by_their_share(self):
        told = calibration({3: 0.2, 5: 0.6, 7: 1.0})
        assert told.early_correlations(STEPS) == {3: 0.2, 5: 0.6, 7: 1.0}
        assert told.early_correlations(14) == {6: 0.2, 10: 0.6, 14: 1.0}
        assert told.early_correlations(4) == {2: 0.2, 3: 0.6, 4: 1.0}

    def test_what_does_not_fit_is_refused(self, pipe):
        with pytest.raises(ValueError, match="the calibration has no previews"):
            search(pipe, calibration=calibration({}))
        with pytest.raises(ValueError, match="the calibration is of the scheduler 'DDIMScheduler'"):
            search(pipe, calibration=calibration({3: 0.5}, "DDIMScheduler"))

    def test_another_calibration_is_another_run(self, pipe, tmp_path):
        search(pipe, num_candidates=2, calibration=calibration({3: 0.6}), output_dir=tmp_path)
        with pytest.raises(RecordsError, match=r"holds another run \(calibration\.previews"):
            search(pipe, num_candidates=2, calibration=calibration({3: 0.7}), output_dir=tmp_path)


class TestBudget:
    @pytest.mark.parametrize("budget", [14, 27, 60, 100, 133])
    def test_it_is_used_and_never_exceeded(self, pipe, budget):
        with count_nfe(pipe) as counted:
            result = search(pipe, prompt=["a cat", "a dog"], budget=budget)
        per_prompt = [[r for r in result.records if r["prompt_index"] == i] for i in range(2)]
        assert counted.nfe == result.ledger.nfe
        assert [rungs(records) for records in per_prompt[1:]] == [rungs(per_prompt[0])]
        started = rungs(per_prompt[0])[0]
        for records in per_prompt:
            spent = records[-1]["nfe_so_far"]
            assert spent == sum(record["nfe"] for record in records) == 2 * Halving(3, 0.5).cost(started, STEPS)
            assert spent <= budget < 2 * Halving(3, 0.5).cost(started + 1, STEPS)

    def test_heun_and_pndm_are_counted(self, pipes):
        """Heun's last step makes one call, PNDM's first two."""
        pipe = pipes["StableDiffusion3"]
        pipe.scheduler = FlowSDEScheduler(shift=3.0, integrator="heun")
        assert search(pipe, budget=2 * 13).records[-1]["nfe_so_far"] == 2 * 13
        with pytest.raises(BudgetError, match="budget is 25 NFEs, below one candidate, which costs 26 here"):
            search(pipe, budget=2 * 13 - 1)
        pipe = pipes["StableDiffusion"]
        pipe.scheduler = PNDMScheduler(skip_prk_steps=True)
        result = search(pipe, num_candidates=1)
        assert (result.records[-1]["steps"], result.ledger.nfe) == (STEPS + 1, 2 * (STEPS + 1))

    def test_later_steps_that_cost_more_let_fewer_go_on(self, pipe, monkeypatch):
        """A denoiser that is asked twice in the last four steps, as a hook may do: 2, 4 and 16 NFEs in the rungs."""
        transformer, original = pipe.transformer, pipe.transformer.forward
        nested = []

        def forward(*args, timestep, **kwargs):
            if not nested and float(timestep[0]) < 800:
                nested.append(1)
                transformer(*args, timestep=timestep, **kwargs)
                nested.clear()
            return original(*args, timestep=timestep, **kwargs)

        monkeypatch.setattr(transformer, "forward", forward)
        with count_nfe(pipe) as counted:
            result = search(pipe, prompt=["a cat", "a dog"], budget=90)
        per_prompt = [[r for r in result.records if r["prompt_index"] == i] for i in range(2)]
        assert [rungs(records) for records in per_prompt] == [[15, 7, 2]] * 2
        assert [records[-1]["nfe_so_far"] for records in per_prompt] == [90] * 2
        assert counted.nfe == 2 * 90
        with pytest.raises(BudgetError, match=r"budget is 40 NFEs, .* give at least 42"):
            search(pipe, budget=40)
        assert rungs(search(pipe, budget=42).records) == [7, 3, 1]

    def test_a_budget_below_one_candidate_leaves_the_folder_free(self, pipe, tmp_path):
        with pytest.raises(BudgetError, match="budget is 13 NFEs, below one candidate, which costs 14 here"):
            search(pipe, budget=13, output_dir=tmp_path)
        assert rungs(search(pipe, budget=14, output_dir=tmp_path).records) == [1, 1, 1]


class TestResume:
    """It goes on from its records; rows that go on are made again, by the batches that they were made in."""

    ARGUMENTS: ClassVar = {"prompt": ["a cat", "a dog"], "num_candidates": 4, "batch_size": 2}
    BATCHES = (2, 4, 6, 7, 9, 11, 13, 14)

    @pytest.fixture(scope="class")
    def whole(self, pipes, tmp_path_factory):
        pipes["StableDiffusion3"].scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
        folder = tmp_path_factory.mktemp("whole")
        search(pipes["StableDiffusion3"], output_dir=folder, **self.ARGUMENTS)
        return (folder / "records.jsonl").read_bytes()

    @pytest.mark.parametrize("kept", [1, 5, 7, 8, 13, 14])
    def test_after_a_crash_at_any_record(self, pipe, tmp_path, whole, kept):
        search(pipe, output_dir=tmp_path, **self.ARGUMENTS)
        lines = whole.splitlines(keepends=True)
        (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:kept]) + b'{"torn')
        verifier = Brightness()
        result = search(pipe, verifier=verifier, output_dir=tmp_path, **self.ARGUMENTS)
        assert (tmp_path / "records.jsonl").read_bytes() == whole
        assert verifier.images_scored == 14 - max((end for end in self.BATCHES if end <= kept), default=0)
        assert (result.ledger.nfe_lost > 0) == (kept in (5, 13))  # where a rung goes on from rows of an earlier run
        assert result.records == [json.loads(line) for line in lines]
        assert result.ledger.nfe == sum(record["nfe"] for record in result.records)

    @pytest.mark.parametrize("batches", [1, 3, 5])
    def test_after_a_stop_with_a_budget(self, pipe, tmp_path, batches):
        arguments = {"prompt": ["a cat", "a dog"], "budget": 2 * Halving(3, 0.5).cost(4, STEPS), "batch_size": 2}
        search(pipe, output_dir=tmp_path / "whole", **arguments)
        stops = iter([True] * batches + [False])
        search(pipe, output_dir=tmp_path / "cut", on_batch=lambda report: next(stops), **arguments)
        search(pipe, output_dir=tmp_path / "cut", **arguments)
        files = [(tmp_path / name / "records.jsonl").read_bytes() for name in ("whole", "cut")]
        assert files[0] == files[1]

    def test_a_finished_run_costs_nothing(self, pipe, tmp_path):
        first = search(pipe, output_dir=tmp_path, **self.ARGUMENTS)
        verifier, reports = Brightness(), []
        with count_nfe(pipe) as counted:
            again = search(pipe, verifier=verifier, output_dir=tmp_path, on_batch=reports.append, **self.ARGUMENTS)
        assert (counted.nfe, verifier.images_scored) == (0, 0)
        assert again.records == first.records == [one.to_json() for report in reports for one in report.records]
        assert difference(again.images[1], first.images[1]) == 0

    def test_a_bracket_cut_before_that_of_another_prompt(self, pipe, tmp_path, whole):
        """As several processes leave them that were killed."""
        search(pipe, output_dir=tmp_path, **self.ARGUMENTS)
        lines = whole.splitlines(keepends=True)
        (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:3] + lines[7:]))
        search(pipe, output_dir=tmp_path, **self.ARGUMENTS)
        assert (tmp_path / "records.jsonl").read_bytes() == whole

    def test_records_of_other_rungs_are_refused(self, pipe, tmp_path):
        search(pipe, output_dir=tmp_path, **self.ARGUMENTS)
        file = tmp_path / "records.jsonl"
        file.write_text(file.read_text().replace('"start": 1, "stop": 3', '"start": 1, "stop": 4'))
        with pytest.raises(RecordsError, match="name another output folder"):
            search(pipe, output_dir=tmp_path, **self.ARGUMENTS)


def test_stopped_before_anything_is_finished_it_has_the_last_rung(pipe, tmp_path):
    stops = iter([True] * 4 + [False])
    result = search(pipe, on_batch=lambda report: next(stops), output_dir=tmp_path)
    assert rungs(result.records) == [8, 4]
    best = result.best[0]
    assert not best.finished
    assert best.score == max(record["score"] for record in result.records[8:])
    assert difference(best.reproduce(pipe), search(pipe, "random", seed=best.seed, num_candidates=1).images[0]) <= 1
    result.save(tmp_path)


def test_failed_candidates_do_not_go_on(pipe):
    scores = sorted(record["score"] for record in search(pipe, num_candidates=4).records[:4])
    with pytest.warns(UserWarning, match="candidate lost"):
        result = search(pipe, verifier=Brightness(fail_above=scores[2] - 1e-6), num_candidates=4)
    lost = {record["seed"] for record in result.records[:4] if "reason" in record}
    assert len(lost) == 2
    assert not lost & {record["seed"] for record in result.records[4:]}


def test_out_of_memory_goes_on_with_half_batches(pipe, monkeypatch):
    expected = search(pipe, batch_size=4)
    original = type(pipe).__call__

    def greedy(self, *args, num_images_per_prompt=1, **kwargs):
        images = original(self, *args, num_images_per_prompt=num_images_per_prompt, **kwargs)
        if num_images_per_prompt > 2:  # at the end, when generators and histories have moved
            raise torch.OutOfMemoryError("out of memory")
        return images

    greedy.__signature__ = inspect.signature(original)
    monkeypatch.setattr(type(pipe), "__call__", greedy)
    with pytest.warns(UserWarning, match="out of memory with 4 candidates per call; going on with 2"):
        result = search(pipe, batch_size=4)
    assert [r["seed"] for r in result.records] == [r["seed"] for r in expected.records]
    assert [r["score"] for r in result.records] == pytest.approx([r["score"] for r in expected.records], abs=1e-5)
    assert result.ledger.nfe == expected.ledger.nfe
    made_twice = sum(record["nfe"] for record in expected.records if record["status"] == "preview")
    assert (result.ledger.nfe_lost, expected.ledger.nfe_lost) == (made_twice, 0)


def test_the_scheduler_is_put_back_after_an_error(pipe, monkeypatch):
    class Down(Brightness):
        def score(self, images, prompts, previews=None):
            raise VerifierUnavailable("the host is down")

    before = pipe.scheduler
    with pytest.raises(VerifierUnavailable):
        search(pipe, verifier=Down())
    assert pipe.scheduler is before
    monkeypatch.setattr(pipe.transformer, "forward", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        search(pipe)
    assert pipe.scheduler is before
