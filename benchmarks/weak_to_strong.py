"""Guidance methods on a curve of scales, each at its best: judge, distance to real scenes, diversity, NFEs and seconds.

    python benchmarks/weak_to_strong.py --weak assets/emoji-sd3-weak --output benchmarks/results/weak_to_strong.json

Preference for a scale is no merit of a method, so none is compared at one scale:
- each method's scale is chosen by the judge's success on validation prompts, then it and its neighbours are run once on
  hard prompts, paired by prompt with plain guidance at its own best;
- GA-Eval (arXiv 2602.22570): the effective scale of each method's steps (`evaluation/effective_scale.py`), and plain
  guidance at that scale on the same prompts and seeds: does the method still win? Of flows only.
- loop time of fast over plain guidance, the two in turns, at batch 8 and 1.
What was made is kept in `--folder`, batch by batch: a killed run goes on. `--prompts`, `--seeds` and `--scales` make it
small.
"""

import argparse
import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import samplesmith
import torch
from guidance_cells import METHODS, Cells, Outcome, denoiser_of
from prompt_files import HARD, read_evenly
from samplesmith import scenes
from samplesmith.evaluation.comparison import bootstrap_mean, paired_difference
from samplesmith.evaluation.diversity import diversity
from samplesmith.evaluation.fid import compare_features
from samplesmith.models.weak_model import WeakModel
from samplesmith.pipelines.on_device import load_on_device
from samplesmith.verifiers import load_verifier
from samplesmith.verifiers.identity import hash_weights

SCALES = (1.0, 1.5, 2.0, 3.0, 4.5, 6.0)
VALIDATION = HARD.with_name("validation.txt")
PROJECTED_PROMPTS = 16
LEAST_LOSS = -0.03
"""How far fast may fall below plain guidance's best, by the lower bound of the paired difference."""


def by_prompt(outcome: Outcome) -> np.ndarray:
    """Share of right pictures of each prompt."""
    return outcome.right.mean(1)


def chosen_scale(curve: dict[float, float]) -> float:
    """The scale of the highest success; of equal ones the lowest."""
    return min(curve, key=lambda scale: (-curve[scale], scale))


def neighbours(scale: float, scales: list[float]) -> list[float]:
    """A scale and those beside it on the curve."""
    place = scales.index(scale)
    return scales[max(place - 1, 0) : place + 2]


@torch.no_grad()
def real_features(eyes: Any, prompts: list[str], count: int, seed: int = 7) -> np.ndarray:
    """Features of drawn scenes of which the prompts are true, (prompts, count, dim)."""
    rng = np.random.default_rng(seed)
    asked = [scenes.sample_true(rng, scenes.parse(prompt)) for prompt in prompts for _ in range(count)]
    pictures = np.stack([scenes.draw(rng, scene).image for scene in asked])
    parts = [
        eyes.image_features(torch.from_numpy(part).movedim(-1, 1).float() / 255).numpy()
        for part in np.array_split(pictures, -(-len(pictures) // 64))
    ]
    return np.concatenate(parts).reshape(len(prompts), count, -1)


def measured(outcome: Outcome, real: np.ndarray) -> dict[str, Any]:
    """Figures of a cell."""
    flat = [torch.from_numpy(one.reshape(-1, one.shape[-1])) for one in (real, outcome.features)]
    subset = max(2, min(len(flat[0]), len(flat[1])) // 2)
    distance = compare_features(*flat, kid_subset_size=subset)
    spread = [diversity(one) for one in outcome.features] if outcome.features.shape[1] > 1 else []
    return {
        "success": asdict(bootstrap_mean(by_prompt(outcome))),
        "kid": distance.kid_mean,
        "kid_std": distance.kid_std,
        "diversity": asdict(bootstrap_mean(spread)) if spread else None,
        "nfe": outcome.nfe,
        "seconds": outcome.seconds,
    }


def choose(cells: Cells, methods: list[str], scales: list[float], prompts: list[str], seeds: int) -> dict[str, Any]:
    """Success by scale on validation prompts, and the scale of each method."""
    found = {}
    for method in methods:
        curve = {scale: float(cells.outcome(method, scale, prompts, seeds).right.mean()) for scale in scales}
        found[method] = {"chosen": chosen_scale(curve), "success": curve}
        print(f"{method:16} {found[method]}", flush=True)
    return found


def finals(
    cells: Cells, chosen: dict[str, float], scales: list[float], prompts: list[str], seeds: int, real: np.ndarray
) -> dict[str, Any]:
    """Each method at its scale and the ones beside it, and plain guidance at its effective scale, on hard prompts."""
    rival = by_prompt(cells.outcome("CFG", chosen["CFG"], prompts, seeds))
    validation = read_evenly(VALIDATION, PROJECTED_PROMPTS)
    rows: dict[str, Any] = {}
    for method, best in chosen.items():
        outcome = cells.outcome(method, best, prompts, seeds)
        row = {"scale": best, **measured(outcome, real)}
        row["beside"] = {
            scale: measured(cells.outcome(method, scale, prompts, seeds), real)["success"]
            for scale in neighbours(best, scales)
            if scale != best
        }
        row["minus CFG"] = asdict(paired_difference(by_prompt(outcome), rival))
        if cells.is_flow:
            effective = cells.scale_of(method, best, validation)
            plain = cells.outcome("CFG", round(effective, 1), prompts, seeds)
            row["effective scale"] = effective
            row["CFG at the effective scale"] = measured(plain, real)["success"]
            row["minus CFG at the effective scale"] = asdict(paired_difference(by_prompt(outcome), by_prompt(plain)))
        rows[method] = row
        print(f"{method:16} {row}", flush=True)
    return rows


def targets(cells: Cells, rows: dict[str, Any], prompts: list[str], seeds: int, seconds: dict[str, Any]) -> Any:
    """What was aimed at, and whether it was reached."""
    found: dict[str, Any] = {"fast over CFG in loop time at batch 8 at most 0.60": seconds["8"]["ratio"] <= 0.6}
    if "fast" in rows:
        found[f"fast minus CFG at least {LEAST_LOSS} (lower bound)"] = rows["fast"]["minus CFG"]["low"] >= LEAST_LOSS
    if "slow" in rows:
        found["slow above CFG's best"] = rows["slow"]["minus CFG"]["low"] > 0
    if {"fast after 30 %", "interval"} <= rows.keys():
        pair = [
            by_prompt(cells.outcome(name, rows[name]["scale"], prompts, seeds))
            for name in ("fast after 30 %", "interval")
        ]
        difference = paired_difference(*pair)
        found["fast after 30 % above interval at equal NFEs"] = {**asdict(difference), "reached": difference.low > 0}
    return found


def loop_times(cells: Cells, scale: float, rounds: int) -> dict[str, Any]:
    """Loop time of fast over that of plain guidance, round by round."""
    found = {}
    for batch in (8, 1):
        seconds = cells.loop_seconds(["CFG", "fast"], scale, batch, rounds)
        ratios = sorted(fast / plain for plain, fast in zip(seconds["CFG"], seconds["fast"], strict=True))
        found[str(batch)] = {
            "ratio": statistics.median(ratios),
            "least": ratios[0],
            "most": ratios[-1],
            "seconds": {name: statistics.median(one) for name, one in seconds.items()},
        }
        print(f"batch {batch}: {found[str(batch)]}", flush=True)
    return found


def table(result: dict[str, Any]) -> str:
    """The hard prompts in Markdown."""
    titles = ["", "scale", "NFEs", "s", "right", "minus CFG", "KID", "diversity", "effective scale", "minus CFG there"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]

    def interval(one: dict[str, float] | None) -> str:
        return "" if one is None else f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"

    for method, row in result["hard"].items():
        spread = "" if row["diversity"] is None else f"{row['diversity']['mean']:.3f}"
        effective = f"{row['effective scale']:.2f}" if "effective scale" in row else ""
        cells = [
            method, f"{row['scale']:g}", f"{row['nfe']:.0f}", f"{row['seconds']:.2f}", interval(row["success"]),
            interval(row["minus CFG"]), f"{row['kid']:.4f}", spread, effective,
            interval(row.get("minus CFG at the effective scale")),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weak", type=Path, required=True, help="folder of the weak model")
    parser.add_argument("--model", default="emoji-sd3")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--scales", type=float, nargs="+", default=list(SCALES))
    parser.add_argument("--prompts", type=int, help="of both files, evenly spaced; all when left out")
    parser.add_argument("--seeds", type=int, default=4, help="of the hard prompts; half of them on validation prompts")
    parser.add_argument("--steps", type=int, help="the model's own when left out")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=7, help="of the loop times")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("outputs/weak_to_strong"), help="what was made is kept")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pipe = load_on_device(arguments.model, arguments.dtype)
    judge, eyes = load_verifier("emoji-detector"), load_verifier("emoji-clip")
    call = {**samplesmith.assets.call_defaults(arguments.model)}
    call |= {} if arguments.steps is None else {"num_inference_steps": arguments.steps}
    del call["guidance_scale"]
    run = {
        "model": arguments.model,
        "weights": hash_weights(denoiser_of(pipe))[:16],
        "weak": hash_weights(WeakModel.from_pretrained(arguments.weak))[:16],
        "judge": hash_weights(judge.model)[:16],
        "call": call,
        "dtype": arguments.dtype,
        "methods": METHODS,
    }
    cells = Cells(arguments.folder, pipe, judge, eyes, call, arguments.weak, run)
    hard, validation = read_evenly(HARD, arguments.prompts), read_evenly(VALIDATION, arguments.prompts)
    methods = list(dict.fromkeys(["CFG", *arguments.methods]))
    scales = sorted(arguments.scales)
    seconds = loop_times(cells, 2.0, arguments.rounds)
    curves = choose(cells, methods, scales, validation, max(1, arguments.seeds // 2))
    chosen = {method: row["chosen"] for method, row in curves.items()}
    real = real_features(eyes, hard, arguments.seeds)
    rows = finals(cells, chosen, scales, hard, arguments.seeds, real)
    result = {
        **run,
        "prompts": {"validation": len(validation), "hard": len(hard)},
        "seeds": {"validation": max(1, arguments.seeds // 2), "hard": arguments.seeds},
        "threads": arguments.threads,
        "loop time of fast over CFG": seconds,
        "validation": curves,
        "hard": rows,
        "targets": targets(cells, rows, hard, arguments.seeds, seconds),
    }
    print(json.dumps(result["targets"], indent=2))
    print(table(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
