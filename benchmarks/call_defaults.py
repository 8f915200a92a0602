"""What a shipped model's card should name as its call: schedulers, numbers of steps and guidance scales, by the judge.

    python benchmarks/call_defaults.py --output benchmarks/results/call_defaults.json
    python benchmarks/call_defaults.py --model emoji-turbo --output benchmarks/results/call_defaults_turbo.json
    python benchmarks/call_defaults.py --model emoji-sd --output benchmarks/results/call_defaults_sd.json

Every setting draws the same noises for the validation prompts, so that each is paired with the first by prompt, with
95 % bootstrap intervals over prompts. A setting is on record as soon as it is measured; a rerun with the same --output
goes on.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import samplesmith
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from prompt_files import HARD, read_evenly
from samplesmith.evaluation.comparison import bootstrap_mean, paired_difference
from samplesmith.samplers.compat import is_linear_flow
from samplesmith.verifiers import load_verifier

VALIDATION = HARD.parent / "validation.txt"
BATCH = 20


def dpm_solver(own: Any, shift: float) -> DPMSolverMultistepScheduler:
    """Of first order: Euler's steps, on a grid that ends above 0."""
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=1
    )


SOLVERS: dict[str, Callable[[Any, float], Any]] = {
    "euler": lambda own, shift: FlowMatchEulerDiscreteScheduler(shift=shift),
    "dpm-solver": dpm_solver,
    "ddim": lambda own, shift: DDIMScheduler.from_config(own.config),
    "dpm-solver++": lambda own, shift: DPMSolverMultistepScheduler.from_config(own.config),
}
SETTINGS = (
    ("euler", 1, 28, 3.0),
    ("euler", 1, 28, 2.0),
    ("euler", 1, 28, 4.0),
    ("euler", 2, 12, 3.0),
    ("euler", 3, 8, 3.0),
    ("dpm-solver", 2, 12, 3.0),
    ("dpm-solver", 2, 8, 3.0),
    ("dpm-solver", 2, 8, 4.0),
    ("dpm-solver", 1, 6, 3.0),
    ("dpm-solver", 2, 6, 3.0),
    ("dpm-solver", 3, 6, 3.0),
    ("dpm-solver", 2, 4, 3.0),
    ("dpm-solver", 3, 4, 3.0),
)
"""Solver, shift of its grid, number of steps, guidance scale; the others are compared with the first."""
OF_STUDENTS = tuple(("dpm-solver", 2, steps, 1.0) for steps in (6, 1, 2, 4, 8))
"""Of models that are called without guidance."""
OF_DIFFUSION = (
    *(("ddim", 1, 28, scale) for scale in (3.0, 4.5, 2.0)),
    ("dpm-solver++", 1, 12, 3.0),
    ("ddim", 1, 50, 3.0),
)
"""Of models that predict noise; their grids know no shift."""


def settings_of(pipe: Any, model: str) -> tuple[tuple[str, float, int, float], ...]:
    """What is tried of a model."""
    if not is_linear_flow(pipe.scheduler):
        return OF_DIFFUSION
    return SETTINGS if samplesmith.assets.call_defaults(model)["guidance_scale"] > 1 else OF_STUDENTS


def measure(pipe: Any, judge: Any, prompts: list[str], seeds: int, call: dict[str, Any]) -> np.ndarray:
    """Which draws the judge finds right: (prompts, seeds)."""
    right = np.zeros((len(prompts), seeds))
    for seed in range(seeds):
        for start in range(0, len(prompts), BATCH):
            asked = prompts[start : start + BATCH]
            generators = [torch.Generator().manual_seed(1000 * seed + start + k) for k in range(len(asked))]
            images = pipe(asked, generator=generators, output_type="pt", **call).images
            right[start : start + len(asked), seed] = judge((images.clamp(0, 1) * 255).round() / 255, asked).numpy()
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the table")
    parser.add_argument("--model", default="emoji-sd3", help="shipped, for captions")
    parser.add_argument("--judge", default="emoji-detector")
    parser.add_argument("--prompt-file", type=Path, default=VALIDATION)
    parser.add_argument("--seeds", type=int, default=4, help="draws of each prompt")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pipe, judge = samplesmith.load(arguments.model), load_verifier(arguments.judge)
    pipe.set_progress_bar_config(disable=True)
    prompts = read_evenly(arguments.prompt_file)
    about = {"model": arguments.model, "judge": judge.name, "prompts": len(prompts), "seeds": arguments.seeds}
    found: dict[str, Any] = {**about, "rows": []}
    if arguments.output.exists() and (kept := json.loads(arguments.output.read_text())).items() >= about.items():
        found = kept
    own, call = pipe.scheduler, samplesmith.assets.call_defaults(arguments.model)
    for solver, shift, steps, guidance_scale in settings_of(pipe, arguments.model):
        setting = {"solver": solver, "shift": shift, "steps": steps, "guidance_scale": guidance_scale}
        if any(row.items() >= setting.items() for row in found["rows"]):
            continue
        pipe.scheduler, start = SOLVERS[solver](own, shift), time.perf_counter()
        call |= {"num_inference_steps": steps, "guidance_scale": guidance_scale}
        right = measure(pipe, judge, prompts, arguments.seeds, call).mean(1)
        first = found["rows"][0]["by prompt"] if found["rows"] else right
        row = {
            **setting,
            "success": asdict(bootstrap_mean(right)),
            "against the first": asdict(paired_difference(right, first)),
            "seconds a picture": (time.perf_counter() - start) / right.size / arguments.seeds,
            "by prompt": right.tolist(),
        }
        found["rows"].append(row)
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")
        print(
            *setting.values(), bootstrap_mean(right), "against the first", paired_difference(right, first), flush=True
        )


if __name__ == "__main__":
    main()
