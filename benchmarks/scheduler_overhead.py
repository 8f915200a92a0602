"""What our schedulers add to a step: time over the parent's, as a share of one model forward, and host syncs.

    python benchmarks/scheduler_overhead.py --output benchmarks/results/scheduler_overhead.json

Each of ours and its parent step the same tensors in turn. The model is emoji-sd3's transformer at its own latent shape.
Larger shapes have no model here: there the table gives the ratio to the parent only.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import samplesmith
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

STEPS = 20
PARENTS = {
    "ddim": DDIMScheduler,
    "pndm": lambda: PNDMScheduler(skip_prk_steps=True),
    "dpmsolver++": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "flow-euler": FlowMatchEulerDiscreteScheduler,
}
OURS = {
    f"TimeShift {solver}": (solver, lambda parent: TimeShiftScheduler.from_scheduler(parent, window=80, cutoff=0))
    for solver in PARENTS
} | {
    "FlowSDE ode": ("flow-euler", lambda parent: FlowSDEScheduler.from_scheduler(parent, kind="ode")),
    "FlowSDE heun": ("flow-euler", lambda parent: FlowSDEScheduler.from_scheduler(parent, integrator="heun")),
    "FlowSDE sde": ("flow-euler", lambda parent: FlowSDEScheduler.from_scheduler(parent, diffusion="square")),
    "FlowSDE sde, vp": (
        "flow-euler",
        lambda parent: FlowSDEScheduler.from_scheduler(parent, diffusion="natural", interpolant="vp"),
    ),
}
SHAPES = ((1, 8, 16, 16), (8, 8, 16, 16), (1, 4, 64, 64), (16, 16, 128, 128))
MODEL_SHAPES = SHAPES[:2]


class Syncs(TorchDispatchMode):
    """Counts reads of a tensor by the host."""

    def __init__(self):
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def loop(scheduler, x: Tensor, output: Tensor) -> float:
    """Seconds a call of `step` in a whole run, as a pipeline makes it."""
    scheduler.set_timesteps(STEPS)
    scales = hasattr(scheduler, "scale_model_input")
    spent = 0.0
    for t in scheduler.timesteps:
        started = time.perf_counter()
        if scales:
            scheduler.scale_model_input(x, t)
        scheduler.step(output, t, x, return_dict=False)
        spent += time.perf_counter() - started
    return spent / len(scheduler.timesteps)


def syncs(scheduler, x: Tensor, output: Tensor) -> int:
    scheduler.set_timesteps(STEPS)
    with Syncs() as counted:
        for t in scheduler.timesteps:
            if hasattr(scheduler, "scale_model_input"):
                scheduler.scale_model_input(x, t)
            scheduler.step(output, t, x, return_dict=False)
    return counted.found


def forward_seconds(transformer, rows: int, rounds: int) -> float:
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "hidden_states": torch.randn(rows, 8, 16, 16, generator=generator),
        "encoder_hidden_states": torch.randn(rows, 15, transformer.config.joint_attention_dim, generator=generator),
        "pooled_projections": torch.randn(rows, transformer.config.pooled_projection_dim, generator=generator),
        "timestep": torch.full((rows,), 500.0),
    }
    values = []
    for _ in range(rounds + 3):
        started = time.perf_counter()
        transformer(**inputs)
        values.append(time.perf_counter() - started)
    return statistics.median(values[3:])


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "low": ordered[len(ordered) // 10],
        "median": statistics.median(ordered),
        "high": ordered[-1 - len(ordered) // 10],
    }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformer = samplesmith.load("emoji-sd3").transformer
    forwards = {shape: forward_seconds(transformer, shape[0], arguments.rounds) for shape in MODEL_SHAPES}
    rows = []
    for shape in SHAPES:
        rounds = arguments.rounds if shape in MODEL_SHAPES else max(3, arguments.rounds // 10)
        x, output = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).unbind()
        for name, (solver, wrap) in OURS.items():
            parent = PARENTS[solver]()
            ours = wrap(PARENTS[solver]())
            added, ratios = [], []
            for k in range(rounds + 1):
                first, second = (parent, ours) if k % 2 else (ours, parent)
                seconds = {id(one): loop(one, x, output) for one in (first, second)}
                if k >= 1:  # the first warms up
                    added.append(seconds[id(ours)] - seconds[id(parent)])
                    ratios.append(seconds[id(ours)] / seconds[id(parent)])
            row = {
                "scheduler": name,
                "shape": list(shape),
                "rounds": rounds,
                "microseconds_added": {key: 1e6 * value for key, value in spread(added).items()},
                "ratio_to_parent": spread(ratios),
                "host_syncs": syncs(ours, x, output),
                "host_syncs_of_parent": syncs(parent, x, output),
            }
            if shape in forwards:
                row["share_of_a_forward"] = {key: value / forwards[shape] for key, value in spread(added).items()}
            rows.append(row)
            share = f"{row['share_of_a_forward']['median']:7.2%}" if shape in forwards else "      -"
            print(
                f"{name:22} {shape!s:18} +{row['microseconds_added']['median']:8.0f} us  {share} of a forward  "
                f"x{row['ratio_to_parent']['median']:.2f}  syncs {row['host_syncs']} ({row['host_syncs_of_parent']})",
                flush=True,
            )
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "steps": STEPS,
        "forward_milliseconds": {str(list(shape)): 1e3 * value for shape, value in forwards.items()},
        "rows": rows,
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
