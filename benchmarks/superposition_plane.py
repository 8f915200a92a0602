"""Draws docs/superposition.png: two densities of the plane, and what each operator makes of them.

The scores are exact (mixtures of Gaussians), so that what is seen is the operators' own doing. Run it with
`python -m benchmarks.superposition_plane` or as a script; it takes half a minute and needs matplotlib.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from samplesmith.samplers.superposition import Resampling, SuperposedRun, steps_along
from samplesmith.samplers.superposition.operators import make_operator
from samplesmith.samplers.superposition.rne import RadonNikodym

OUTPUT = Path(__file__).parents[1] / "docs/superposition.png"
STEPS, POINTS = 200, 3000


def bar(
    start: tuple[float, float], end: tuple[float, float], width: float, count: int = 15
) -> tuple[torch.Tensor, float]:
    share = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    return torch.tensor(start) * (1 - share) + torch.tensor(end) * share, width


A = bar((-2.2, 0.7), (2.2, 0.7), 0.2)
B = bar((-0.7, -2.2), (-0.7, 2.2), 0.2)
grid = torch.linspace(-2.4, 2.4, 9, dtype=torch.float64)
EVERYTHING = (torch.cartesian_prod(grid, grid), 0.5)


def log_density(density, x, alpha, sigma):
    centres, width = density
    variance = alpha**2 * width**2 + sigma**2
    squares = (x[:, None] - alpha * centres).square().sum(2)
    return torch.logsumexp(-squares / (2 * variance), 1) - math.log(2 * math.pi * len(centres)) - variance.log()


def clean(density, x, alpha, sigma):
    """E[x_0 | x]: of each centre, weighted by what it has to do with x."""
    centres, width = density
    variance = alpha**2 * width**2 + sigma**2
    apart = x[:, None] - alpha * centres
    weights = (-apart.square().sum(2) / (2 * variance)).softmax(1)
    return (weights[:, :, None] * (centres + alpha * width**2 / variance * apart)).sum(1)


def sampled(what, resampling=None):
    """Points of an operator over [everything, A, B], on the path of rectified flows."""
    draw = torch.Generator().manual_seed(0)
    t = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    run = SuperposedRun(
        steps_along(1 - t, t, "ancestral"), make_operator(what, 2), RadonNikodym(1.0), 2, resampling=resampling
    )
    x = torch.randn(POINTS, 2, generator=draw, dtype=torch.float64)
    for call, sigma in enumerate(t[:-1]):
        alpha = 1 - sigma
        x0 = torch.stack([clean(one, x, alpha, sigma) for one in (EVERYTHING, A, B)], 1)
        eps = (x[:, None] - alpha * x0) / sigma
        noise = torch.randn(x.shape, generator=draw, dtype=torch.float64) if run.steps[call].std else None
        x, _ = run.step(call, x, x0, eps, noise, torch.rand((), generator=draw))
    return x


def mixture():
    draw = torch.Generator().manual_seed(0)
    centres = torch.cat([A[0], B[0]])
    chosen = centres[torch.randint(len(centres), (POINTS,), generator=draw)]
    return chosen + A[1] * torch.randn(POINTS, 2, generator=draw, dtype=torch.float64)


def main():
    corrected = Resampling((0.02, 0.95), clamp=None)
    panels = [
        ("A and B, mixed (exact)", mixture()),
        ('operator="or"', sampled("or")),
        ('operator="and"', sampled("and")),
        ('"A" & "B", with weights', sampled('"A" & "B"', corrected)),
        ('"A" & ~"B", with weights', sampled('"A" & ~"B"', corrected)),
        ('operator="mean"', sampled("mean")),
    ]
    axis = np.linspace(-3, 3, 121)
    points = torch.tensor(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    one, none = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    figure, axes = plt.subplots(2, 3, figsize=(9.6, 6.6), constrained_layout=True)
    for plot, (title, x) in zip(axes.flat, panels, strict=True):
        for density, colour in ((A, "#c05020"), (B, "#2060b0")):
            height = log_density(density, points, one, none).exp().reshape(121, 121)
            plot.contour(axis, axis, height, levels=[float(height.max()) * 0.2], colors=colour, linewidths=1)
        plot.scatter(*x.T.numpy(), s=1.5, color="#202020", alpha=0.35, linewidths=0)
        plot.set(title=title, xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
    figure.savefig(OUTPUT, dpi=110)


if __name__ == "__main__":
    main()
