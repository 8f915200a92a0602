"""Gaussians whose scores and densities are known at every noise level, and runs of superposition on them."""

import math
from dataclasses import dataclass

import torch
from samplesmith.samplers.superposition import ESTIMATORS, SuperposedRun, steps_along
from samplesmith.samplers.superposition.operators import make_operator


@dataclass
class World:
    """N isotropic Gaussians of the data, with means (N, elements) and widths (N,)."""

    means: torch.Tensor
    widths: torch.Tensor

    @classmethod
    def of(cls, elements, widths, centres):
        means = torch.stack([torch.full((elements,), centre, dtype=torch.float64) for centre in centres])
        return cls(means, torch.tensor(widths, dtype=torch.float64))

    def spread(self, alpha, sigma):
        return alpha**2 * self.widths**2 + sigma**2

    def eps(self, x, alpha, sigma):
        """Predicted noise of each Gaussian at samples (groups, ...): (groups, N, ...)."""
        flat = x.flatten(1)[:, None]
        scale = sigma / self.spread(alpha, sigma)
        found = (flat - alpha * self.means.to(x)) * scale.to(x)[:, None]
        return found.view(len(x), -1, *x.shape[1:])

    def log_density(self, x, alpha, sigma):
        """(groups, N)."""
        flat = x.double().flatten(1)[:, None]
        variance = self.spread(alpha, sigma)
        squares = (flat - alpha * self.means).square().sum(2)
        return -squares / (2 * variance) - flat.shape[2] / 2 * torch.log(2 * math.pi * variance)


def vp_grid(steps):
    """Stable Diffusion's path: its training times, evenly spaced, then the data."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    products = (1 - betas).cumprod(0)
    kept = torch.cat([products[torch.linspace(999, 0, steps).round().long()], torch.ones(1, dtype=torch.float64)])
    return kept.sqrt(), (1 - kept).sqrt()


def flow_grid(steps):
    """The linear path from pure noise to the data, even in time."""
    t = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return 1 - t, t


def ve_grid(steps, highest=20.0, lowest=0.02):
    """x_0 + s eps, even in log s, then the data."""
    s = torch.logspace(math.log10(highest), math.log10(lowest), steps, dtype=torch.float64)
    s = torch.cat([s, torch.zeros(1, dtype=torch.float64)])
    return torch.ones_like(s), s


GRIDS = {"vp": vp_grid, "flow": flow_grid, "ve": ve_grid}


@dataclass
class Outcome:
    """Where a run stood before its last step, which adds no noise, and what was estimated there."""

    run: SuperposedRun
    sample: torch.Tensor
    final: torch.Tensor
    estimated: torch.Tensor
    true: torch.Tensor

    @property
    def error(self):
        return self.estimated - self.true

    @property
    def gap_error(self):
        """Of log q_1 - log q_2."""
        return self.error[:, 0] - self.error[:, 1]

    @property
    def true_gap(self):
        return self.true[:, 0] - self.true[:, 1]


def superposed(
    world,
    grid,
    steps,
    groups=500,
    operator="or",
    estimator="rne",
    integrator="ancestral",
    dtype=torch.float64,
    start=None,
    exact_start=True,
    shape=None,
    seed=0,
    **settings,
):
    """A run on a world, with the estimate begun at the exact log-densities where tracking begins."""
    draw = torch.Generator().manual_seed(seed)
    alphas, sigmas = grid(steps) if callable(grid) else GRIDS[grid](steps)
    table = steps_along(alphas, sigmas, integrator)
    run_settings = {
        name: settings.pop(name) for name in ("guidance_scale", "resampling", "keep_trace") if name in settings
    }
    count = settings.pop("prompts", len(world.widths))
    made = make_operator(operator, count, **settings)
    run = SuperposedRun(table, made, ESTIMATORS[estimator](), count, **run_settings)
    x = start
    if x is None:
        x = torch.randn(groups, world.means.shape[1], generator=draw, dtype=torch.float64)
        variance = world.spread(alphas[0], sigmas[0]).mean()
        x = x * variance.sqrt() + alphas[0] * world.means.mean(0)
    x = x.to(dtype)
    if shape is not None:
        x = x.view(len(x), *shape)
    offset = None
    for call, step in enumerate(table):
        alpha, sigma = alphas[call], sigmas[call]
        if offset is None and step.tracked:
            exact = world.log_density(x, alpha, sigma)
            offset = exact if exact_start else torch.zeros_like(exact)
        if call == len(table) - 1:
            before, densities = x, run.densities
            true = world.log_density(x, alpha, sigma)
        noise = torch.randn(x.shape, generator=draw, dtype=torch.float64).to(dtype) if step.std else None
        uniform = torch.rand((), generator=draw) if "resampling" in run_settings else None
        eps = world.eps(x, alpha, sigma)
        x0 = (x[:, None] - sigma * eps) / alpha if alpha else alpha_zero(world, x)
        x, _ = run.step(call, x, x0, eps, noise, uniform)
    known = densities.relative.double() + densities.common.double()[:, None]
    return Outcome(run, before, x, known + offset, true)


def alpha_zero(world, x):
    """Pure noise says nothing: the clean prediction is each mean."""
    return world.means.to(x).view(1, -1, *x.shape[1:]).expand(len(x), -1, *x.shape[1:])
