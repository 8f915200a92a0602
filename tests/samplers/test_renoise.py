"""Back along a path, on Gaussians."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from samplesmith.samplers.clean_prediction import known_path, place_of
from samplesmith.samplers.renoise import renoised_to

SCHEDULERS = {
    "flow": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "DDIM": DDIMScheduler(),
    "Euler": EulerDiscreteScheduler(),
    "DPM++": DPMSolverMultistepScheduler(),
}


def moments(scheduler, call):
    path, t = place_of(scheduler, known_path(scheduler), call)
    return float(path.alpha(t)), float(path.sigma(t))


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(("call", "to_call"), [(9, 4), (5, 1), (10, 6), (5, 4), (9, 8)])
def test_samples_of_one_time_become_samples_of_the_other(name, call, to_call):
    """x_t = alpha x_0 + sigma eps with x_0 from N(1, 0.5^2): mean alpha', variance (alpha' / 2)^2 + sigma'^2."""
    scheduler, count = SCHEDULERS[name], 200_000
    scheduler.set_timesteps(10)
    generator = torch.Generator().manual_seed(0)
    x0 = 1 + 0.5 * torch.randn(count, 1, generator=generator)
    alpha, sigma = moments(scheduler, call)
    sample = alpha * x0 + sigma * torch.randn(count, 1, generator=generator)
    back = renoised_to(scheduler, sample, torch.randn(count, 1, generator=generator), call, to_call)
    alpha, sigma = moments(scheduler, to_call)
    variance = alpha**2 / 4 + sigma**2
    assert float(back.mean()) == pytest.approx(alpha, abs=5 * (variance / count) ** 0.5)
    assert float(back.var()) == pytest.approx(variance, rel=0.02)
    joint = torch.stack([x0.flatten(), back.flatten()]).cov()  # it is still the sample of its own clean one
    assert float(joint[0, 1]) == pytest.approx(alpha / 4, abs=0.02 * max(1, sigma))


def test_forward_is_refused():
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match="cannot go back to call 5"):
        renoised_to(scheduler, torch.zeros(1, 1), torch.zeros(1, 1), 5, 5)
