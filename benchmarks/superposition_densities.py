"""How far the estimated log-densities of superposition are off, by steps, on Gaussians whose densities are known.

    PYTHONPATH=tests python benchmarks/superposition_densities.py --output results.json

Two 16-dimensional Gaussians of widths 0.5 and 0.9, OR of them, 500 samples; errors at the last noisy sample, the
estimate begun at the exact densities where tracking begins. Prints the table of docs/superposition.md, with the numbers
of benchmarks/results/superposition_densities.json.
"""

import argparse
import json
from pathlib import Path

import superposed_worlds as worlds
from samplesmith.samplers.superposition import ESTIMATORS, INTEGRATORS

STEPS = (10, 25, 50, 100, 200)
PATHS = {"vp": "Stable Diffusion's path", "flow": "linear path"}


def root_mean_square(values):
    return float(values.square().mean().sqrt())


def measured(grid, integrator, estimator, steps):
    world = worlds.World.of(16, (0.5, 0.9), (0.3, -0.3))
    out = worlds.superposed(world, grid, steps, estimator=estimator, integrator=integrator)
    return {
        "grid": grid,
        "integrator": integrator,
        "estimator": estimator,
        "steps": steps,
        "log_density": root_mean_square(out.error),
        "difference": root_mean_square(out.gap_error),
        "spread_of_differences": float(out.true_gap.std()),
    }


def table(results):
    """The table of docs/superposition.md: the default integrator's, absolute and difference."""
    steps = (10, 50, 200)
    lines = [
        "| path | estimator | " + " | ".join(f"{n} steps" for n in steps) + " |",
        "|---|---|" + "---|" * len(steps),
    ]
    known = {(one["grid"], one["integrator"], one["estimator"], one["steps"]): one for one in results}
    for grid, path in PATHS.items():
        for estimator in ("ito", "rne"):
            rows = [known[grid, "ancestral", estimator, n] for n in steps]
            cells = (f"{row['log_density']:.2f} / {row['difference']:.2f}" for row in rows)
            lines.append(f"| {path} | `{estimator}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output
    results = [
        measured(grid, integrator, estimator, steps)
        for grid in PATHS
        for integrator in INTEGRATORS
        for estimator in ESTIMATORS
        for steps in STEPS
    ]
    output.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
