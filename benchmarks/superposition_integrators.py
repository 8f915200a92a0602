"""What superposition's two integrators make of the same pairs at 25, 50 and 100 steps: the default is chosen from it.

    python benchmarks/superposition_integrators.py                       # emoji-sd3, 8 pairs, 5 seeds
    python benchmarks/superposition_integrators.py --pairs 2 --seeds 2 --steps 3 4 --work /tmp/x --output /tmp/x.json

AND of two objects, and one of them alone, as `superposition.py` measures them: the share of images in the asked set by
emoji-detector, emoji-clip's score of the prompt that is met worst, and the kernel distance to drawn scenes of the set.
Images lie in --work, where those of `superposition.py` of as many seeds serve too; a rerun makes what is missing.
Intervals are of 95 %, by a bootstrap over pairs; differences are of the default over the other, pair by pair.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samplesmith.evaluation.comparison import bootstrap_mean, paired_difference
from samplesmith.samplers.superposition import INTEGRATORS
from samplesmith.valid_json import to_json
from superposition import ROOT, Made, Measures, arms_of
from superposition_cells import DEFAULT_INTEGRATOR, Jobs, draw_pairs

TASKS = ("A and B", "A")
MEASURES = ("right", "min_clip", "kid")


def compared(arms: dict[str, dict[str, list[float]]], steps: list[int]) -> dict[str, Any]:
    """Means of each arm, and by task and steps what the default integrator has over the other.

    Args:
        arms: values by "task: integrator, n steps" and measure, one per pair.
        steps: that were run.
    """
    (other,) = (one for one in INTEGRATORS if one != DEFAULT_INTEGRATOR)
    means = {
        name: {measure: asdict(bootstrap_mean(values)) for measure, values in of.items()} for name, of in arms.items()
    }

    def gain(task: str, count: int, measure: str) -> dict[str, Any]:
        ours, theirs = (arms[f"{task}: {one}, {count} steps"][measure] for one in (DEFAULT_INTEGRATOR, other))
        return asdict(paired_difference(ours, theirs))

    gains = {
        f"{task}, {count} steps": {measure: gain(task, count, measure) for measure in MEASURES}
        for task in TASKS
        for count in steps
    }
    return {"arms": means, f"{DEFAULT_INTEGRATOR} over {other}": gains}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji-sd3")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--work", type=Path, default=ROOT / "outputs/superposition")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/superposition_integrators.json")
    given = parser.parse_args(argv)
    if min(given.pairs, given.seeds) < 2:
        parser.error("a kernel distance takes 2 seeds, and an interval 2 pairs; give at least 2 of each")
    jobs = Jobs(given.model, given.steps[0], given.seeds)
    cells = jobs.integrators(draw_pairs(given.pairs, seed=0), given.steps)
    arms = arms_of(cells, Made(given.model, given.work), Measures())
    sizes = {name: getattr(given, name) for name in ("model", "pairs", "seeds", "steps")}
    found = to_json({**sizes, **compared(arms, given.steps)}, indent=1)
    given.output.write_text(found + "\n")
    print(found)


if __name__ == "__main__":
    main()
