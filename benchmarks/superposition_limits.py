"""What limits AND: what the sampling leaves out, and what the model's score has wrong where it was never trained.

    python benchmarks/superposition_limits.py --output results.json

Two densities of the plane, each along a bar; the asked one, "A" & "B" (Dombi's AND, hardness 1), is known. It is
sampled along its score, with exact scores and with those of small networks that learned both densities from samples,
for longer and shorter; the points count alike, or by their Feynman-Kac weights. The error is the total variation
distance of a histogram (bins of 0.3) to the truth, over `SEEDS` runs of `POINTS` points in `STEPS` steps; exact draws
of the truth give the floor. docs/superposition.md has the table that is printed, of
benchmarks/results/superposition_limits.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from known_mixtures import Mixture
from samplesmith.samplers.superposition import ESTIMATORS, Resampling, SuperposedRun, steps_along
from samplesmith.samplers.superposition.operators import make_operator
from torch import nn

STEPS, POINTS, SEEDS = 100, 2000, 5
TRAINED = (300, 1000, 6000)
"""Batches of the networks."""
EDGE, BINS = 3.0, 20
Scores = Callable[[torch.Tensor, float], torch.Tensor]
"""Points (n, 2) at a time t of the linear path -> their clean predictions by A and B, (n, 2, 2)."""


def bar(start: tuple[float, float], end: tuple[float, float]) -> Mixture:
    share = torch.linspace(0, 1, 15, dtype=torch.float64)[:, None]
    ends = torch.tensor([start, end], dtype=torch.float64)
    return Mixture(ends[0] * (1 - share) + ends[1] * share, 0.2)


BARS = [bar((-2.2, 0.7), (2.2, 0.7)), bar((-0.7, -2.2), (-0.7, 2.2))]


def exact(x: torch.Tensor, t: float) -> torch.Tensor:
    return torch.stack([one.clean(x, 1 - t, t) for one in BARS], 1)


class Network(nn.Module):
    """Velocity of both densities at a point and a time, by a label."""

    def __init__(self, draw: torch.Generator):
        super().__init__()
        sizes = (2 + 8 + 2, 64, 64, 64, 2)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        with torch.no_grad():
            for layer in self.layers:
                bound = layer.in_features**-0.5
                for part in (layer.weight, layer.bias):
                    part.copy_((torch.rand(part.shape, generator=draw) * 2 - 1) * bound)

    def forward(self, x: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        waves = torch.cat([torch.sin(2**k * t) for k in range(4)] + [torch.cos(2**k * t) for k in range(4)], 1)
        h = torch.cat([x, waves, nn.functional.one_hot(label, 2).float()], 1)
        for layer in self.layers[:-1]:
            h = nn.functional.silu(layer(h))
        return self.layers[-1](h)


def learned(batches: int, seed: int = 0) -> Scores:
    """The clean predictions of a network that learned from samples of both densities."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # modules are made with the global generator, then filled anew
        network = Network(draw)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches)
    for _ in range(batches):
        clean = torch.cat([one.draw(256, draw) for one in BARS]).float()
        label = torch.arange(2).repeat_interleave(256)
        t, noise = torch.rand(512, 1, generator=draw), torch.randn(512, 2, generator=draw)
        loss = (network((1 - t) * clean + t * noise, t, label) - (noise - clean)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    @torch.no_grad()
    def predicted(x: torch.Tensor, t: float) -> torch.Tensor:
        found, when = x.float(), torch.full((len(x), 1), t)
        parts = [network(found, when, torch.full((len(x),), k)) for k in (0, 1)]
        return torch.stack([x - t * part.double() for part in parts], 1)

    return predicted


def sampled(scores: Scores, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of "A" & "B" along its score, (POINTS, 2), and their Feynman-Kac weights, which add up to 1."""
    draw = torch.Generator().manual_seed(seed)
    times = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    run = SuperposedRun(
        steps_along(1 - times, times, "ancestral"),
        make_operator('"A" & "B"', 2),
        ESTIMATORS["rne"](1.0),
        2,
        resampling=Resampling((0.0, 1.0), clamp=None, threshold=1e-9),  # weights alone: the points stay as they are
    )
    x = torch.randn(POINTS, 2, generator=draw, dtype=torch.float64)
    for call, t in enumerate(times[:-1].tolist()):
        x0 = scores(x, t)
        noise = torch.randn(x.shape, generator=draw, dtype=torch.float64) if run.steps[call].std else None
        x, _ = run.step(call, x, x0, (x[:, None] - (1 - t) * x0) / t, noise, torch.rand((), generator=draw))
    return x, run.log_weights.softmax(0)


def truth(finer: int = 20) -> torch.Tensor:
    """Shares of the bins by the asked density, (BINS, BINS)."""
    count = BINS * finer
    middle = (torch.arange(count, dtype=torch.float64) + 0.5) / count * 2 * EDGE - EDGE
    points = torch.cartesian_prod(middle, middle)
    one, none = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    logs = torch.stack([bar.log_density(points, one, none) for bar in BARS], 1)
    density = (-torch.logsumexp(-logs, 1)).exp().view(BINS, finer, BINS, finer).sum((1, 3))
    return density / density.sum()


def distance(points: torch.Tensor, shares: torch.Tensor, weights: torch.Tensor | None = None) -> float:
    """Total variation of the points' histogram from the shares; points outside of the bins count in full."""
    weights = torch.full((len(points),), 1 / len(points), dtype=torch.float64) if weights is None else weights
    places = ((points + EDGE) / (2 * EDGE) * BINS).floor().long()
    inside = ((places >= 0) & (places < BINS)).all(1)
    flat = places[inside] @ torch.tensor([BINS, 1])
    found = torch.bincount(flat, weights[inside], BINS**2)
    return float((found - shares.flatten()).abs().sum() + weights[~inside].sum()) / 2


def off_distribution(scores: Scores, seed: int = 0) -> dict[str, float]:
    """Root mean square error of the clean predictions at t = 0.3, of A: on its own samples, and on those of B."""
    draw, found = torch.Generator().manual_seed(seed), {}
    for name, where in {"own": BARS[0], "other": BARS[1]}.items():
        x = 0.7 * where.draw(2000, draw) + 0.3 * torch.randn(2000, 2, generator=draw, dtype=torch.float64)
        found[name] = float((scores(x, 0.3) - exact(x, 0.3))[:, 0].square().sum(1).mean().sqrt())
    return found


def measured(scores: Scores, shares: torch.Tensor) -> dict[str, Any]:
    """Distances of the same points without weights and with them, one per seed, and the points' effective share."""
    found: dict[str, Any] = {"plain": [], "fkc": [], "effective_share": []}
    for seed in range(SEEDS):
        points, weights = sampled(scores, seed)
        found["plain"].append(distance(points, shares))
        found["fkc"].append(distance(points, shares, weights))
        found["effective_share"].append(float(1 / weights.square().sum()) / POINTS)
    return found | {"error_at_noise_0.3": off_distribution(scores)}


def table(results: dict[str, Any]) -> str:
    """Distances to the truth, by score and by weights."""
    lines = ["| score | points alike | by weights | error of A's prediction: at A / at B |", "|---|---|---|---|"]
    for name, of in results["scores"].items():
        cells = [_mean(of["plain"]), _mean(of["fkc"])]
        own, other = (of["error_at_noise_0.3"][where] for where in ("own", "other"))
        lines.append(f"| {name} | {' | '.join(cells)} | {own:.2f} / {other:.2f} |")
    return "\n".join([*lines, f"| exact draws | {_mean(results['floor'])} | | |"])


def _mean(values: list[float]) -> str:
    numbers = torch.tensor(values)
    return f"{numbers.mean():.3f} ± {numbers.std():.3f}"


def floor(shares: torch.Tensor) -> list[float]:
    """Distances of exact draws."""
    draw = torch.Generator().manual_seed(0)
    counts = [torch.multinomial(shares.flatten(), POINTS, replacement=True, generator=draw) for _ in range(SEEDS)]
    found = [torch.bincount(one, minlength=BINS**2).double() / POINTS for one in counts]
    return [float((one - shares.flatten()).abs().sum()) / 2 for one in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output
    shares = truth()
    found = {"exact": measured(exact, shares)}
    for batches in TRAINED[::-1]:
        found[f"learned, {batches:,} batches"] = measured(learned(batches), shares)
    results = {"steps": STEPS, "points": POINTS, "seeds": SEEDS, "scores": found, "floor": floor(shares)}
    output.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
