"""What schedulers draw in their steps: from each candidate's seed, whatever the pipeline hands over."""

import copy

import diffusers
import numpy as np
import pytest
import torch
import toys
from diffusers.utils.torch_utils import randn_tensor
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.shadow import shadowed
from samplesmith.pipelines.step_noise import GlobalNoise, draws_in_steps, step_noise
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.noise import step_seed, stream_seed

FLOW_SDE = {"algorithm_type": "sde-dpmsolver++", "prediction_type": "flow_prediction", "use_flow_sigmas": True}
STOCHASTIC = {
    "SD3, stochastic": ("StableDiffusion3", diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)),
    "SD3, LCM": ("StableDiffusion3", diffusers.FlowMatchLCMScheduler()),
    "SD3, SDE-DPM++": ("StableDiffusion3", diffusers.DPMSolverMultistepScheduler(**FLOW_SDE)),
    "SD3, ours": ("StableDiffusion3", FlowSDEScheduler(diffusion="linear")),
    "DiT, DDPM": ("DiT", diffusers.DDPMScheduler()),
    "SD, Euler a": ("StableDiffusion", diffusers.EulerAncestralDiscreteScheduler()),
    "SD, KDPM2 a": ("StableDiffusion", diffusers.KDPM2AncestralDiscreteScheduler()),
    "SD, SA-Solver": ("StableDiffusion", diffusers.SASolverScheduler()),
    "SD, TCD": ("StableDiffusion", diffusers.TCDScheduler()),
}
PASSES_GENERATORS = [name for name in STOCHASTIC if name.startswith("SD,")]


def stochastic(name):
    toy, scheduler = STOCHASTIC[name]
    pipe = toys.build(toy)
    pipe.scheduler = copy.deepcopy(scheduler)
    _, prompt, arguments = toys.TOYS[toy]
    eta = {"eta": 0.3} if isinstance(scheduler, diffusers.TCDScheduler) else {}
    return pipe, prompt, {**arguments, "num_inference_steps": 4, **eta}


def difference(image, other):
    return np.abs(np.asarray(image).astype(int) - np.asarray(other)).max()


@pytest.mark.parametrize("name", STOCHASTIC)
def test_candidates_repeat_in_any_batch_and_can_be_made_again(name):
    pipe, prompt, arguments = stochastic(name)
    common = {"num_candidates": 4, "progress": False, **arguments}
    one, four, again = (NoiseSearch(pipe, Brightness())(prompt, batch_size=size, **common) for size in (1, 4, 4))
    assert [r["score"] for r in four.records] == [r["score"] for r in again.records]
    assert [r["score"] for r in one.records] == pytest.approx([r["score"] for r in four.records], abs=1e-4)
    best = four.best[0]
    assert best.seed == one.best[0].seed
    assert difference(best.reproduce(pipe), best.image) <= 1
    if name in PASSES_GENERATORS:
        assert difference(pipe(**best.pipeline_kwargs()).images[0], best.image) <= 1
    else:  # the plain pipeline would draw from the global generator
        with pytest.raises(ValueError, match=r"make the image again with reproduce\(pipe\)"):
            best.pipeline_kwargs()
    assert "step" not in vars(pipe.scheduler)


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 7])
def test_the_steps_stream_is_no_other_noise(seed):
    """torch's CPU generators read 32 bits of a seed: a stream that differs above them would be the seed's own."""
    steps = torch.randn(4096, generator=torch.Generator().manual_seed(step_seed(seed, 0, 1)))
    own = torch.randn(4096, generator=torch.Generator().manual_seed(seed))
    assert abs(float(torch.corrcoef(torch.stack([steps, own]))[0, 1])) < 0.06
    assert 0 <= stream_seed(seed) < 2**32
    assert stream_seed(seed) != stream_seed(seed + 1)


def test_our_sde_alone_does_not_add_the_initial_noise_of_the_same_seed():
    scheduler = FlowSDEScheduler(diffusion="linear", seed=0)
    scheduler.set_timesteps(4)
    initial = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    out = scheduler.step(torch.zeros_like(initial), scheduler.timesteps[0], initial)
    drawn = (out.prev_sample - out.prev_sample_mean) / out.std
    assert abs(float(torch.corrcoef(torch.stack([drawn.flatten(), initial.flatten()]))[0, 1])) < 0.06


class Whole(diffusers.DDIMScheduler):
    """One noise for a whole batch, from a source of its own."""

    def step(self, model_output, timestep, sample, eta=0.0, return_dict=True):
        out = super().step(model_output, timestep, sample, return_dict=False)[0]
        noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(5))
        return (out + 0.1 * noise,) if not return_dict else diffusers.schedulers.DDIMSchedulerOutput(out + 0.1 * noise)


class Global(Whole):
    """Noise of torch's global generator."""

    def step(self, model_output, timestep, sample, eta=0.0, return_dict=True):
        return (sample + 0.1 * torch.randn_like(sample),)


class FirstOnly(diffusers.EulerAncestralDiscreteScheduler):
    """The first row's generator for all rows."""

    def step(self, model_output, timestep, sample, generator=None, return_dict=True):
        return super().step(model_output, timestep, sample, generator[0], return_dict)


@pytest.mark.parametrize("kind", [Whole, Global, FirstOnly])
@pytest.mark.parametrize("toy", ["StableDiffusion", "StableDiffusion3", "DiT"])
def test_noise_that_no_candidate_owns_is_refused_before_anything_is_paid_for(kind, toy):
    pipe = toys.build(toy)
    pipe.scheduler = kind()
    model = pipe.unet if toy == "StableDiffusion" else pipe.transformer
    model.register_forward_pre_hook(lambda *_: pytest.fail("a model call was paid for"))
    _, prompt, arguments = toys.TOYS[toy]
    with pytest.raises(ValueError, match=f"{kind.__name__} draws its noise .* use another scheduler"):
        NoiseSearch(pipe, Brightness())(prompt, num_candidates=2, progress=False, **arguments)


def test_what_cannot_be_tried_is_refused_in_the_run():
    """A scheduler of another form of sample: the global generator is not touched either."""

    class Tokens(Global):
        def step(self, model_output, timestep, sample, eta=0.0, return_dict=True):
            assert sample.shape[-1] == 16
            return super().step(model_output, timestep, sample)

    pipe = toys.build("StableDiffusion")
    pipe.scheduler = Tokens()
    assert not draws_in_steps(pipe.scheduler)
    with pytest.raises(GlobalNoise, match="Tokens"):
        NoiseSearch(pipe, Brightness())(toys.PROMPT, num_candidates=2, progress=False, **toys.SMALL)


@pytest.mark.parametrize(
    ("scheduler", "draws"),
    [
        (diffusers.DDPMScheduler(), True),
        (diffusers.LCMScheduler(), True),
        (diffusers.SCMScheduler(), True),
        (diffusers.CMStochasticIterativeScheduler(), True),
        (diffusers.EDMDPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), True),
        (diffusers.DPMSolverSinglestepScheduler(algorithm_type="sde-dpmsolver++"), True),
        (diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, stochastic_sampling=True), True),
        (FlowSDEScheduler(diffusion="linear"), True),
        (FlowSDEScheduler(), False),
        (diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), False),
        (diffusers.PNDMScheduler(), False),
        (diffusers.UniPCMultistepScheduler(), False),
        (diffusers.HeunDiscreteScheduler(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whether_steps_draw(scheduler, draws):
    before = {key: value for key, value in vars(scheduler).items() if not isinstance(value, torch.Tensor)}
    assert draws_in_steps(scheduler) is draws
    assert {key: value for key, value in vars(scheduler).items() if not isinstance(value, torch.Tensor)} == before


def drawn(rows, batch):
    """What a scheduler that is given no generators draws in a step on a batch of some rows per candidate."""

    scheduler = diffusers.EulerAncestralDiscreteScheduler()
    scheduler.step = lambda sample, generator=None: randn_tensor(sample.shape, generator=generator)
    pipe = toys.build("DiT")
    pipe.scheduler = scheduler
    with step_noise(pipe, [3, 4, 5][:rows]) as noise:
        out = scheduler.step(batch)
    assert noise.given
    return out


def test_several_rows_per_candidate():
    """Halves of guidance, and frames side by side: a candidate's noise is what it is alone."""
    one = torch.arange(3.0).view(3, 1, 1).expand(3, 2, 2)
    halves = drawn(3, torch.cat([one, one])).unflatten(0, (2, 3))
    frames = drawn(3, one.repeat_interleave(2, 0) + torch.tensor([0.0, 0.5] * 3).view(6, 1, 1)).unflatten(0, (3, 2))
    alone = drawn(1, torch.zeros(2, 2, 2))
    assert torch.equal(halves[:, 0], alone)
    assert torch.equal(frames[0], alone)
    assert len({float(row.sum()) for row in halves.flatten(0, 1)}) == 6


def test_a_step_that_mixes_candidates_is_refused():
    with pytest.raises(GlobalNoise):
        drawn(2, torch.zeros(3, 2, 2))


def test_a_copied_scheduler_steps_by_itself():
    """Pipelines of sound and pictures step a deep copy beside the scheduler."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    sample = torch.ones(1, 2, 2)
    calls = []

    def counted(step, *args, **kwargs):
        calls.append(1)
        return step(*args, **kwargs)

    with shadowed(scheduler, "step", counted):
        other = copy.deepcopy(scheduler)
        scheduler.step(sample, scheduler.timesteps[0], sample)
        assert (scheduler.step_index, other.step_index) == (1, None)
        other.step(sample, other.timesteps[0], sample)
        assert copy.deepcopy(scheduler.step) is scheduler.step
    assert len(calls) == 2
    assert (scheduler.step_index, other.step_index) == (1, 1)
