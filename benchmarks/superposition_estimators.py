"""Log-densities by Ito's sum, by Radon-Nikodym, and by Hutchinson's divergence: error, and time on a real network.

    PYTHONPATH=tests python benchmarks/superposition_estimators.py --output results.json

Two mixtures of Gaussians in 16 dimensions with exact scores, the mean of both, `GROUPS` samples; errors at the last
noisy sample, the estimates begun at the exact densities where tracking begins. "errors": each estimator and integrator,
by steps. "hutchinson": all estimators on the same trajectories. Hutchinson's is d log q = -g^2 / 2 (div s + |s|^2) dt +
<s, dy> with the trapezoidal rule, which holds along any path, and one Rademacher probe per model and step (a jvp, as
SuperDiff compares with). "cost": CPU seconds of a step of emoji-sd3's transformer for two prompts, with what each
estimator adds; medians of `REPEATS` rounds in turn, one thread. docs/superposition.md has the tables that are printed,
of benchmarks/results/superposition_estimators.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import superposed_worlds as worlds
import torch
from known_mixtures import Mixture, sixteen
from samplesmith.samplers.superposition import ESTIMATORS, INTEGRATORS, Step, SuperposedRun, steps_along
from samplesmith.samplers.superposition.operators import make_operator
from samplesmith.samplers.superposition.scores import Scores

STEPS = (25, 50, 100, 250, 1000)
COMPARED = (25, 50, 100, 250)
GROUPS, REPEATS = 500, 25
PATHS = {"vp": "Stable Diffusion's path", "flow": "linear path"}


class Divergence:
    """Hutchinson's estimate along the path of a run, from the tracked step on."""

    def __init__(self, mixtures: list[Mixture], draw: torch.Generator):
        self.mixtures, self.draw = mixtures, draw
        self.total: torch.Tensor | None = None
        self._before: tuple[torch.Tensor, torch.Tensor, torch.Tensor, float] | None = None

    def see(self, x: torch.Tensor, alpha: Any, sigma: Any, tracked: bool) -> None:
        """A sample of the path, and whether the step that leads on from it is tracked."""
        y, s = x / alpha, float(sigma / alpha)
        parts = [self._of(one, x, alpha, sigma) for one in self.mixtures]
        scores = torch.stack([eps for eps, _ in parts], 1) / -s
        rate = torch.stack([trace for _, trace in parts], 1) * float(-alpha / s) + scores.square().sum(2)
        if self._before is not None:
            y_before, scores_before, rate_before, s_before = self._before
            along = ((scores + scores_before) / 2 * (y - y_before)[:, None]).sum(2)
            change = along - (s_before**2 - s**2) / 2 * (rate + rate_before) / 2
            self.total = change if self.total is None else self.total + change
        self._before = (y, scores, rate, s) if tracked else None

    def _of(self, mixture: Mixture, x: torch.Tensor, alpha: Any, sigma: Any) -> tuple[torch.Tensor, torch.Tensor]:
        probe = torch.randint(0, 2, x.shape, generator=self.draw).to(x) * 2 - 1
        eps, tangent = torch.func.jvp(lambda one: mixture.eps(one, alpha, sigma), (x,), (probe,))
        return eps, (probe * tangent).sum(1)


def run(grid: str, integrator: str, estimator: str, steps: int, hutchinson: bool = False) -> dict[str, float]:
    """Root mean square errors, in nats, of one log-density and of the difference of two."""
    mixtures = sixteen()
    draw, probes = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    alphas, sigmas = worlds.GRIDS[grid](steps)
    table = steps_along(alphas, sigmas, integrator)
    superposed = SuperposedRun(table, make_operator("mean", 2), ESTIMATORS[estimator](), 2)
    divergence = Divergence(mixtures, probes) if hutchinson else None
    x = torch.randn(GROUPS, 16, generator=draw, dtype=torch.float64)
    offset, true, known, other = None, None, None, None
    for call, step in enumerate(table):
        alpha, sigma = alphas[call], sigmas[call]
        if step.tracked and offset is None:
            offset = _truth(mixtures, x, alpha, sigma)
        if offset is not None and divergence is not None:
            divergence.see(x, alpha, sigma, step.tracked)
        if call == len(table) - 1:
            true, densities = _truth(mixtures, x, alpha, sigma), superposed.densities
            known = densities.relative + densities.common[:, None] + offset
            # Ito's sum is of x, the divergence form of y = x / alpha: their densities differ by the change of scale.
            scale = -16 * float(torch.log(alpha / _first_alpha(table, alphas)))
            other = None if divergence is None else divergence.total + offset + scale
        noise = torch.randn(x.shape, generator=draw, dtype=torch.float64) if step.std else None
        x0 = torch.stack([one.clean(x, alpha, sigma) for one in mixtures], 1)
        x, _ = superposed.step(call, x, x0, (x[:, None] - alpha * x0) / sigma, noise)
    return _errors(known, true) if other is None else _errors(other, true)


def _first_alpha(table: list[Step], alphas: torch.Tensor) -> torch.Tensor:
    return next(alpha for step, alpha in zip(table, alphas, strict=False) if step.tracked)


def _truth(mixtures: list[Mixture], x: torch.Tensor, alpha: Any, sigma: Any) -> torch.Tensor:
    return torch.stack([one.log_density(x, alpha, sigma) for one in mixtures], 1)


def _errors(known: torch.Tensor, true: torch.Tensor) -> dict[str, float]:
    error, gap = known - true, true[:, 0] - true[:, 1]
    apart = error[:, 0] - error[:, 1]
    return {
        "log_density": float(error.square().mean().sqrt()),
        "difference": float(apart.square().mean().sqrt()),
        "spread_of_differences": float(gap.std()),
    }


def cost() -> dict[str, Any]:
    """CPU seconds of a step for two prompts of emoji-sd3, by how the densities are estimated."""
    import samplesmith

    torch.set_num_threads(1)
    pipe = samplesmith.load("emoji-sd3")
    states, _, pooled, _ = pipe.encode_prompt(
        ["with a cat", "with a dog"], None, None, do_classifier_free_guidance=False, max_sequence_length=1
    )
    x = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1).contiguous()
    probe = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(1)).float() * 2 - 1
    when = torch.full((2,), 500.0)

    def velocity(sample: torch.Tensor) -> torch.Tensor:
        return pipe.transformer(sample, states, pooled, when, return_dict=False)[0]

    (step,) = steps_along([0.5, 0.55], [0.5, 0.45], "ancestral")
    noise = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(2))

    def along(name: str) -> Callable[[], Any]:
        estimator = ESTIMATORS[name]()

        def one() -> Any:
            found = velocity(x)
            x0, eps = (x - 0.5 * found)[None], (x + 0.5 * found)[None]
            scores = Scores.measured(x0, eps, x[:1], noise, 2, step)
            return estimator.change(scores, scores.row(-1), step)

        return one

    def hutchinson() -> Any:
        found, tangent = torch.func.jvp(velocity, (x,), (probe,))
        return found, (probe * tangent).flatten(1).sum(1)

    ways = {"no densities": lambda: velocity(x), **{name: along(name) for name in ESTIMATORS}, "hutchinson": hutchinson}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        for _ in range(REPEATS + 2):
            for name, way in ways.items():
                began = time.process_time()
                way()
                taken[name].append(time.process_time() - began)
    return {name: statistics.median(values[2:]) for name, values in taken.items()}


def errors_table(results: dict[str, Any]) -> str:
    """Errors by steps, of one log-density and of the difference."""
    lines = [
        "| path | steps by | estimator | " + " | ".join(f"{n:,} steps" for n in STEPS) + " |",
        "|---|---|---|" + "---|" * len(STEPS),
    ]
    known = {(one["grid"], one["integrator"], one["estimator"], one["steps"]): one for one in results["errors"]}
    for grid, path in PATHS.items():
        for integrator in INTEGRATORS:
            for estimator in ("ito", "rne"):
                rows = [known[grid, integrator, estimator, n] for n in STEPS]
                cells = (f"{row['log_density']:.2f} / {row['difference']:.2f}" for row in rows)
                lines.append(f"| {path} | `{integrator}` | `{estimator}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def hutchinson_table(results: dict[str, Any]) -> str:
    """Errors of all estimators on the same trajectories, and the time of a step."""
    lines = [
        "| estimator | " + " | ".join(f"{n} steps" for n in COMPARED) + " | a step of emoji-sd3, ms |",
        "|---|" + "---|" * (len(COMPARED) + 1),
    ]
    known = {(one["estimator"], one["steps"]): one for one in results["hutchinson"]}
    for estimator in ("ito", "rne", "hutchinson"):
        rows = [known[estimator, n] for n in COMPARED]
        cells = (f"{row['log_density']:.2f} / {row['difference']:.2f}" for row in rows)
        lines.append(f"| `{estimator}` | " + " | ".join(cells) + f" | {1000 * results['cost'][estimator]:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output
    errors = [
        {"grid": grid, "integrator": integrator, "estimator": estimator, "steps": steps}
        | run(grid, integrator, estimator, steps)
        for grid in PATHS
        for integrator in INTEGRATORS
        for estimator in ESTIMATORS
        for steps in STEPS
    ]
    hutchinson = [
        {"estimator": name, "steps": steps}
        | run("flow", "ancestral", "rne" if name == "hutchinson" else name, steps, name == "hutchinson")
        for name in ("ito", "rne", "hutchinson")
        for steps in COMPARED
    ]
    results = {"groups": GROUPS, "errors": errors, "hutchinson": hutchinson, "cost": cost()}
    output.write_text(json.dumps(results, indent=1) + "\n")
    print(errors_table(results), hutchinson_table(results), results["cost"], sep="\n\n")


if __name__ == "__main__":
    main()
