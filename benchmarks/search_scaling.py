"""What noise search gains with compute, on hard prompts: strategies against each other, by NFEs and by the clock.

    python benchmarks/search_scaling.py --work outputs/scaling --output benchmarks/results/search_scaling.json

One pool of candidates per number of steps, all with the same noises, serves every arm that selects, by expectation over
the subsets of each prompt's pool: "random" (best-of-k by the guide), "auto" (steps and candidates by the calibration),
"halving" (one early look where the calibration says that it is useful), "auto-halving" (halving at auto's steps),
"drafts" (the best of few-step candidates, made again with all steps), "preview" (random search by the noise-aware
guide, as all arms that end in "-preview"), "ensemble" (ranks of those guides that benchmarks/guide_choice.py found
best), "aesthetic" (the head alone, which shows hacking) and "oracle" (the judge itself chooses). "zero-order" is
searched again for each budget, from two seeds per prompt, on a part of the prompts; halving too, for one budget, to
check that it chooses as the pools predict.

Budgets are those of best-of-k at the default steps; a pool that is too small for a budget is spent whole, and `nfe`
says how much that was. Seconds come from the ledgers: pipeline, decodes, guide and judge, in batches; those of halving
are put together from its steps, decodes and scores; "ensemble" and "aesthetic" lack what their other parts take.
Diversity is the mean cosine distance, in the guide's features, between what two searches of one prompt with different
noises choose. Intervals are of 95 %, by a bootstrap over prompts. Run it in parts with --minutes, --arms, --prompts:
searches that are on record in --work are not made again.
"""

import argparse
import json
import platform
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prompt_files import HARD
from samplesmith.evaluation.figures import new_figure, save_figure
from samplesmith.pipelines.search.auto_steps import names, shipped_calibration
from samplesmith.pipelines.search.calibration import Calibration
from samplesmith.samplers.strategies import Halving
from samplesmith.verifiers import RankEnsemble
from search_arms import (
    Pool,
    Row,
    auto_halving_row,
    auto_row,
    by,
    by_ranks,
    cheapest,
    compare,
    halving_row,
    plain_rival,
    select,
    share_of_oracle,
)
from search_pools import Bench

KS = (1, 2, 4, 8, 16, 32)
MOST_SEARCHED = 16
"""Budgets of zero-order end at best-of-16."""
MEASURES = ("score", "success", "diversity", "aesthetic")
ARMS = (
    "random",
    "auto",
    "halving",
    "auto-halving",
    "drafts",
    "preview",
    "auto-preview",
    "halving-preview",
    "auto-halving-preview",
    "ensemble",
    "aesthetic",
    "oracle",
    "zero-order",
)
OTHERS = ("aesthetic", "preview")
DRAWN = {
    ("random", 28): "#0b6e99",
    ("random", 12): "#4dabf7",
    ("auto", None): "#111111",
    ("halving", 12): "#e8a200",
    ("auto-halving", None): "#8a5a00",
    ("halving-preview", 12): "#12b5cb",
    ("zero-order", 8): "#d6336c",
    ("drafts", 28): "#7a5195",
    ("ensemble", 28): "#2f9e44",
    ("aesthetic", 28): "#ff8787",
    ("oracle", 28): "#999999",
}
"""Arms in the picture, their numbers of steps (None: planned) and colours; the table has all."""
BANDS = ("random", 28), ("auto-halving", None)


def draw(rows: list[dict[str, Any]], judge: str, file: Path) -> None:
    figure = new_figure(12, 15)
    labels = {
        "score": "guide's score of the chosen",
        "success": f"success by {judge}",
        "diversity": "diversity of the chosen",
        "aesthetic": "aesthetic head's score of the chosen",
    }
    for panels, measure in zip(figure.subplots(len(MEASURES), 2, sharey="row"), MEASURES, strict=True):
        for axes, cost in zip(panels, ("nfe", "seconds"), strict=True):
            for (arm, steps), color in DRAWN.items():
                line = [r for r in rows if r["arm"] == arm and steps in (r["steps"], None) and r[measure] is not None]
                if not line or (arm == "oracle" and measure != "success"):
                    continue
                line = sorted({row[cost]: row for row in line}.items())  # a pool that is spent gives the same row again
                x, means = [value for value, _ in line], [row[measure]["mean"] for _, row in line]
                name = f"{arm}, {steps} steps" if steps else arm
                axes.plot(x, means, marker="o", markersize=3, lw=1.4, color=color, label=name)
                if (arm, steps) in BANDS:
                    low, high = ([row[measure][end] for _, row in line] for end in ("low", "high"))
                    axes.fill_between(x, low, high, color=color, alpha=0.12, lw=0)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}")
            axes.set(xlabel="NFEs per prompt" if cost == "nfe" else "seconds per prompt", ylabel=labels[measure])
    named = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(named.values(), named.keys(), loc="outside lower center", frameon=False, fontsize=9, ncols=5)
    save_figure(figure, file)


def read_calibrations(bench: Bench, arguments: argparse.Namespace) -> dict[str, Calibration]:
    """Calibrations by measure: of the guide, and of the noise-aware guide, where there are any."""
    files = {"score": arguments.calibration, "preview": arguments.preview_calibration}
    found = {}
    for measure, file in files.items():
        guide = bench.guides[measure]
        shipped = shipped_calibration(arguments.model, guide.name)
        if not file and (not shipped or Calibration.load(shipped).verifier != guide.name):
            continue  # none of this guide comes with the model
        found[measure] = Calibration.load(file or shipped)
        found[measure].check(**names(bench.pipe, guide, bench.call))
    return found


def halvings(calibrations: dict[str, Calibration], steps: list[int]) -> dict[str, dict[int, Halving]]:
    """By measure of the guide and number of steps, where the calibration has an early step that is useful."""
    found: dict[str, dict[int, Halving]] = {measure: {} for measure in calibrations}
    for measure, calibration in calibrations.items():
        for number in steps:
            ends = Halving().informed(calibration.correlations(number) or {}).ends(number)
            if len(ends) == 2:
                found[measure][number] = Halving(rungs=ends[:1])
    return found


def measure_all(bench: Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    default = bench.default_steps
    sizes = dict(zip(arguments.steps, arguments.candidates * len(arguments.steps), strict=False))
    calibrations = read_calibrations(bench, arguments)
    for measure, calibration in calibrations.items():
        if missing := {row.num_inference_steps for row in calibration.steps} - set(arguments.steps):
            sys.exit(f"--steps lacks {', '.join(map(str, sorted(missing)))}, which {measure}'s calibration has")
    halving = halvings(calibrations, arguments.steps)
    looks = {
        steps: {measure: found[steps].ends(steps)[0] for measure, found in halving.items() if steps in found}
        for steps in arguments.steps
    }
    pools = {steps: bench.pool(steps, sizes[steps], looks[steps]) for steps in arguments.steps}
    slope, start = np.polyfit(list(pools), [pool.seconds for pool in pools.values()], 1)

    def seconds_of(steps: int) -> float:
        return float(start + slope * steps)

    budgets = {k: k * pools[default].nfe for k in KS if k <= sizes[default]}
    ensemble = RankEnsemble([bench.guides[measure] for measure in arguments.ensemble])
    choosers = {
        "random": by("score"),
        "preview": by("preview"),
        "ensemble": by_ranks(ensemble, tuple(arguments.ensemble)),
        "aesthetic": by("aesthetic"),
        "oracle": by("success"),
    }
    # Arms, their numbers of steps (None: planned) and what they make of a budget.
    arms: list[tuple[str, int | None, Any]] = []
    for arm, chooser in choosers.items():
        for steps in arguments.steps if arm in ("random", "preview") else arguments.base_steps:
            arms.append((arm, steps, partial(_best_of, arm, chooser, pools[steps])))
    for measure, calibration in calibrations.items():
        guided, found = "" if measure == "score" else f"-{measure}", halving[measure]
        halved, planned, both = f"halving{guided}", f"auto{guided}", f"auto-halving{guided}"
        arms += [
            (halved, steps, partial(halving_row, halved, one, pools[steps], measure, seconds_of=seconds_of))
            for steps, one in found.items()
        ]
        arms += [
            (planned, None, partial(auto_row, planned, pools, calibration, measure)),
            (both, None, partial(auto_halving_row, both, pools, calibration, found, measure, seconds_of=seconds_of)),
        ]
    arms.append(("drafts", default, partial(_drafts, pools[arguments.draft_steps], pools[default])))
    arms = [one for one in arms if one[0] in (*arguments.arms, "random", "preview")]
    rows = [row for budget in budgets.values() for *_, row_of in arms if (row := row_of(budget)) is not None]

    reached = {}
    least = max((min(row.nfe for row in one.steps) for one in calibrations.values()), default=0)
    tried = range(least, budgets.get(16, 0) + 1, arguments.grain)
    for arm, steps, row_of in arms if 16 in budgets else ():
        if arm.startswith(("auto", "halving")):
            plain, measure = plain_rival(arm)
            rival = next(r for r in rows if (r.arm, r.steps, r.candidates) == (plain, default, 16))
            name = f"{arm}, {steps} steps" if steps else arm
            reached[name] = cheapest(row_of, tried, rival, measure)
    chosen = np.linspace(0, len(bench.prompts) - 1, min(arguments.searched, len(bench.prompts))).round().astype(int)
    if "zero-order" in arguments.arms:
        for k, budget in budgets.items():
            for steps in arguments.searched_steps if k <= MOST_SEARCHED else ():
                row = bench.searched("zero-order", chosen, pools[steps], k, budget)
                rows += [] if row is None else [row]
    budget = budgets.get(arguments.check_at, max(budgets.values()))
    checks = [
        bench.run_halving(one, measure, pools[steps], row, len(chosen))
        for measure, found in halving.items()
        for steps, one in found.items()
        if steps in arguments.searched_steps
        if (row := halving_row("halving", one, pools[steps], measure, budget, seconds_of)) is not None
    ]
    return {
        "model": arguments.model,
        "call": {**bench.call, "num_inference_steps": default},
        "guide": bench.guide.name,
        "judge": bench.judge.name,
        "ensemble": ensemble.name,
        "prompts": len(bench.prompts),
        "candidates by steps": sizes,
        "early looks by steps": looks,
        "seconds of a candidate by steps": {steps: pool.seconds for steps, pool in pools.items()},
        "seconds of a look by steps": {steps: pool.look_seconds for steps, pool in pools.items()},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "reach best-of-16 at the default steps": reached,
        "halving as it runs": checks,
        "share of the oracle's gain at 16 candidates": share_of_oracle(
            [pools[steps] for steps in arguments.base_steps], choosers, 16
        ),
        "rows": [row.as_dict() for row in rows],
        "against random search": compare(rows, default),
    }


def _best_of(arm: str, chooser: Any, pool: Pool, budget: int) -> Row | None:
    return select(arm, chooser, pool, budget // pool.nfe, budget) if budget >= pool.nfe else None


def _drafts(draft: Pool, made: Pool, budget: int) -> Row | None:
    count = (budget - made.nfe) // draft.nfe
    return select("drafts", by("score"), draft, count, budget, made=made) if count > 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the searches; a rerun goes on from there")
    parser.add_argument("--output", type=Path, help="JSON file of the table; the picture is written beside it")
    parser.add_argument("--model", default="emoji-sd3")
    parser.add_argument("--guide", default="emoji-clip", help="a CLIP model: its features measure diversity")
    parser.add_argument("--judge", default="emoji-detector")
    parser.add_argument("--aesthetic", default="emoji-aesthetic")
    parser.add_argument("--preview", default="emoji-clip-preview")
    parser.add_argument("--ensemble", nargs="+", choices=("score", *OTHERS), default=("score", "preview"))
    parser.add_argument("--calibration", type=Path, help="by the guide; the model's own when left out")
    parser.add_argument("--preview-calibration", type=Path, help="by --preview; the model's own when left out")
    parser.add_argument("--prompt-file", type=Path, default=HARD)
    parser.add_argument("--prompts", type=int, help="how many, evenly spaced in the file; all when left out")
    parser.add_argument("--searched", type=int, default=40, help="prompts of zero-order, and of the checks")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 8, 12, 28])
    parser.add_argument(
        "--candidates", type=int, nargs="+", default=[32], help="one number, or one for each of --steps"
    )
    parser.add_argument(
        "--base-steps",
        type=int,
        nargs="+",
        default=[28, 8],
        help="of ensemble, aesthetic and oracle, and of the guides' shares",
    )
    parser.add_argument("--searched-steps", type=int, nargs="+", default=[8], help="of zero-order, and of the checks")
    parser.add_argument("--check-at", type=int, default=4, help="k of the budget at which halving is run as a check")
    parser.add_argument("--grain", type=int, default=8, help="NFEs between the budgets tried against best-of-16")
    parser.add_argument("--draft-steps", type=int, default=8)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then; a rerun goes on")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if len(arguments.candidates) not in (1, len(arguments.steps)):
        parser.error("--candidates takes one number, or one for each of --steps")
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments)
    if missing := {bench.default_steps, arguments.draft_steps, *arguments.base_steps, *arguments.searched_steps} - set(
        arguments.steps
    ):
        parser.error(f"--steps lacks {', '.join(map(str, sorted(missing)))}, which other arms need")
    found = measure_all(bench, arguments)
    for row in found["rows"]:
        values = "  ".join(f"{m} {row[m]['mean']:.3f}" for m in MEASURES if row[m] is not None)
        print(f"{row['arm']:>10} {row['steps']:>3} steps, {row['nfe']:6.0f} NFEs, {row['seconds']:6.2f} s: {values}")
    print(json.dumps({key: value for key, value in found.items() if key not in ("rows", "call")}, indent=2)[:3000])
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")
        draw(found["rows"], bench.judge.name, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
