"""Transitions for models of noise, clean sample and v: against diffusers' own steps, and data whose answer is known."""

import numpy as np
import pytest
import torch
import toys
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
)
from samplesmith.samplers import DiffusionSDEScheduler
from samplesmith.samplers.clean_prediction import clean_prediction
from samplesmith.samplers.interpolants import NoiseRatio
from samplesmith.samplers.transitions import transition
from transitions import gaussian_end

MEAN, STD = 0.7, 0.4
KINDS = ["epsilon", "v_prediction", "sample"]
GRIDS = {
    "leading": {"set_alpha_to_one": False, "steps_offset": 1},
    "trailing": {"timestep_spacing": "trailing"},
    "zero snr": {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True},
    "clipped": {"clip_sample": True},
}


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("eta", "spec"), [(0.0, "precise:eta=0"), (1.0, "ddpm"), (1.0, "glass:inner_steps=1")])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_ddim_at_its_two_ends(kind, grid, eta, spec):
    """Up to float32's rounding, of samples in the order of 1 to 10."""
    if grid == "zero snr" and kind != "v_prediction":
        return  # there epsilon says nothing of the sample
    if grid == "clipped" and spec.startswith("glass"):
        return  # goes by the clipped sample alone, as DDPMScheduler does
    theirs = DDIMScheduler(prediction_type=kind, **{"clip_sample": False, **GRIDS[grid]})
    ours = DiffusionSDEScheduler.from_scheduler(theirs, integrator=spec)
    x = y = drawn(0, 2, 3, 8, 8)
    for one in (theirs, ours):
        one.set_timesteps(10)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    for t in theirs.timesteps:
        z = drawn(int(t), 2, 3, 8, 8)
        out = theirs.step(torch.tanh(x), t, x, eta=eta, variance_noise=z if eta else None)
        mine = ours.step(torch.tanh(y), t, y, noise=z)
        read = clean_prediction(ours, torch.tanh(y), t, y)  # as searches and previews read it
        torch.testing.assert_close(mine.pred_original_sample, read, rtol=1e-3, atol=1e-4)
        if grid == "zero snr" and eta and t == theirs.timesteps[0]:
            # From sigma 1 nothing of the predicted noise is kept: DDIM takes the root of what rounding may put below 0.
            kept = theirs.alphas_cumprod[theirs.timesteps[1]]
            x = kept.sqrt() * out.pred_original_sample + (1 - kept).sqrt() * z
        else:
            x = out.prev_sample
        y = mine.prev_sample
    assert (x - y).abs().max() <= 2e-5 * x.abs().max()


class Gaussian:
    """The exact model of data N(MEAN, STD^2), at any time between integers too."""

    def __init__(self, scheduler):
        products = scheduler.alphas_cumprod.double()
        self.log_snr = (products / (1 - products)).log().numpy()
        self.kind = scheduler.config.prediction_type

    def marginal(self, t):
        log_snr = np.interp(float(t), np.arange(len(self.log_snr)), self.log_snr)
        return (1 / (1 + np.exp(-log_snr))) ** 0.5, (1 / (1 + np.exp(log_snr))) ** 0.5

    def __call__(self, x, t):
        alpha, sigma = self.marginal(t)
        x = x.double()
        x0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)
        eps = (x - alpha * x0) / sigma
        return {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0}[self.kind].float()


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def gaussian_run(spec, kind, steps):
    """Scheduler and exact model, and samples of the first time's marginal."""
    scheduler = DiffusionSDEScheduler(
        **BETAS, prediction_type=kind, clip_sample=False, timestep_spacing="trailing", integrator=spec
    )
    scheduler.set_timesteps(steps)
    model, generator = Gaussian(scheduler), torch.Generator().manual_seed(0)
    alpha, sigma = model.marginal(scheduler.timesteps[0])
    x = alpha * MEAN + (alpha**2 * STD**2 + sigma**2) ** 0.5 * torch.randn(20_000, 1, generator=generator)
    return scheduler, model, x, generator


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("spec", "steps", "bias"),
    [
        ("precise:eta=0", 50, 0.2),
        ("precise:eta=0.7", 50, 0.25),
        ("ddpm", 50, 0.35),
        ("cps:eta=0.5", 50, 0.5),
        ("glass:inner_steps=20", 10, 0.15),
        ("euler-maruyama:diffusion=natural,norm=0.7,interpolant=vp", 50, 0.15),
        ("heun", 50, 0.12),
    ],
)
def test_particles_end_where_the_kernels_say(kind, spec, steps, bias):
    """Within four standard errors of 20,000 samples; and near the data's variance, as far as the steps allow."""
    scheduler, model, x, generator = gaussian_run(spec, kind, steps)
    assert len(scheduler.timesteps) == scheduler.order * steps - (spec == "heun")
    assert scheduler.timesteps.is_floating_point() == spec.startswith("glass")
    begins = [model.marginal(t) for t in scheduler.timesteps.unique().flip(0).tolist() if t == int(t)]
    times = torch.tensor([sigma / alpha for alpha, sigma in begins] + [0.0], dtype=torch.float64)
    mean, variance = gaussian_end(transition(spec), times, NoiseRatio(), MEAN, STD)
    for t in scheduler.timesteps:
        (x,) = scheduler.step(model(x, t), t, x, generator=generator, return_dict=False)
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert variance == pytest.approx(STD**2, rel=bias)
    assert x.mean().item() == pytest.approx(mean, abs=4 * (variance / len(x)) ** 0.5)
    assert x.var().item() == pytest.approx(variance, rel=4 * (2 / len(x)) ** 0.5)


@pytest.mark.parametrize("spec", ["glass:inner_steps=40", "glass:inner_steps=40,rho=0.4"])
def test_the_model_is_called_at_samples_of_the_times_it_is_told(spec):
    """Between integers too: the variance of the sample is that of the time's marginal."""
    scheduler, model, x, generator = gaussian_run(spec, "epsilon", 3)
    for t in scheduler.timesteps:
        alpha, sigma = model.marginal(t)
        assert x.var().item() == pytest.approx(alpha**2 * STD**2 + sigma**2, rel=0.1)
        (x,) = scheduler.step(model(x, t), t, x, generator=generator, return_dict=False)


@pytest.mark.parametrize(
    "child",
    [
        DDPMScheduler(clip_sample=False),
        PNDMScheduler(prediction_type="v_prediction"),
        EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        DPMSolverMultistepScheduler(timestep_spacing="trailing"),
    ],
    ids=lambda child: type(child).__name__,
)
def test_it_is_made_from_any_scheduler_of_a_diffusion(child):
    ours = DiffusionSDEScheduler.from_scheduler(child, integrator="precise:eta=0.3")
    assert torch.equal(ours.alphas_cumprod, child.alphas_cumprod)
    for name in ("prediction_type", "timestep_spacing", "beta_schedule"):
        assert ours.config[name] == child.config[name]
    assert not ours.config.clip_sample
    assert ours.init_noise_sigma == 1
    back = type(child).from_config(ours.config)
    assert torch.equal(back.alphas_cumprod, child.alphas_cumprod)


def test_image_to_image_begins_where_a_step_does():
    parts = {**toys.build("StableDiffusion").components}
    pipe = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    stock = pipe.scheduler
    for spec in ("ddpm", "glass:inner_steps=3"):
        pipe.scheduler = DiffusionSDEScheduler.from_scheduler(stock, integrator=spec)
        ends = [
            pipe(
                toys.PROMPT,
                image=toys.picture(),
                strength=strength,
                num_inference_steps=6,
                generator=torch.Generator().manual_seed(0),
                output_type="latent",
            ).images
            for strength in (0.4, 0.9)
        ]
        assert all(end.isfinite().all() for end in ends)
        assert not torch.equal(*ends)


def test_a_learned_variance_is_left_out():
    scheduler = DiffusionSDEScheduler()
    scheduler.set_timesteps(4)
    x, output = drawn(0, 2, 3, 4, 4), drawn(1, 2, 6, 4, 4)
    first = scheduler.step(output, scheduler.timesteps[0], x, noise=x).prev_sample
    assert torch.equal(first, scheduler.step(output[:, :3], scheduler.timesteps[0], x, noise=x).prev_sample)


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match="FlowMatchEulerDiscreteScheduler is no diffusion's scheduler"):
        DiffusionSDEScheduler.from_scheduler(FlowMatchEulerDiscreteScheduler())
    with pytest.raises(ValueError, match="prediction_type is 'flow_prediction'; DiffusionSDEScheduler knows epsilon"):
        DiffusionSDEScheduler(prediction_type="flow_prediction")
    with pytest.raises(ValueError, match="unknown integrator 'ddim'; known: euler-maruyama"):
        DiffusionSDEScheduler(integrator="ddim")
    scheduler, x = DiffusionSDEScheduler(), drawn(0, 1, 3, 4, 4)
    with pytest.raises(ValueError, match="no timesteps are set; call set_timesteps before the first step"):
        scheduler.step(x, 10, x)
    with pytest.raises(ValueError, match="num_inference_steps is 0; give at least 1"):
        scheduler.set_timesteps(0)
    scheduler.set_timesteps(4)
    with pytest.raises(ValueError, match="timestep 333 is not on the grid"):
        scheduler.step(x, 333, x)
