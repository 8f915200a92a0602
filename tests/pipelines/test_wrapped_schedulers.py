"""Pipelines that ask more of their scheduler than most: its class, its own arguments, its whole config.

What they do with a scheduler of ours that changes nothing is what they do with its child, bit for bit.
"""

import inspect

import numpy as np
import pytest
import torch
import toys
from diffusers import (
    CogVideoXDPMScheduler,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LTXEulerAncestralRFScheduler,
    UniPCMultistepScheduler,
)
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FLOW_UNIPC = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
DYNAMIC = {"num_train_timesteps": 1000, "use_dynamic_shifting": True}


def unshifted(scheduler):
    return TimeShiftScheduler.from_scheduler(scheduler, window=0)


def whole(scheduler):
    return WindowedScheduler.from_scheduler(scheduler)


def ode(scheduler):
    return FlowSDEScheduler.from_scheduler(scheduler, kind="ode")


ASKING = {
    "the parts of a run by training times": ("StableDiffusionXL", EulerDiscreteScheduler(**SD), {"denoising_end": 0.6}),
    "its own argument of set_timesteps": ("LatentConsistencyModelPipeline", None, {}),
    "its own argument of step": ("DDIMPipeline", None, {"use_clipped_model_output": True, "eta": 0.5}),
    "five arguments of step, by its class": ("CogVideoXPipeline", CogVideoXDPMScheduler(), {}),
    "an exact class": ("BriaPipeline", FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000), {}),
    "mu, by its class": ("BriaPipeline", FlowMatchEulerDiscreteScheduler(**DYNAMIC), {}),
    "no sigmas, by its class": ("BriaPipeline", DDIMScheduler(), {}),
    "no mu, by its class": ("HiDreamImagePipeline", UniPCMultistepScheduler(**FLOW_UNIPC), {}),
    "the resolution's shift, by its config": ("Lumina2Pipeline", FlowMatchEulerDiscreteScheduler(**DYNAMIC), {}),
    "the same in another way": ("CogView4Pipeline", FlowMatchEulerDiscreteScheduler(**DYNAMIC), {}),
    "sigmas by the number of the step": ("Cosmos2TextToImagePipeline", None, {}),
    "a solver's flag in its config": ("WanPipeline, UniPC", None, {}),
}


def run(row, scheduler=None, wrap=None, steps=4, **extra):
    pipe = toys.build(row)
    pipe.scheduler = scheduler or pipe.scheduler
    pipe.scheduler = wrap(pipe.scheduler) if wrap else pipe.scheduler
    _, prompt, arguments = toys.TOYS[row]
    call = {**arguments, "num_inference_steps": steps, "generator": torch.Generator().manual_seed(0), **extra}
    call |= {"prompt": prompt} if isinstance(prompt, str) else {}
    call |= {"output_type": "np"} if "output_type" in inspect.signature(type(pipe).__call__).parameters else {}
    out = pipe(**call)
    return np.asarray(out.images if "images" in out else out.frames)


@pytest.mark.parametrize("asked", ASKING)
@pytest.mark.parametrize("wrap", [unshifted, whole, ode])
def test_the_run_is_the_childs(asked, wrap):
    row, scheduler, extra = ASKING[asked]
    if wrap is ode and not isinstance(scheduler or toys.build(row).scheduler, FlowMatchEulerDiscreteScheduler):
        pytest.skip("the plain ODE is Euler's method, of the schedulers that make it")
    expected = run(row, scheduler, **extra)
    assert np.isfinite(expected).all()
    assert np.array_equal(run(row, scheduler, wrap, **extra), expected)


@pytest.mark.parametrize("asked", [one for one in ASKING if "CogVideoX" not in ASKING[one][0]])
def test_a_shift_runs_or_is_refused_when_it_is_made(asked):
    row, scheduler, extra = ASKING[asked]
    settings = {"window": 40, "cutoff": 100}
    if row == "Cosmos2TextToImagePipeline":
        with pytest.raises(ValueError, match="runs with sigmas up to 80"):
            run(row, scheduler, lambda child: TimeShiftScheduler.from_scheduler(child, **settings), **extra)
        return
    out = run(row, scheduler, lambda child: TimeShiftScheduler.from_scheduler(child, **settings), **extra)
    assert np.isfinite(out).all()
    assert not np.array_equal(out, run(row, scheduler, **extra))


def test_a_step_of_two_times_is_refused_when_it_is_made():
    with pytest.raises(ValueError, match=r"CogVideoXDPMScheduler.step takes .*timestep_back.*; time shift needs one"):
        TimeShiftScheduler.from_scheduler(CogVideoXDPMScheduler())


@pytest.mark.parametrize("wrap", [unshifted, whole, ode])
def test_a_time_per_token_is_passed_on(wrap):
    """As LTX's pipelines with conditions call a step."""
    stock = FlowMatchEulerDiscreteScheduler()
    outs = []
    for scheduler in (stock, wrap(stock)):
        scheduler.set_timesteps(4)
        x, velocity = torch.randn(2, 1, 5, 8, generator=torch.Generator().manual_seed(0)).unbind()
        times = scheduler.timesteps[1].expand(1, 5) * torch.tensor([0, 1, 1, 1, 1])
        outs.append(
            scheduler.step(velocity, scheduler.timesteps[0], x, per_token_timesteps=times, return_dict=False)[0]
        )
    assert torch.equal(*outs)


@pytest.mark.parametrize("wrap", [unshifted, whole])
def test_pipelines_that_want_a_class_take_a_wrapped_one(wrap):
    """They ask by isinstance before they run: CogVideoX, LTX's long clips, unCLIP and others."""
    for kind in (CogVideoXDPMScheduler, LTXEulerAncestralRFScheduler, UniPCMultistepScheduler):
        assert isinstance(wrap(kind()), kind)


def test_windows_of_such_a_run_are_the_whole_run():
    pipe = toys.build("BriaPipeline")
    _, prompt, arguments = toys.TOYS["BriaPipeline"]
    call = {**arguments, "num_inference_steps": 4, "output_type": "latent"}
    expected = pipe(prompt, generator=torch.Generator().manual_seed(0), **call).images
    generator = torch.Generator().manual_seed(0)
    pipe.scheduler = WindowedScheduler.from_scheduler(pipe.scheduler, stop=2)
    latents = pipe(prompt, generator=generator, **call).images
    pipe.scheduler.set_window(2)
    assert torch.equal(pipe(prompt, generator=generator, latents=latents, **call).images, expected)
