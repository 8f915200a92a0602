import inspect

import numpy as np
import pytest
import torch
import toys
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from samplesmith.pipelines import ClassConditionalPipeline, decode, record_previews
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler

STEPS = 5
NAMES = ("StableDiffusion", "StableDiffusionXL", "StableDiffusion3", "Flux", "Flux true CFG", "PixArt")


def class_conditional():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=16,
            in_channels=1,
            out_channels=1,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            num_class_embeds=4,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )
    pipe = ClassConditionalPipeline(DDIMScheduler(), unet=unet.eval(), null_class=3)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipes():
    return {name: toys.build(name) for name in NAMES} | {"class-conditional": class_conditional()}


def run(pipes, name, scheduler=None, output_type="latent", steps=STEPS, **changes):
    pipe = pipes[name]
    if scheduler is not None:
        pipe.scheduler = scheduler
    if name == "class-conditional":
        arguments = {"class_labels": [0, 2], "guidance_scale": 2.0}
    else:
        _, prompt, arguments = toys.TOYS[name]
        arguments = {"prompt": [prompt] * 2, **arguments}
        if "negative_prompt" in arguments:
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * 2
    generator = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    arguments |= {"num_inference_steps": steps, "generator": generator, "output_type": output_type, **changes}
    return pipe(**arguments).images


LANDING = {
    "StableDiffusion": (
        DDIMScheduler(clip_sample=False),
        DDPMScheduler(clip_sample=False),
        EulerDiscreteScheduler(),
        EulerAncestralDiscreteScheduler(),
        HeunDiscreteScheduler(),
        DPMSolverMultistepScheduler(),
        UniPCMultistepScheduler(),
        TimeShiftScheduler.from_scheduler(DDIMScheduler(), window=80, cutoff=300),
        WindowedScheduler.from_scheduler(EulerDiscreteScheduler()),
        WindowedScheduler.from_scheduler(TimeShiftScheduler.from_scheduler(EulerDiscreteScheduler(), window=80)),
    ),
    "StableDiffusionXL": (DDIMScheduler(), EulerDiscreteScheduler(prediction_type="v_prediction")),
    "StableDiffusion3": (
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        FlowSDEScheduler(shift=3.0, diffusion="square"),
        FlowSDEScheduler(shift=3.0, integrator="heun"),
    ),
    "Flux": (FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),),
    "Flux true CFG": (FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),),
    "PixArt": (DDIMScheduler(), DPMSolverMultistepScheduler()),
    "class-conditional": (DDIMScheduler(), HeunDiscreteScheduler()),
}


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [(name, scheduler) for name, schedulers in LANDING.items() for scheduler in schedulers],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_last_is_the_final_latents_and_the_run_is_as_ever(pipes, name, scheduler):
    plain = run(pipes, name, scheduler)
    with record_previews(pipes[name]) as previews:
        recorded = run(pipes, name)
    assert torch.equal(recorded, plain)
    assert sorted(previews.latents) == list(range(STEPS))
    scale = float(plain.abs().max())
    last = previews.latents[STEPS - 1]
    assert last.shape == plain.shape
    assert torch.allclose(last, plain, atol=1e-4 * scale)
    assert not torch.allclose(previews.latents[0], plain, atol=1e-2 * scale)
    assert "step" not in vars(scheduler)
    assert torch.equal(run(pipes, name), plain)


@pytest.mark.parametrize(
    ("scheduler", "calls"),
    [
        (PNDMScheduler(skip_prk_steps=True), [0, 0, 1, 2, 3, 4]),
        (HeunDiscreteScheduler(), [0, 0, 1, 1, 2, 2, 3, 3, 4]),
        (DDIMScheduler(clip_sample=False), [0, 1, 2, 3, 4]),
    ],
)
def test_the_last_of_several_calls_a_step_stays(pipes, scheduler, calls):
    """A plain transcription of eps-prediction at each call, against the one that stays."""
    pipe = pipes["StableDiffusion"]
    pipe.scheduler = scheduler
    seen, original = {}, scheduler.step

    def step(model_output, timestep, sample, return_dict=False):
        product = scheduler.alphas_cumprod[timestep.long()]
        sigma = ((1 - product) / product).sqrt()
        vp = sample / (1 + sigma**2).sqrt() if isinstance(scheduler, HeunDiscreteScheduler) else sample
        step_number = calls[len(seen_calls)]
        seen[step_number] = (vp - (1 - product).sqrt() * model_output) / product.sqrt()
        seen_calls.append(step_number)
        return original(model_output, timestep, sample, return_dict=return_dict)

    seen_calls = []
    scheduler.step = step
    try:
        with record_previews(pipe, [0, 1, -1]) as previews:
            run(pipes, "StableDiffusion")
    finally:
        del scheduler.step
    assert seen_calls == calls
    assert sorted(previews.latents) == [0, 1, 4]
    for number, latents in previews.latents.items():
        close = 0.05 if isinstance(scheduler, HeunDiscreteScheduler) else 1e-4  # its times lie between the table's
        assert torch.allclose(latents, seen[number], atol=close * float(seen[number].abs().max()))


def test_signatures_eta_and_generators_survive(pipes):
    pipe = pipes["StableDiffusion"]
    pipe.scheduler = DDIMScheduler()
    stochastic = run(pipes, "StableDiffusion", eta=1.0)
    before = inspect.signature(pipe.scheduler.step), inspect.signature(pipe.scheduler.set_timesteps)
    with record_previews(pipe, [2]) as previews:
        assert (inspect.signature(pipe.scheduler.step), inspect.signature(pipe.scheduler.set_timesteps)) == before
        assert torch.equal(run(pipes, "StableDiffusion", eta=1.0), stochastic)
    assert list(previews.latents) == [2]
    assert not torch.equal(run(pipes, "StableDiffusion"), stochastic)


def test_a_windowed_run_is_recorded_as_the_whole(pipes):
    pipe = pipes["StableDiffusion"]
    pipe.scheduler = DPMSolverMultistepScheduler()
    with record_previews(pipe) as whole:
        run(pipes, "StableDiffusion")
    windowed = pipe.scheduler = WindowedScheduler.from_scheduler(pipe.scheduler, stop=2)
    with record_previews(pipe) as parts:
        latents = run(pipes, "StableDiffusion")
        windowed.set_window(2)
        run(pipes, "StableDiffusion", latents=latents)
    assert sorted(parts.latents) == sorted(whole.latents)
    assert all(torch.equal(parts.latents[step], whole.latents[step]) for step in whole.latents)
    windowed.set_window(0, 2)
    latents = run(pipes, "StableDiffusion")
    windowed.set_window(2)
    with record_previews(pipe, [3]) as late:
        run(pipes, "StableDiffusion", latents=latents)
    assert torch.equal(late.latents[3], whole.latents[3])


def test_a_new_run_replaces_the_last(pipes):
    pipe = pipes["StableDiffusion"]
    pipe.scheduler = DDIMScheduler()
    with record_previews(pipe) as previews:
        run(pipes, "StableDiffusion", steps=7)
        run(pipes, "StableDiffusion", steps=3)
        assert sorted(previews.latents) == [0, 1, 2]


def test_errors_leave_the_pipeline_as_it_was(pipes):
    pipe = pipes["StableDiffusion"]
    pipe.scheduler = DDIMScheduler()
    plain = run(pipes, "StableDiffusion")
    for steps in ([5], [-6]):
        with pytest.raises(ValueError, match="in a run of 5; give 0 to 4"), record_previews(pipe, steps):
            run(pipes, "StableDiffusion")
    assert torch.equal(run(pipes, "StableDiffusion"), plain)


class TestDecode:
    @pytest.mark.parametrize("name", [*NAMES, "class-conditional"])
    def test_equals_the_pipelines_own_image(self, pipes, name):
        pipe = pipes[name]
        pipe.scheduler = LANDING[name][0]
        vae = getattr(pipe, "vae", None)
        if vae is not None:
            vae.register_to_config(scaling_factor=0.3, shift_factor=0.7 if "Flux" in name or "3" in name else 0.0)
        images = run(pipes, name, output_type="np")
        size = {"height": 32, "width": 32} if "Flux" in name else {}
        decoded = decode(pipe, run(pipes, name), **size)
        assert decoded.shape[:2] == (2, 3)
        assert np.abs(decoded.permute(0, 2, 3, 1).numpy() - images).max() <= 1 / 255
        assert float(decoded.std()) > 0.02

    def test_latents_mean_and_std(self, pipes):
        pipe = pipes["StableDiffusionXL"]
        pipe.scheduler = DDIMScheduler()
        before = dict(pipe.vae.config)
        pipe.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[2.0, 1.0, 0.5, 3.0])
        try:
            images = run(pipes, "StableDiffusionXL", output_type="np")
            decoded = decode(pipe, run(pipes, "StableDiffusionXL"))
            assert np.abs(decoded.permute(0, 2, 3, 1).numpy() - images).max() <= 1 / 255
        finally:
            pipe.vae.register_to_config(latents_mean=None, latents_std=None)
        assert not np.allclose(decode(pipe, run(pipes, "StableDiffusionXL")).permute(0, 2, 3, 1).numpy(), images)
        assert before["scaling_factor"] == pipe.vae.config.scaling_factor

    def test_an_autoencoder_that_overflows_runs_in_float32(self, pipes):
        pipe = pipes["StableDiffusionXL"]
        latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        expected = decode(pipe, latents)
        pipe.vae.half().register_to_config(force_upcast=True)
        dtypes, original = [], pipe.vae.decode
        pipe.vae.decode = lambda z, **kwargs: dtypes.append(z.dtype) or original(z, **kwargs)
        try:
            assert torch.allclose(decode(pipe, latents), expected, atol=1e-2)
            assert (dtypes, pipe.vae.dtype) == ([torch.float32], torch.float16)
        finally:
            del pipe.vae.decode
            pipe.vae.float()

    def test_bad_latents(self, pipes):
        with pytest.raises(ValueError, match="16 x 16 has 16 packed positions, these latents 64"):
            decode(pipes["Flux"], torch.zeros(1, 64, 16), height=16, width=16)
        with pytest.raises(ValueError, match=r"StableDiffusionPipeline does not unpack latents of shape \(1, 64, 16\)"):
            decode(pipes["StableDiffusion"], torch.zeros(1, 64, 16))
        with pytest.raises(ValueError, match="no image's"):
            decode(pipes["StableDiffusion"], torch.zeros(1, 4, 2, 8, 8))
        with pytest.raises(ValueError, match=r"leaves \(1, 4, 8, 8\), which are no images"):
            decode(pipes["class-conditional"], torch.zeros(1, 4, 8, 8))


def test_emoji(emoji_pipe):
    """The shipped model: the run is as ever, its end is the last preview, and an early preview is already alike."""
    arguments = {
        "prompt": "two cats on pink",
        "num_inference_steps": 6,
        "guidance_scale": 3.0,
        "max_sequence_length": 16,
    }

    def images(**changes):
        return emoji_pipe(**arguments, generator=torch.Generator().manual_seed(0), **changes).images

    plain = images(output_type="np")
    with record_previews(emoji_pipe, [1, 4, -1]) as previews:
        final = images(output_type="latent")
    assert torch.allclose(previews.latents[5], final, atol=1e-4 * float(final.abs().max()))
    assert np.abs(decode(emoji_pipe, final).permute(0, 2, 3, 1).numpy() - plain).max() <= 1 / 255
    errors = [float((decode(emoji_pipe, previews.latents[k]) - decode(emoji_pipe, final)).abs().mean()) for k in (1, 4)]
    assert errors[1] < errors[0] < 0.5
