"""GLASS against closed forms of a Gaussian, and what its inner calls ask of the model."""

import numpy as np
import pytest
import torch
from known_flow import CENTERS, DEVIATION, WEIGHTS, mixture_velocity
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.interpolants import Linear, NoiseRatio
from samplesmith.samplers.transitions import Glass
from transitions import affine_steps, gaussian_end, one_step, true_variance

MEAN, STD = 0.3, 0.5


def test_one_transition_has_the_variance_of_the_reverse_process():
    """At t = .7 to .4: .147, .197, .210 with 1, 4, 10 inner steps, and .2195 exactly."""
    exact = true_variance()
    found = {inner: one_step(inner) for inner in (1, 4, 10, 100, 200)}
    assert [round(found[inner], 3) for inner in (1, 4, 10)] == [0.147, 0.196, 0.210]
    assert exact == pytest.approx(0.2195, abs=5e-5)
    assert exact - found[10] <= (exact - found[1]) / 5
    assert (exact - found[100]) / (exact - found[200]) == pytest.approx(2, abs=0.05)  # Euler's: of first order


@pytest.mark.parametrize("settings", [{}, {"rho": 0.4}, {"rho": 0.0}, {"rho": 1.0}, {"kappa": 0.5}], ids=str)
@pytest.mark.parametrize(("path", "ends"), [(Linear(), (0.7, 0.4)), (NoiseRatio(), (3.0, 0.5))], ids=["flow", "vp"])
def test_it_has_the_marginal_of_the_next_time_for_any_rho(settings, path, ends):
    """One transition, from the marginal of the first time, of many inner steps; to the data too."""
    for times in (ends, (ends[0], 0.0)):
        times = torch.tensor(times, dtype=torch.float64)
        m, v = gaussian_end(Glass(inner_steps=2000, **settings), times, path, MEAN, STD)
        alpha, sigma = path.alpha(times[1]).item(), path.sigma(times[1]).item()
        assert m == pytest.approx(alpha * MEAN, abs=1e-9)
        assert v == pytest.approx(alpha**2 * STD**2 + sigma**2, rel=2e-3)


def test_the_covariance_of_both_ends_is_that_of_the_coupled_noises():
    """Cov(x, x') = alpha alpha' s^2 + rho sigma sigma', which tells rho from the marginals' own."""
    t, end, rho = 0.7, 0.4, 0.4
    times = torch.tensor([t, end], dtype=torch.float64)
    ((slope, _, _),) = affine_steps(Glass(rho=rho, inner_steps=2000), times, Linear(), MEAN, STD)
    covariance = slope * ((1 - t) ** 2 * STD**2 + t**2)
    assert covariance == pytest.approx((1 - t) * (1 - end) * STD**2 + rho * t * end, rel=2e-3)


@pytest.mark.parametrize(("rho", "inner_steps"), [(1, 5), (1, 1), (0, 5)])
def test_the_ends_of_rho_and_of_time_are_safe(rho, inner_steps):
    times = torch.linspace(1, 0, 5, dtype=torch.float64)
    made = Glass(rho=rho, inner_steps=inner_steps)
    assert all(table.isfinite().all() for table in vars(made.along(times, Linear())).values() if hasattr(table, "ndim"))
    asked = made.call_times(times, Linear())[:-1]
    assert asked.max() == 1
    assert asked.min() > 0
    if made.model_calls > 1:
        assert not torch.isin(asked, times).all()


def test_with_the_forward_rho_inner_calls_lie_between_the_steps():
    times = torch.linspace(1, 0, 5, dtype=torch.float64)
    asked = Glass(inner_steps=6).call_times(times, Linear())[:-1].view(4, 6)
    assert torch.equal(asked[:, 0], times[:-1])
    assert (asked.diff(dim=1) < 0).all()
    assert (asked > times[1:, None]).all()


def test_the_model_is_called_at_samples_of_the_times_it_is_told():
    """At inner calls too: with exact predictions the sample's marginal is that of the time t*, for the mixture."""
    scheduler = FlowSDEScheduler(integrator="glass:inner_steps=40,rho=0.4")
    scheduler.set_timesteps(sigmas=np.array([1.0, 0.6, 0.3]))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, generator=generator)
    mean = (WEIGHTS * CENTERS).sum().item()
    variance = (WEIGHTS * CENTERS**2).sum().item() + DEVIATION**2 - mean**2
    assert len(scheduler.timesteps) == 120
    for t in scheduler.timesteps:
        time = float(t) / 1000
        assert x.mean().item() == pytest.approx((1 - time) * mean, abs=0.05)
        assert x.var().item() == pytest.approx((1 - time) ** 2 * variance + time**2, rel=0.06)
        (x,) = scheduler.step(mixture_velocity(x, time), t, x, generator=generator, return_dict=False)
    assert x.var().item() == pytest.approx(variance, rel=0.06)


def test_half_precision_loses_no_more_than_its_rounding():
    """What is kept between calls is in float32: short steps, of which a sample shows little, end where float32 does."""
    ends = []
    for dtype in (torch.float32, torch.bfloat16):
        scheduler = FlowSDEScheduler(integrator="glass:inner_steps=4")
        scheduler.set_timesteps(100)
        x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
        for t in scheduler.timesteps:
            velocity = (0.4 * x.float() + 0.1 * torch.sin(3 * x.float())).to(dtype)
            (x,) = scheduler.step(velocity, t, x, return_dict=False)
        ends.append(x.float())
    assert (ends[0] - ends[1]).abs().max() < 0.05 * ends[0].abs().max()


def test_a_run_begins_where_a_step_does():
    scheduler = FlowSDEScheduler(integrator="glass:inner_steps=3")
    scheduler.set_timesteps(4)
    scheduler.set_begin_index(4)
    x = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="model call 4 is inside of a GLASS step; begin at a multiple of 3 calls"):
        scheduler.step(x, scheduler.timesteps[4], x)
