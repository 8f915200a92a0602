"""Schedulers and hooks by name."""

import numpy as np
import pytest
import torch
from guided_runs import run
from samplesmith import DiffusionSDEScheduler, FlowSDEScheduler, TimeShiftScheduler
from samplesmith.models.weak_model import WeakModel
from samplesmith.samplers.by_name import HOOKS, SCHEDULERS, apply_hook, make_scheduler, set_scheduler, set_up
from samplesmith.samplers.hooks import DenoiserHook, attach, timed_networks
from toys import PROMPT, SMALL, build


def test_schedulers_by_name():
    pipe = build("StableDiffusion")
    set_scheduler(pipe, "time-shift:window=80,cutoff=300")
    assert isinstance(pipe.scheduler, TimeShiftScheduler)
    assert (pipe.scheduler.config.solver, pipe.scheduler.config.window) == ("DDIMScheduler", 80)
    set_scheduler(pipe, "UniPCMultistepScheduler:solver_order=1")
    assert type(pipe.scheduler).__name__ == "UniPCMultistepScheduler"
    assert pipe.scheduler.config.solver_order == 1
    set_scheduler(pipe, "euler")
    assert type(pipe.scheduler).__name__ == "EulerDiscreteScheduler"
    set_scheduler(pipe, "diffusion-sde:integrator=precise:eta=0.7")
    assert isinstance(pipe.scheduler, DiffusionSDEScheduler)
    assert pipe.scheduler.config.integrator == "precise:eta=0.7"
    flow = build("StableDiffusion3")
    set_scheduler(flow, "flow-sde:diffusion=square,norm=3")
    assert isinstance(flow.scheduler, FlowSDEScheduler)
    assert (flow.scheduler.config.diffusion, flow.scheduler.config.norm) == ("square", 3)
    assert flow.scheduler.config.shift == build("StableDiffusion3").scheduler.config.shift
    set_scheduler(flow, 'flow-sde:diffusion=none,integrator="glass:rho=0.4,inner_steps=4"')
    assert flow.scheduler.order == 4


def test_classes_of_ours_have_the_same_names():
    for name, cls in SCHEDULERS.items():
        current = build("StableDiffusion" if name == "diffusion-sde" else "StableDiffusion3").scheduler
        assert isinstance(make_scheduler(name, current), cls)
        assert isinstance(make_scheduler(cls.__name__, current), cls)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("DDIM", "unknown scheduler 'DDIM'; give one of flow-sde, diffusion-sde, time-shift, stochastic"),
        ("StableDiffusionPipeline", "unknown scheduler 'StableDiffusionPipeline'"),
        ("ddim", "DDIMScheduler cannot stand in for FlowMatchEulerDiscreteScheduler; known to fit: "),
        ("flow-sde:g=2", "flow-sde has no setting 'g'; known: num_train_timesteps, shift"),
        ("flow-sde:norm=wide", "flow-sde has norm=wide; give a number"),
        ("flow-sde:integrator=glass:steps=4", "glass has no setting 'steps'; known: rho, kappa, inner_steps"),
        ("diffusion-sde", "FlowMatchEulerDiscreteScheduler is no diffusion's scheduler with alphas_cumprod"),
        ("flow-sde:diffusion=wide", "unknown diffusion 'wide'; known: None, "),
        ("time-shift:window=[40]", "time-shift has window=[40]; give a whole number"),
        ("time-shift:window=4000", "window is 4000 and cutoff 500; both lie within the 1000 training times"),
        ("flow-euler:use_karras=true", "flow-euler has no setting 'use_karras'; known: "),
    ],
)
def test_what_does_not_fit(spec, message):
    pipe = build("StableDiffusion3")
    current = pipe.scheduler
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        set_scheduler(pipe, spec)
    assert message in str(error.value)
    assert pipe.scheduler is current


def test_hooks_by_name(monkeypatch):
    """A hook of another method is one line in the registry."""
    pipe = build("StableDiffusion")

    class Twice(DenoiserHook):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def post_forward(self, module, output):
            return (output[0] * self.factor, *output[1:])

    (network,) = timed_networks(pipe)
    monkeypatch.setitem(HOOKS, "twice", lambda pipe, factor=2.0: attach(network, Twice(factor)))
    plain = pipe(PROMPT, **SMALL, latents=_noise(pipe), output_type="np").images
    with set_up(pipe, hooks=["twice:factor=1.5"]):
        changed = pipe(PROMPT, **SMALL, latents=_noise(pipe), output_type="np").images
    again = pipe(PROMPT, **SMALL, latents=_noise(pipe), output_type="np").images
    assert np.abs(plain - changed).max() > 1e-4
    assert np.array_equal(plain, again), "the hook is gone"
    with pytest.raises(
        ValueError, match="unknown hook 'thrice'; known: row-times, weak-to-strong, interval, zigzag, twice"
    ):
        apply_hook(pipe, "thrice")
    with pytest.raises(ValueError, match="twice has no setting 'size'; known: factor"):
        apply_hook(pipe, "twice:size=2")
    with pytest.raises(ValueError, match="row-times needs the scheduler time-shift; the pipeline has DDIMScheduler"):
        apply_hook(pipe, "row-times")


def _noise(pipe):
    import torch

    shape = (1, pipe.unet.config.in_channels, 32 // pipe.vae_scale_factor, 32 // pipe.vae_scale_factor)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_a_pipeline_is_as_it_was_after_a_failure_too():
    pipe = build("StableDiffusion")
    current = pipe.scheduler
    with set_up(pipe, "time-shift:window=80", ["row-times"]):
        assert pipe.scheduler.per_sample
        shifted = pipe.scheduler
    assert pipe.scheduler is current
    assert not shifted.per_sample
    with pytest.raises(ValueError, match="unknown hook"), set_up(pipe, "time-shift", ["row-times", "luck"]):
        pass
    assert pipe.scheduler is current


@pytest.mark.parametrize(
    ("spec", "rows"),
    [
        ("interval:start=0.25,stop=0.75", [1, 2, 2, 1]),
        ("weak-to-strong:strong_until=0.5,scale=1,layers=[1],rest_scale=4", [2, 2, 1, 1, 1, 1]),
        ("zigzag:until=0.25", [2, 1, 2, 2, 2, 2]),
        ("zigzag:rounds=2,until=0.25,inversion_scale=0.5", [2] * 8),
    ],
)
def test_guidance_by_name(spec, rows):
    pipe = build("StableDiffusion3")
    with set_up(pipe, hooks=[spec]):
        assert run(pipe, "StableDiffusion3", steps=4)[1] == rows
    assert run(pipe, "StableDiffusion3", steps=4)[1] == [2] * 4


def test_a_weak_model_by_its_folder(tmp_path):
    with torch.random.fork_rng():
        WeakModel(8, condition_width=64, width=16, heads=2).save_pretrained(tmp_path)
    pipe = build("StableDiffusion3")
    with set_up(pipe, hooks=[f"weak-to-strong:weak={tmp_path},strong_until=0.5"]):
        assert run(pipe, "StableDiffusion3", steps=4)[1] == [2, 2, 1, 1]
    with set_up(pipe, hooks=[f"zigzag:weak={tmp_path},until=0.25"]):
        assert run(pipe, "StableDiffusion3", steps=4)[1] == [2, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match=r"the weak model nowhere cannot be loaded: [^\n]+$"):
        apply_hook(pipe, "weak-to-strong:weak=nowhere")
    with pytest.raises(ValueError, match="give one weak prediction"):
        apply_hook(pipe, f"weak-to-strong:weak={tmp_path},layers=[1]")
