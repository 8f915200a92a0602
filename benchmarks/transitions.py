"""What each transition makes of data whose answer is known: the variance that a run ends with, and that of one step.

    python benchmarks/transitions.py --output benchmarks/results/transitions.json

The data are N(MEAN, DEVIATION^2) and the model is exact, so that every step is affine in the sample and its noise: the
mean and variance of a run's end follow without drawing anything. Beside them stands what `PARTICLES` particles give
that `FlowSDEScheduler` leads there, a check of both. Runs go from t = 1 to 0 of the linear path in even steps; GLASS
calls the model `inner_steps` times in each.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.flow_transition import flow_transition
from samplesmith.samplers.interpolants import Interpolant, Linear
from samplesmith.samplers.transitions import Glass, Transition

MEAN, DEVIATION, PARTICLES = 0.3, 0.5, 50_000
STEPS = (10, 50, 400)
RUNS: dict[str, dict[str, Any]] = {
    "ODE (Euler)": {},
    "Euler-Maruyama, eta 0.7": {"diffusion": "natural", "norm": 0.7 / 2**0.5},
    "PRECISE, eta 0.7": {"integrator": "precise:eta=0.7"},
    "PRECISE, eta sqrt 2": {"integrator": f"precise:eta={2**0.5}"},
    "DDPM": {"integrator": "ddpm"},
    "CPS, eta 0.7": {"integrator": "cps:eta=0.7"},
    "GLASS, 2 inner steps": {"integrator": "glass:inner_steps=2"},
    "GLASS, 5 inner steps": {"integrator": "glass:inner_steps=5"},
    "GLASS, 10 inner steps": {"integrator": "glass:inner_steps=10"},
    "GLASS, rho 0.4, 10 inner steps": {"integrator": "glass:rho=0.4,inner_steps=10"},
}
STEP, INNER = (0.7, 0.4), (1, 2, 4, 10, 20)


def posterior(x: torch.Tensor, alpha: Any, sigma: Any, mean: float, deviation: float) -> torch.Tensor:
    """E[x_0 | x_t = x] for data N(mean, deviation^2) on a path."""
    return mean + alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2) * (x - alpha * mean)


def affine_steps(
    transition: Transition, times: torch.Tensor, path: Interpolant, mean: float, deviation: float
) -> list[tuple[float, float, float]]:
    """Each step of a run with the exact model as x' = slope x + spread z + shift: three probes of its kernels."""
    kernels, calls = transition.along(times, path), transition.call_times(times, path)
    begin = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    steps, x, kept = [], begin, ()
    for call in range(len(calls) - 1):
        alpha, sigma = path.alpha(calls[call]), path.sigma(calls[call])
        x0 = posterior(x, alpha, sigma, mean, deviation)
        begins = call % transition.model_calls == 0
        x, _, kept = kernels.step(call, x, x0, (x - alpha * x0) / sigma, z if begins else None, kept)
        if (call + 1) % transition.model_calls == 0 or call == len(calls) - 2:
            shift, slope, spread = x[0].item(), (x[1] - x[0]).item(), (x[2] - x[0]).item()
            steps.append((slope, spread, shift))
            x, kept = begin, ()
    return steps


def gaussian_end(
    transition: Transition, times: torch.Tensor, path: Interpolant, mean: float, deviation: float
) -> tuple[float, float]:
    """Exact mean and variance of a run's end that begins in the marginal of its first time."""
    alpha, sigma = path.alpha(times[0]).item(), path.sigma(times[0]).item()
    m, v = alpha * mean, alpha**2 * deviation**2 + sigma**2
    for slope, spread, shift in affine_steps(transition, times, path, mean, deviation):
        m, v = slope * m + shift, slope**2 * v + spread**2
    return m, v


def sampled_end(scheduler: FlowSDEScheduler, steps: int, particles: int) -> torch.Tensor:
    """Where particles end that the scheduler leads."""
    generator = torch.Generator().manual_seed(0)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    x = torch.randn(particles, 1, generator=generator)
    for sigma, t in zip(scheduler.sigmas.double(), scheduler.timesteps, strict=False):
        velocity = (x - posterior(x.double(), 1 - sigma, sigma, MEAN, DEVIATION)) / sigma
        (x,) = scheduler.step(velocity.float(), t, x, generator=generator, return_dict=False)
    return x.flatten()


def runs(particles: int) -> list[dict[str, Any]]:
    """A row for each transition."""
    rows = []
    for name, settings in RUNS.items():
        scheduler = FlowSDEScheduler(**settings)
        transition, ends = flow_transition(scheduler.config), []
        for steps in STEPS:
            times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
            mean, variance = gaussian_end(transition, times, Linear(), MEAN, DEVIATION)
            sampled = sampled_end(scheduler, steps, particles)
            error = variance * (2 / particles) ** 0.5
            ends.append(
                {"steps": steps, "mean": mean, "variance": variance, "sampled_mean": sampled.mean().item(),
                 "sampled_variance": sampled.var().item(), "standard_error": error}
            )  # fmt: skip
            print(f"{name:32} {steps:4} steps  variance {variance:.4f}, of particles {sampled.var().item():.4f}")
        rows.append(
            {"transition": name, "settings": settings, "model_calls_per_step": transition.model_calls, "ends": ends}
        )
    return rows


def one_step(inner_steps: int) -> float:
    """Variance of x' given x in one GLASS step of rho_DDPM."""
    times = torch.tensor(STEP, dtype=torch.float64)
    ((_, spread, _),) = affine_steps(Glass(inner_steps=inner_steps), times, Linear(), MEAN, DEVIATION)
    return spread**2


def true_variance() -> float:
    """Var(x' | x) of that step: of the transition given z, and of z given x."""
    t, end = STEP
    rho = end * (1 - t) / (t * (1 - end))
    posterior_variance = DEVIATION**2 * t**2 / ((1 - t) ** 2 * DEVIATION**2 + t**2)
    return end**2 * (1 - rho**2) + (1 - end - rho * end / t * (1 - t)) ** 2 * posterior_variance


def table(result: dict[str, Any]) -> str:
    """The runs in Markdown."""
    titles = ["transition", "model calls per step", *(f"{steps} steps" for steps in STEPS)]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in result["runs"]:
        cells = (f"{end['variance']:.3f}" for end in row["ends"])
        lines.append(f"| {row['transition']} | {row['model_calls_per_step']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, default=PARTICLES)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = {
        "data": {"mean": MEAN, "deviation": DEVIATION, "variance": DEVIATION**2},
        "times": "t from 1 to 0 of the linear path, even steps; the model is exact",
        "particles": arguments.particles,
        "runs": runs(arguments.particles),
        "glass_step": {
            "t": STEP[0], "t_next": STEP[1], "true_variance": true_variance(),
            "variance_by_inner_steps": {str(inner): one_step(inner) for inner in INNER},
        },
    }  # fmt: skip
    print(result["glass_step"])
    print(table(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
