"""A flow of which the answer is known: a mixture of Gaussians, and what schedulers make of it."""

import torch
from samplesmith.samplers.diffusions import DIFFUSIONS

SDES = [
    {"diffusion": diffusion, "interpolant": interpolant, "norm": 1.0}
    for diffusion in DIFFUSIONS
    for interpolant in ("linear", "vp")
] + [{"diffusion": "square", "interpolant": "linear", "norm": 3.0}]
"""Settings of every diffusion along every path."""

CENTERS, WEIGHTS, DEVIATION = torch.tensor([-2.0, 0.5, 2.0]), torch.tensor([0.3, 0.5, 0.2]), 0.3


def mixture_velocity(x, t):
    """Exact velocity for three components along the diagonal of D dimensions; x (batch, D), t a float."""
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    offset = x[:, :, None] - (1 - t) * CENTERS
    posterior = torch.softmax(WEIGHTS.log() - offset.square().sum(1, keepdim=True) / (2 * variance), -1)
    x0 = (posterior * (CENTERS + (1 - t) * DEVIATION**2 / variance * offset)).sum(-1)
    return (x - x0) / t


def follow(scheduler, x, **times):
    """The end of a scheduler's run of the mixture from x, (batch, D)."""
    scheduler.set_timesteps(**times)
    for t in scheduler.timesteps:
        (x,) = scheduler.step(mixture_velocity(x, float(t) / 1000), t, x, return_dict=False)
    return x
