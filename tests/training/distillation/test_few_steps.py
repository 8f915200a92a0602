import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from mixtures import Mixture
from samplesmith.samplers.interpolants import Linear
from samplesmith.training.distillation import few_steps
from samplesmith.training.distillation.denoiser import Denoiser

WORLD = Mixture([[-1.0, 0.0], [1.0, 0.5]], 0.3, [0.4, 0.6])


def flow_steps():
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, solver_order=1
    )


def ddim():
    return DDIMScheduler(clip_sample=False, timestep_spacing="trailing")


@pytest.mark.parametrize("build", [flow_steps, ddim])
def test_with_the_predicted_noise_it_is_what_a_stock_scheduler_does(build):
    scheduler = build()
    scheduler.set_timesteps(4)
    read = Denoiser.of(None, scheduler)
    denoiser = read.of_network(WORLD.denoiser(read.path, read.kind, read.last, read.unit).network)
    sigmas = scheduler.sigmas[:-1] if isinstance(read.path, Linear) else scheduler.timesteps
    times = sigmas.tolist()
    noise = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    sample = noise
    for t, time in zip(scheduler.timesteps, times, strict=True):
        output = denoiser.output(sample, torch.full((8,), time), {})
        sample = scheduler.step(output, t, sample).prev_sample
    made = few_steps.generate(denoiser, noise, times, {})
    # DDIM's last step goes to the first training time, DPM-Solver's to the data.
    assert torch.allclose(made, sample, atol=2e-3)


def test_with_fresh_noise_a_later_step_starts_on_the_paths_own_marginal():
    """A student that makes the mixture in its first step: what its second step sees is the noised mixture."""
    first = WORLD.draw(20_000, torch.Generator().manual_seed(1))[0].float()

    def network(x, timestep, return_dict):
        return (first,)

    student = Denoiser(network, Linear(), "sample")
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(first.shape, generator=generator)
    redraw = lambda x: torch.randn(x.shape, generator=generator)  # noqa: E731 (one line says it)
    x = few_steps.input_at(student, noise, (1.0, 0.6), 1, {}, redraw)
    mean = 0.4 * (WORLD.weights @ WORLD.means).float()
    covariance = 0.16 * torch.cov(first.T) + 0.36 * torch.eye(2)
    assert torch.allclose(x.mean(0), mean, atol=0.02)
    assert torch.allclose(torch.cov(x.T), covariance, atol=0.02)
    assert torch.equal(few_steps.input_at(student, noise, (1.0, 0.6), 0, {}, redraw), noise)
