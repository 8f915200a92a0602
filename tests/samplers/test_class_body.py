"""Calls of schedulers around a child, by pipelines and by hand, take and give what the child's do."""

import pytest
import torch
import toys
from diffusers import (
    CogVideoXDPMScheduler,
    DDIMPipeline,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    TCDScheduler,
    UnCLIPScheduler,
    UNet2DModel,
)
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler
from wrapped_runs import SD, WRAPS, every_wrap, loop, pair


@every_wrap
def test_an_argument_that_is_not_given_is_the_childs_default(wrap):
    """TCDScheduler's eta is 0.3."""

    def run(scheduler, **extra):
        return loop(scheduler, generator=torch.Generator().manual_seed(0), **extra)

    assert torch.equal(run(wrap(TCDScheduler())), run(TCDScheduler()))
    assert not torch.equal(run(TCDScheduler()), run(TCDScheduler(), eta=0.0))


@every_wrap
@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, DPMSolverMultistepScheduler])
def test_noise_is_added_for_the_times_that_are_given_after_a_step_too(wrap, kind):
    results = []
    x, noise = pair()
    for scheduler in (kind(), wrap(kind())):
        scheduler.set_timesteps(10)
        t = scheduler.timesteps[0]
        scheduler.step(scheduler.scale_model_input(x, t), t, x)
        results += [scheduler.add_noise(x, noise, scheduler.timesteps[[k, k]]) for k in (7, 1)]
        assert scheduler.begin_index is None
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])
    assert not torch.equal(results[0], results[1])


@every_wrap
def test_the_childs_own_arguments_pass_through(wrap):
    x, output = pair(1, 4, 8)

    def lcm(s):
        s.set_timesteps(4, original_inference_steps=20)
        return s.timesteps

    def ddim(s):
        s.set_timesteps(4)
        return s.step(output, s.timesteps[0], 9 * x, use_clipped_model_output=True, eta=0.5, variance_noise=x)[0]

    def per_token(s):
        s.set_timesteps(4)
        times = s.timesteps[:1] * torch.tensor([[1.0, 0.9, 0.5, 0.2]])
        return s.step(output, s.timesteps[0], x, per_token_timesteps=times)[0]

    def churned(s):
        s.set_timesteps(4)
        t, generator = s.timesteps[1], torch.Generator().manual_seed(0)
        s.scale_model_input(x, t)
        return s.step(output, t, x, s_churn=0.9, s_noise=1.1, generator=generator)[0]

    for kind, call in (
        (LCMScheduler, lcm),
        (DDIMScheduler, ddim),
        (FlowMatchEulerDiscreteScheduler, per_token),
        (EulerDiscreteScheduler, churned),
    ):
        assert torch.equal(call(wrap(kind())), call(kind()))
    assert torch.equal(
        per_token(FlowSDEScheduler.from_scheduler(FlowMatchEulerDiscreteScheduler())),
        per_token(FlowMatchEulerDiscreteScheduler()),
    )


def test_a_step_by_two_times_is_refused_when_it_is_wrapped():
    with pytest.raises(ValueError, match=r"CogVideoXDPMScheduler\.step takes model_output, old_pred.*time shift needs"):
        TimeShiftScheduler.from_scheduler(CogVideoXDPMScheduler())
    for wrap in WRAPS.values():
        assert isinstance(wrap(CogVideoXDPMScheduler()), CogVideoXDPMScheduler)


@every_wrap
@pytest.mark.parametrize(
    ("make", "call"),
    [
        (lambda: DDIMScheduler(num_train_timesteps=100), loop),
        (lambda: EulerDiscreteScheduler(rescale_betas_zero_snr=True), loop),
        (DDIMScheduler, lambda s: s.scale_model_input(pair()[0], 0)),
        (DDPMScheduler, lambda s: s.step(*pair()[:1], 5, pair()[1], generator=torch.Generator().manual_seed(0))[0]),
        (DDIMScheduler, lambda s: (s.set_timesteps(10), s.step(pair()[0], 1, pair()[1])[0])[1]),
        (UnCLIPScheduler, lambda s: (s.set_timesteps(5), s.timesteps)[1]),
    ],
    ids=["few training times", "zero SNR", "scaling first", "a step first", "off the grid", "no order"],
)
def test_what_runs_stock_runs_wrapped(wrap, make, call):
    assert torch.equal(call(wrap(make())), call(make()))


def test_with_a_window_it_is_told_what_cannot_work():
    with pytest.raises(ValueError, match="both lie within the 100 training times"):
        TimeShiftScheduler.from_scheduler(DDIMScheduler(num_train_timesteps=100))
    with pytest.raises(ValueError, match="log-SNR table must be finite"):
        TimeShiftScheduler.from_scheduler(EulerDiscreteScheduler(rescale_betas_zero_snr=True))
    scheduler = TimeShiftScheduler()
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match="timestep 993 is not on the grid"):
        scheduler.step(pair()[0], 993, pair()[1])


def ddim_pipeline():
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    width = {"block_out_channels": (8, 16), "norm_num_groups": 4, "attention_head_dim": 4, "layers_per_block": 1}
    return DDIMPipeline(unet=UNet2DModel(sample_size=16, **width, **blocks).eval(), scheduler=DDIMScheduler())


def lcm_pipeline():
    parts = {"vae": toys.autoencoder(), "text_encoder": toys.clip_text(), "tokenizer": toys.tokenizer()}
    return LatentConsistencyModelPipeline(
        **parts,
        unet=toys.unet(time_cond_proj_dim=32),
        scheduler=LCMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def of(name, scheduler=None, **changes):
    def make():
        pipe, (_, prompt, call) = toys.build(name), toys.TOYS[name]
        pipe.scheduler = scheduler() if scheduler else pipe.scheduler
        return pipe, {"prompt": prompt, "output_type": "latent", **call, **changes}

    return make


def shifted():
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_shift(7.0)
    return scheduler


PIPELINES = {
    "its correction of a default scheduler": of("StableDiffusion", guidance_scale=12.0),
    "denoising_end": of(
        "StableDiffusionXL",
        lambda: EulerDiscreteScheduler(**SD, steps_offset=1),
        denoising_end=0.6,
        num_inference_steps=6,
    ),
    "a shift that was set": of("StableDiffusion3", shifted),
    "base_shift of Lumina 2": of("Lumina2Pipeline"),
    "base_shift of CogView 4": of("CogView4Pipeline"),
    "the exact class": of("BriaPipeline"),
    "the exact class and a shift by size": of(
        "BriaPipeline", lambda: FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, use_dynamic_shifting=True)
    ),
    "use_clipped_model_output": lambda: (ddim_pipeline(), {"num_inference_steps": 2, "output_type": "np"}),
    "original_inference_steps": lambda: (
        lcm_pipeline(),
        {"prompt": toys.PROMPT, **toys.SMALL, "num_inference_steps": 3, "output_type": "latent"},
    ),
}
"""Pipelines by what they ask of their scheduler."""


@pytest.mark.slow
@pytest.mark.parametrize("make", PIPELINES.values(), ids=PIPELINES)
def test_a_pipeline_runs_as_with_the_child(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe, call = make()
    pipe.set_progress_bar_config(disable=True)
    stock = pipe.scheduler

    def images():
        return torch.as_tensor(pipe(generator=torch.Generator().manual_seed(0), **call).images)

    expected = images()
    wraps = list(WRAPS.values())
    if isinstance(stock, FlowMatchEulerDiscreteScheduler):
        wraps.append(FlowSDEScheduler.from_scheduler)
    for wrap in wraps:
        pipe.scheduler = wrap(stock)
        assert torch.equal(images(), expected)
    if not hasattr(stock, "is_scale_input_called"):  # Bria calls the other schedulers' scaling itself
        pipe.scheduler = TimeShiftScheduler.from_scheduler(stock, window=100, cutoff=0)
        assert images().isfinite().all()
