import itertools

import numpy as np
import pytest
import torch
from diffusers import FlowMatchHeunDiscreteScheduler
from known_flow import follow, mixture_velocity
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.interpolants import Linear
from samplesmith.samplers.transitions import Heun
from transitions import gaussian_end


def heun(interpolant, steps, mean, std, start):
    """Exact mean and variance of Heun's final sample for data N(mean, std^2)."""
    times = torch.linspace(start, 0, steps + 1, dtype=torch.float64)
    return gaussian_end(Heun(interpolant), times, Linear(), mean, std)


@pytest.mark.parametrize("interpolant", ["linear", "vp"])
def test_heuns_weak_error_falls_at_second_order(interpolant):
    errors = []
    for steps in (100, 200, 400, 800):
        m, v = heun(interpolant, steps, 1.5, 0.4, start=0.99)
        errors.append(abs(m - 1.5) + abs(v - 0.16))
    orders = [np.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders[-1] >= 1.8, (errors, orders)


def test_heun_agrees_with_diffusers():
    theirs = FlowMatchHeunDiscreteScheduler()
    theirs.set_timesteps(7)
    x = y = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    ours = FlowSDEScheduler(integrator="heun")
    ours.set_timesteps(7)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    for t in theirs.timesteps:
        (x,) = theirs.step(mixture_velocity(x, float(t) / 1000), t, x, return_dict=False)
        (y,) = ours.step(mixture_velocity(y, float(t) / 1000), t, y, return_dict=False)
    assert torch.allclose(x, y, atol=1e-4)


def test_heun_beats_euler_at_equal_model_calls():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(2))
    truth = follow(FlowSDEScheduler(integrator="heun"), x, num_inference_steps=500)
    errors = [
        (follow(FlowSDEScheduler(**settings), x, num_inference_steps=steps) - truth).abs().mean().item()
        for settings, steps in (({}, 39), ({"integrator": "heun"}, 20))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_a_heun_run_begins_at_a_whole_step():
    scheduler = FlowSDEScheduler(integrator="heun")
    scheduler.set_timesteps(4)
    scheduler.set_begin_index(3)
    x = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="step 3 is the second half of a Heun step"):
        scheduler.step(x, scheduler.timesteps[3], x)
