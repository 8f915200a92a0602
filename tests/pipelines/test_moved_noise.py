"""Moved noises in pipelines that draw more than their initial noise."""

import copy
import itertools
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.dry_run import first_model_inputs, same_inputs
from samplesmith.pipelines.moved_noise import moved_noise
from samplesmith.pipelines.row import Row
from samplesmith.samplers.strategies import Turn, ZeroOrder
from torch.overrides import TorchFunctionMode

DRAWING = {
    "LCM": diffusers.LCMScheduler(clip_sample=False),
    "Euler a": diffusers.EulerAncestralDiscreteScheduler(),
    "DDPM": diffusers.DDPMScheduler(clip_sample=False),
    "TCD": diffusers.TCDScheduler(),
}
DRAWS_BEFORE = ["FluxControlPipeline", "FluxControlNetPipeline", "StableDiffusionImg2ImgPipeline", "FluxFillPipeline"]
MORE = [
    *DRAWS_BEFORE,
    "DiTPipeline",
    "UnCLIPPipeline",
    "StableDiffusionInpaintPipeline",
    "KandinskyV22CombinedPipeline",
]


class Draws(TorchFunctionMode):
    """Everything that `torch.randn` gives."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.randn:
            self.seen.append(out.flatten())
        return out


def built(name):
    pipe = toys.build(name)
    _, prompt, arguments = toys.TOYS[name]
    return pipe, prompt, arguments


def with_scheduler(scheduler):
    pipe, prompt, arguments = built("StableDiffusion")
    pipe.scheduler = copy.deepcopy(DRAWING[scheduler])
    return pipe, prompt, {**arguments, "num_inference_steps": 4, **({"eta": 0.3} if scheduler == "TCD" else {})}


def levels(image, other):
    return np.abs(np.asarray(image).astype(int) - np.asarray(other).astype(int)).max()


@pytest.mark.parametrize("scheduler", DRAWING)
def test_no_draw_of_a_run_is_another_again(scheduler):
    """The initial noise, what it is turned towards, and the noise of the steps."""
    pipe, prompt, arguments = with_scheduler(scheduler)
    call = PipelineCall(pipe, arguments)
    with Draws() as draws:
        call([Row(prompt, 7, (Turn(99, 0.4),))])
    assert len(draws.seen) >= 4
    for one, other in itertools.combinations(draws.seen, 2):
        assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.2


@pytest.mark.parametrize("scheduler", DRAWING)
def test_neighbours_are_near_and_are_made_again(scheduler):
    pipe, prompt, arguments = with_scheduler(scheduler)
    pivot, beside = PipelineCall(pipe, arguments)([Row(prompt, 7), Row(prompt, 7, (Turn(99, 1e-5),))])[0]
    assert levels(pivot, beside) <= 1
    finder = NoiseSearch(pipe, Brightness(), ZeroOrder(neighbours=2, draws=2))
    one, four = (finder(prompt, num_candidates=4, batch_size=k, progress=False, **arguments) for k in (1, 4))
    assert [r["score"] for r in one.records] == pytest.approx([r["score"] for r in four.records], abs=1e-4)
    moved = four.candidates[0][3]
    assert moved.lineage
    assert levels(moved.reproduce(pipe), moved.image) <= 1
    assert levels(pipe(**moved.pipeline_kwargs(pipe)).images[0], moved.image) <= 1


@pytest.mark.parametrize("name", MORE)
def test_neighbours_are_near_whatever_else_is_drawn(name):
    pipe, prompt, arguments = built(name)
    call = PipelineCall(pipe, arguments)
    plain = call(Row.draws(prompt, [7, 8]))[0]
    pivot, beside, far = call([Row(prompt, 7), Row(prompt, 7, (Turn(99, 1e-5),)), Row(prompt, 8, (Turn(99, 0.5),))])[0]
    assert levels(plain[0], pivot) <= 1
    assert levels(pivot, beside) <= 1
    assert levels(plain[1], far) > 1
    assert "prepare_latents" not in vars(pipe)


@pytest.mark.parametrize("name", ["StableDiffusion3", "Flux", *DRAWS_BEFORE])
def test_rows_without_moves_are_untouched_bit_for_bit(name):
    pipe, prompt, arguments = built(name)

    def inputs(lineage):
        generators = [torch.Generator().manual_seed(5)]
        with moved_noise(pipe, generators, [lineage]):
            return first_model_inputs(pipe, {"prompt": prompt, **arguments, "generator": generators})

    def equal(one, other):
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True) if isinstance(a, torch.Tensor))

    plain = inputs(())
    assert equal(plain, inputs([(9, 0.0)]))
    assert not same_inputs(plain, inputs([(9, 0.4)]))
    a, b = plain[0].double().flatten(), inputs([(9, 0.4)])[0].double().flatten()
    if name in ("StableDiffusion3", "Flux"):  # the model's input is the noise
        assert float(torch.cosine_similarity(a, b, dim=0)) == pytest.approx(np.cos(0.4), abs=1e-5)
        assert float(a.norm()) == pytest.approx(float(b.norm()), rel=1e-5)


@pytest.mark.parametrize(
    "name",
    ["Flux2KleinPipeline", "Cosmos2TextToImagePipeline", "FluxControlPipeline", "FluxFillPipeline", "DiTPipeline"],
)
def test_the_plain_pipeline_makes_a_moved_candidate_again(name):
    """In whatever form it takes latents; where it takes none, `reproduce` is named."""
    pipe, prompt, arguments = built(name)
    finder = NoiseSearch(pipe, Brightness(), ZeroOrder(neighbours=1, draws=1))
    moved = finder(prompt, num_candidates=2, progress=False, **arguments).candidates[0][1]
    assert levels(moved.reproduce(pipe), moved.image) <= 1
    if name == "DiTPipeline":
        with pytest.raises(ValueError, match=r"takes no latents=.*reproduce\(pipe\)"):
            moved.pipeline_kwargs(pipe)
    else:
        assert levels(pipe(**moved.pipeline_kwargs(pipe)).images[0], moved.image) <= 1


def test_a_pipeline_that_starts_from_no_noise_is_told_before_anything_is_paid_for():
    """From masked tokens."""
    pipe, prompt, arguments = built("AmusedPipeline")
    pipe.transformer.register_forward_hook(lambda *_: pytest.fail("a model call was paid for"))
    finder = NoiseSearch(pipe, Brightness(), ZeroOrder(neighbours=1, draws=1))
    with pytest.raises(ValueError, match=r"does not draw its noise .* use the random strategy"):
        finder(prompt, num_candidates=2, progress=False, **arguments)


def test_what_no_arguments_can_start_is_told():
    """The control picture's encoding and the steps draw from one generator: latents= would shift the second."""
    pipe, prompt, arguments = built("FluxControlPipeline")
    pipe.scheduler = diffusers.FlowMatchLCMScheduler()
    expect_reproduce(pipe, prompt, arguments)


@pytest.mark.parametrize(
    "name", ["StableCascadeCombinedPipeline", "FluxInpaintPipeline", "StableDiffusion3InpaintPipeline"]
)
def test_noise_that_is_used_again_later_is_told(name):
    """By a second stage, or at each step around a mask: the first model call alone looks right."""
    expect_reproduce(*built(name))


def expect_reproduce(pipe, prompt, arguments):
    finder = NoiseSearch(pipe, Brightness(), ZeroOrder(neighbours=1, draws=1))
    moved = finder(prompt, num_candidates=2, progress=False, **arguments).candidates[0][1]
    moved = replace(moved, record=replace(moved.record, own_noise=False))
    assert levels(moved.reproduce(pipe), moved.image) <= 1
    with pytest.raises(ValueError, match=r"(cannot be started|runs several diffusions).* reproduce\(pipe\)"):
        moved.pipeline_kwargs(pipe)


@pytest.mark.parametrize("row", ["KandinskyV22CombinedPipeline", "StableCascadeCombinedPipeline"])
def test_one_latents_cannot_start_several_diffusions(row):
    _, prompt, arguments = toys.TOYS[row]
    pipe = toys.build(row)
    search = NoiseSearch(pipe, Brightness(), strategy="zero-order:neighbours=2")
    result = search(prompt, num_candidates=4, progress=False, **arguments)
    moved = result.candidates[0][-1]
    assert moved.lineage
    with pytest.raises(ValueError, match=r"several diffusions.*reproduce\(pipe\)"):
        moved.pipeline_kwargs(pipe)
    apart = np.abs(np.asarray(moved.reproduce(pipe), dtype=int) - np.asarray(moved.image, dtype=int))
    assert apart.max() <= 1
