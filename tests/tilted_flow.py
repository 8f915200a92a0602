"""A flow in the plane whose tilt by a linear reward is known: Gaussians of unequal widths; and SMC on it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from samplesmith.samplers.strategies.particle_weights import Weights
from samplesmith.samplers.strategies.smc import POTENTIALS, RESAMPLING, log_potential

EDGES = np.linspace(-3, 3, 7)
"""Between the 8 x 8 cells, of which the outer ones have no end."""


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians in the plane."""

    shares: torch.Tensor
    means: torch.Tensor
    widths: torch.Tensor

    def velocity(self, x, t):
        """Exact, of the linear path; x (batch, 2), t a float."""
        variance = (1 - t) ** 2 * self.widths**2 + t**2
        offset = x[:, None] - (1 - t) * self.means
        logits = self.shares.log() - variance.log() - offset.square().sum(-1) / (2 * variance)
        gain = ((1 - t) * self.widths**2 / variance)[:, None]
        x0 = (torch.softmax(logits, -1)[..., None] * (self.means + gain * offset)).sum(1)
        return (x - x0) / t

    def tilted(self, direction):
        """The mixture of density p(x) exp(direction . x) / Z, and log Z."""
        logs = self.shares.log() + self.means @ direction + direction.square().sum() * self.widths**2 / 2
        means = self.means + self.widths[:, None] ** 2 * direction
        return Mixture(torch.softmax(logs, 0), means, self.widths), float(torch.logsumexp(logs, 0))

    def draws(self, count, generator):
        which = torch.multinomial(self.shares, count, replacement=True, generator=generator)
        noise = torch.randn(count, 2, generator=generator)
        return self.means[which] + self.widths[which, None] * noise

    def cells(self):
        """Probability of each cell, (8, 8)."""
        edges = torch.tensor([-math.inf, *EDGES, math.inf])
        below = torch.special.ndtr((edges - self.means.T[..., None]) / self.widths[:, None])  # (2, components, 9)
        first, second = below.diff(dim=-1)
        return torch.einsum("k,ki,kj->ij", self.shares, first, second).numpy()


MIXTURE = Mixture(
    torch.tensor([0.35, 0.4, 0.25]),
    torch.tensor([[-1.5, 0.5], [1.0, 1.2], [0.8, -1.4]]),
    torch.tensor([0.3, 0.6, 0.9]),
)


def in_cells(x, weights=None):
    """The share of particles, by weight, in each cell."""
    bounds = [np.concatenate([[-1e9], EDGES, [1e9]])] * 2
    counts, _, _ = np.histogram2d(*np.asarray(x).T, bins=bounds, weights=weights)
    return counts / counts.sum()


def distance(one, other):
    """Total variation."""
    return np.abs(one - other).sum() / 2


def steered(scheduler, direction, steps, particles, seed=0, potential="difference", resampling="systematic", ess=0.5):
    """SMC on the mixture by a scheduler's steps, as `Smc` does it: the samples, their weights, times of resampling.

    Args:
        scheduler: a FlowSDEScheduler with any transition; one of n model calls per step is resampled before each nth.
        direction: of the reward, lambda times its gradient.
    """
    chance = np.random.default_rng(seed)
    x = torch.randn(particles, 2, generator=torch.Generator().manual_seed(seed))
    scheduler.set_generators([torch.Generator().manual_seed(seed + 1)])
    scheduler.set_timesteps(steps)
    weights, scores, times = Weights.even(particles), np.zeros((0, particles)), []
    generator = torch.Generator().manual_seed(seed + 1)
    for call, t in enumerate(scheduler.timesteps):
        time = float(t) / 1000
        velocity = MIXTURE.velocity(x, time)
        if call % scheduler.order == 0:
            reward = ((x - time * velocity) @ direction).double().numpy()
            scores = np.vstack([scores, reward])
            weights = weights.times(log_potential(POTENTIALS[potential], scores, 1.0, last=False))
            if weights.effective_size < ess * particles:
                weights, ancestors = weights.resampled(RESAMPLING[resampling], particles, chance)
                x, velocity, scores = x[ancestors], velocity[ancestors], scores[:, ancestors]
                times.append(call)
        (x,) = scheduler.step(velocity, t, x, generator=generator, return_dict=False)
    scores = np.vstack([scores, (x @ direction).double().numpy()])
    return x, weights.times(log_potential(POTENTIALS[potential], scores, 1.0, last=True)), times
