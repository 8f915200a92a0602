"""Steps that freeze the posterior's mean are one family: where they are the same, and which noise they keep."""

import math

import pytest
import torch
from samplesmith.samplers.interpolants import Linear, NoiseRatio
from samplesmith.samplers.transitions import transition
from samplesmith.samplers.transitions.correlation import correlation
from transitions import affine_steps

TIMES = torch.linspace(1, 0, 11, dtype=torch.float64)
SAME = [
    ("ddpm", f"precise:eta={2**0.5}", 1e-12),
    ("ddpm", "glass:inner_steps=1", 1e-12),
    ("precise:eta=0.7", "glass:inner_steps=1,kappa=0.245", 1e-12),
    ("cps:eta=0.5", f"glass:inner_steps=1,rho={math.cos(math.pi / 4)}", 1e-12),
    ("cps:eta=0.738", "glass:inner_steps=1,rho=0.4", 1e-3),
    ("precise:eta=0", "cps:eta=0", 0),
    ("precise:eta=0", "euler-maruyama:diffusion=none", 1e-12),
    ("precise:eta=0", "glass:inner_steps=1,rho=1", 1e-12),
]


@pytest.mark.parametrize(("one", "other", "atol"), SAME)
def test_the_same_step_by_two_names(one, other, atol):
    """Slope, spread and shift of each step for a Gaussian."""
    steps = [torch.tensor(affine_steps(transition(spec), TIMES, Linear(), 0.3, 0.5)).abs() for spec in (one, other)]
    torch.testing.assert_close(*steps, rtol=0, atol=atol)


@pytest.mark.parametrize("path", [Linear(), NoiseRatio()], ids=["flow", "diffusion"])
def test_rho_of_ddpm_is_that_of_the_forward_process(path):
    """x_t = (alpha / alpha') x_t' + fresh noise, of which the noises of both have sigma' alpha / (sigma alpha')."""
    times = torch.tensor([0.9, 0.8, 0.8 - 1e-9, 0.1], dtype=torch.float64)
    alpha, sigma = path.alpha(times), path.sigma(times)
    rho, fresh = correlation(times, path, 1.0)
    expected = sigma[1:] * alpha[:-1] / (sigma[:-1] * alpha[1:])
    assert torch.allclose(rho, expected, atol=1e-12, rtol=0)
    assert torch.allclose(rho**2 + fresh**2, torch.ones(3, dtype=torch.float64), atol=1e-12)
    exact = (sigma[0] ** 2 - (alpha[0] / alpha[1] * sigma[1]) ** 2) / sigma[0] ** 2
    assert fresh[0] == pytest.approx(exact.sqrt().item())
    assert 0 < fresh[1] < 1e-3  # 1 - rho^2 would have lost it


def test_the_ends_of_the_path_are_safe():
    """rho is 0 from pure noise and to data, unless all noise is kept."""
    rho, fresh = correlation(TIMES, Linear(), 0.3)
    assert (rho[0], rho[-1], fresh[0], fresh[-1]) == (0, 0, 1, 1)
    assert torch.equal(correlation(TIMES, Linear(), 0)[0], torch.ones(10, dtype=torch.float64))


def test_cps_keeps_the_noise_level():
    kernels, t_next = transition("cps:eta=0.5").along(TIMES, Linear()), TIMES[1:]
    assert torch.allclose(kernels.a, 1 - t_next)
    assert torch.allclose(kernels.b**2 + kernels.std**2, t_next**2)
    assert torch.allclose(kernels.std, t_next * math.sin(math.pi / 4))
