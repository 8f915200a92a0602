"""What noise search gains with compute, on hard prompts: strategies against each other, by NFEs and by the clock.

    python benchmarks/search_scaling.py --work outputs/scaling --output benchmarks/results/search_scaling.json

One pool of candidates a number of steps, all with the same noises, serves every arm that selects, by expectation over
the subsets of each prompt's pool: "random" (best-of-k by the guide), "auto" (steps and candidates by the calibration),
"drafts" (the best of few-step candidates, made again with all steps), "preview" (the noise-aware guide), "ensemble"
(ranks of those guides that benchmarks/guide_choice.py found best), "aesthetic" (the head alone, which shows hacking)
and "oracle" (the judge itself chooses). "zero-order" and "halving" are searched anew for each budget, from two seeds a
prompt, on a part of the prompts.

Budgets are those of best-of-k at the default steps; a pool that is too small for one is spent whole, and `nfe` tells.
Seconds come from the ledgers: pipeline, decodes, guide and judge, in batches; "ensemble" and "aesthetic" lack what
their other parts take. Diversity is the mean cosine distance, in the guide's features, between what two searches of one
prompt with different noises choose. Intervals are of 95 %, by a bootstrap over prompts. Run it in parts with --minutes,
--arms, --prompts: searches that are on record in --work are not made again.
"""

import argparse
import json
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import samplesmith
import torch
from PIL import Image
from samplesmith.evaluation.diversity import diversity
from samplesmith.evaluation.figures import new_figure, save_figure
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.auto_steps import names, shipped_calibration
from samplesmith.pipelines.calibration import Calibration
from samplesmith.samplers.strategies import make_strategy
from samplesmith.verifiers import RankEnsemble, load_verifier
from search_arms import Pool, Row, auto_row, by, by_ranks, cheapest_auto, compare, select, share_of_oracle

KS = (1, 2, 4, 8, 16, 32)
MOST_SEARCHED = 16
"""Budgets of zero-order and halving end at best-of-16."""
REPEATS, REPEAT_SEED = 2, 50_000
MEASURES = ("score", "success", "diversity", "aesthetic")
SELECTING = ("random", "auto", "drafts", "preview", "ensemble", "aesthetic", "oracle")
SEARCHING = ("zero-order", "halving")
OTHERS = ("aesthetic", "preview")
COLORS = {
    "random": "#0b6e99",
    "auto": "#111111",
    "drafts": "#7a5195",
    "preview": "#4c6ef5",
    "ensemble": "#2f9e44",
    "aesthetic": "#c2571a",
    "oracle": "#999999",
    "zero-order": "#d6336c",
    "halving": "#e8a200",
}


class Bench:
    """The models, and the searches that are on record or made."""

    def __init__(self, arguments: argparse.Namespace):
        self.work = arguments.work
        self.pipe = samplesmith.load(arguments.model)
        self.call = samplesmith.assets.call_defaults(arguments.model)
        self.default_steps = self.call.pop("num_inference_steps")
        self.guide, self.judge = load_verifier(arguments.guide), load_verifier(arguments.judge)
        self.others = {"aesthetic": load_verifier(arguments.aesthetic), "preview": load_verifier(arguments.preview)}
        self.deadline = time.monotonic() + 60 * arguments.minutes
        lines = arguments.prompt_file.read_text().splitlines()
        every = [line for line in lines if line and not line.startswith("#")]
        # Evenly spaced, as the file goes from kind to kind.
        count = min(arguments.prompts or len(every), len(every))
        self.prompts = [every[int(i)] for i in np.linspace(0, len(every) - 1, count).round()]

    def search(self, name: str, prompts: list[str], guide: Any, strategy: Any, **how: Any) -> Any:
        folder = self.work / name
        print(f"{name}: {len(prompts)} prompts", flush=True)
        result = NoiseSearch(self.pipe, guide, strategy, judge=self.judge)(
            prompts,
            output_dir=folder,
            progress=sys.stdout.isatty(),
            on_batch=lambda report: time.monotonic() < self.deadline,
            **self.call,
            **how,
        )
        if time.monotonic() >= self.deadline:
            sys.exit(f"the minutes are over in {folder}; the same command goes on from there")
        return result

    def look(self, folder: Path, files: list[str], prompts: list[str]) -> dict[str, np.ndarray]:
        """Scores and the guide's features of pictures; kept beside them."""
        kept = folder / "seen.npz"
        if kept.exists() and list((found := dict(np.load(kept)))["files"]) == files:
            return found
        parts: list[dict[str, np.ndarray]] = []
        for start in range(0, len(files), 32):
            images = [Image.open(folder / file).convert("RGB") for file in files[start : start + 32]]
            asked = prompts[start : start + 32]
            pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
            with torch.no_grad():
                features = self.guide.image_features(pixels)
                score = (features * self.guide.text_features(asked)).sum(1)
            found = {"features": features, "score": score}
            found["success"] = self.judge(pixels, asked)
            found |= {name: verifier(pixels, asked) for name, verifier in self.others.items()}
            parts.append({key: value.numpy() for key, value in found.items()})
        found = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} | {"files": np.array(files)}
        np.savez(kept, **found)
        return found

    def pool(self, steps: int, candidates: int) -> Pool:
        name = f"pool_{steps}_steps_{len(self.prompts)}x{candidates}"
        result = self.search(
            name, self.prompts, self.guide, "random", num_candidates=candidates, num_inference_steps=steps
        )
        records = [candidate.record for pool in result.candidates for candidate in pool]
        found = self.look(self.work / name, [r["file"] for r in records], [r["prompt"] for r in records])
        shape = len(self.prompts), candidates
        measures = ("score", "success", *self.others)
        scores = {measure: found[measure].reshape(shape).astype(float) for measure in measures}
        seconds = result.ledger.seconds / len(records)
        return Pool(steps, records[-1]["nfe"], seconds, scores, found["features"].reshape(*shape, -1))

    def searched(self, arm: str, setting: str, guide: Any, chosen: np.ndarray, pool: Pool, k: int, budget: int):
        """A row of a strategy that is run for its budget; None where the budget is below one candidate."""
        if budget < pool.nfe:
            return None
        prompts = [self.prompts[i] for i in chosen]
        # What a candidate of zero-order costs is known from the pool; halving counts its rungs itself.
        spend = {"budget": budget} if arm == "halving" else {"num_candidates": budget // pool.nfe}
        rows, features, nfe, seconds, candidates = [], [], 0.0, 0.0, 0
        for repeat in range(REPEATS):
            strategy = re.sub(r"[^a-z0-9.-]+", "_", setting)
            name = f"{strategy}_{guide.name}_{pool.steps}_steps_best_of_{k}_{len(prompts)}_prompts_{repeat}"
            result = self.search(
                name,
                prompts,
                guide,
                make_strategy(setting),
                seed=repeat * REPEAT_SEED,
                num_inference_steps=pool.steps,
                **spend,
            )
            found = self.look(self.work / name, [c.record["file"] for c in result.best], prompts)
            rows.append({measure: found[measure].astype(float) for measure in ("score", "success", "aesthetic")})
            features.append(found["features"])
            nfe += result.ledger.nfe / len(prompts) / REPEATS
            seconds += result.ledger.seconds / len(prompts) / REPEATS
            seeds = {(record["prompt_index"], record["seed"], str(record["lineage"])) for record in result.records}
            candidates += len(seeds) / len(prompts) / REPEATS
        values = {measure: np.mean([row[measure] for row in rows], 0) for measure in rows[0]}
        values["diversity"] = np.array([diversity(np.stack(pair)) for pair in zip(*features, strict=True)])
        return Row(arm, pool.steps, budget, candidates, nfe, seconds, chosen, values)


def draw(rows: list[dict[str, Any]], default_steps: int, judge: str, file: Path) -> None:
    figure = new_figure(12, 15)
    labels = {
        "score": "guide's score of the chosen",
        "success": f"success by {judge}",
        "diversity": "diversity of the chosen",
        "aesthetic": "aesthetic head's score of the chosen",
    }
    lines: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        lines.setdefault((row["arm"], 0 if row["arm"] == "auto" else row["steps"]), []).append(row)
    styles = dict(
        zip(sorted({steps for _, steps in lines if steps}, reverse=True), ("-", "--", ":", "-."), strict=False)
    )
    for panels, measure in zip(figure.subplots(len(MEASURES), 2, sharey="row"), MEASURES, strict=True):
        for axes, cost in zip(panels, ("nfe", "seconds"), strict=True):
            for (arm, steps), line in lines.items():
                if arm == "oracle" and measure != "success":
                    continue
                shown = [row for row in line if row[measure] is not None]
                x, means = [row[cost] for row in shown], [row[measure]["mean"] for row in shown]
                name = arm if arm == "auto" else f"{arm}, {steps} steps"
                axes.plot(
                    x, means, styles.get(steps, "-"), marker="o", markersize=3, lw=1.2, color=COLORS[arm], label=name
                )
                if arm == "auto" or (arm == "random" and steps == default_steps):
                    low, high = ([row[measure][end] for row in shown] for end in ("low", "high"))
                    axes.fill_between(x, low, high, color=COLORS[arm], alpha=0.12, lw=0)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.3g}")
            axes.set(xlabel="NFEs a prompt" if cost == "nfe" else "seconds a prompt", ylabel=labels[measure])
    named = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(named.values(), named.keys(), loc="outside lower center", frameon=False, fontsize=9, ncols=5)
    save_figure(figure, file)


def measure_all(bench: Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    default = bench.default_steps
    sizes = dict(zip(arguments.steps, arguments.candidates * len(arguments.steps), strict=False))
    pools = {steps: bench.pool(steps, sizes[steps]) for steps in arguments.steps}
    budgets = {k: k * pools[default].nfe for k in KS if k <= sizes[default]}
    file = arguments.calibration or shipped_calibration(arguments.model)
    calibration = None if file is None else Calibration.load(file)
    if calibration is not None:
        calibration.check(**names(bench.pipe, bench.guide, bench.call))
        if missing := {row.num_inference_steps for row in calibration.steps} - set(pools):
            sys.exit(f"--steps lacks {', '.join(map(str, sorted(missing)))}, which {file} has")
    elif "auto" in arguments.arms:
        print("no calibration: the arm auto is left out", flush=True)
    guides = {"score": bench.guide, **bench.others}
    ensemble = RankEnsemble([guides[measure] for measure in arguments.ensemble])
    choosers = {
        "random": by("score"),
        "preview": by("preview"),
        "ensemble": by_ranks(ensemble, tuple(arguments.ensemble)),
        "aesthetic": by("aesthetic"),
        "oracle": by("success"),
    }
    chosen = np.linspace(0, len(bench.prompts) - 1, min(arguments.searched, len(bench.prompts))).round().astype(int)
    halving_guide = load_verifier(arguments.halving_guide) if arguments.halving_guide else bench.guide
    halving = dict(zip(arguments.searched_steps, arguments.halving * len(arguments.searched_steps), strict=False))
    rows: list[Row] = []
    for budget in budgets.values():
        for arm, chooser in choosers.items():
            if arm not in arguments.arms and arm != "random":
                continue
            for steps in arguments.steps if arm == "random" else arguments.base_steps:
                if budget >= pools[steps].nfe:
                    rows.append(select(arm, chooser, pools[steps], budget // pools[steps].nfe, budget))
        if "auto" in arguments.arms and calibration is not None:
            rows.append(auto_row(pools, calibration, budget))
        draft = pools[arguments.draft_steps]
        if "drafts" in arguments.arms and (count := (budget - pools[default].nfe) // draft.nfe) > 0:
            rows.append(select("drafts", by("score"), draft, count, budget, made=pools[default]))
    for arm in SEARCHING:
        for k, budget in budgets.items():
            for steps in arguments.searched_steps if arm in arguments.arms and k <= MOST_SEARCHED else ():
                guide, setting = (halving_guide, halving[steps]) if arm == "halving" else (bench.guide, arm)
                row = bench.searched(arm, setting, guide, chosen, pools[steps], k, budget)
                rows += [] if row is None else [row]

    at_16 = next((r for r in rows if r.arm == "random" and r.steps == default and r.candidates == 16), None)
    auto = "auto" in arguments.arms and calibration is not None and at_16 is not None
    return {
        "model": arguments.model,
        "call": {**bench.call, "num_inference_steps": default},
        "guide": bench.guide.name,
        "halving is guided by": halving_guide.name,
        "halving by steps": halving,
        "ensemble": ensemble.name,
        "judge": bench.judge.name,
        "prompts": len(bench.prompts),
        "candidates by steps": sizes,
        "seconds of a candidate by steps": {steps: pool.seconds for steps, pool in pools.items()},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "auto reaches best-of-16 at the default steps": cheapest_auto(pools, calibration, at_16) if auto else None,
        "share of the oracle's gain at 16 candidates": share_of_oracle(
            [pools[steps] for steps in arguments.base_steps], choosers, 16
        ),
        "rows": [row.as_dict() for row in rows],
        "against random search": compare(rows, default),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the searches; a rerun goes on from there")
    parser.add_argument("--output", type=Path, help="JSON file of the table; the picture is written beside it")
    parser.add_argument("--model", default="emoji-sd3")
    parser.add_argument("--guide", default="emoji-clip", help="a CLIP model: its features measure diversity")
    parser.add_argument("--halving-guide", help="guides halving in its place, such as emoji-clip-preview")
    parser.add_argument("--judge", default="emoji-detector")
    parser.add_argument("--aesthetic", default="emoji-aesthetic")
    parser.add_argument("--preview", default="emoji-clip-preview")
    parser.add_argument("--ensemble", nargs="+", choices=("score", *OTHERS), default=("score", "preview"))
    parser.add_argument("--calibration", type=Path, help="of the model, for auto; its own when left out")
    parser.add_argument("--prompt-file", type=Path, default=Path(__file__).parent / "prompts/hard.txt")
    parser.add_argument("--prompts", type=int, help="how many, evenly spaced in the file; all when left out")
    parser.add_argument("--searched", type=int, default=40, help="prompts of zero-order and halving")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 8, 12, 28])
    parser.add_argument("--candidates", type=int, nargs="+", default=[32], help="one number, or one a number of steps")
    parser.add_argument(
        "--base-steps", type=int, nargs="+", default=[28, 8], help="of preview, ensemble, aesthetic and oracle"
    )
    parser.add_argument("--searched-steps", type=int, nargs="+", default=[8, 28], help="of zero-order and halving")
    parser.add_argument(
        "--halving", nargs="+", default=["halving"], help="with its settings; one, or one for each of --searched-steps"
    )
    parser.add_argument("--draft-steps", type=int, default=8)
    parser.add_argument("--arms", nargs="+", choices=SELECTING + SEARCHING, default=SELECTING + SEARCHING)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then; a rerun goes on")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if len(arguments.candidates) not in (1, len(arguments.steps)):
        parser.error("--candidates takes one number, or one for each of --steps")
    if len(arguments.halving) not in (1, len(arguments.searched_steps)):
        parser.error("--halving takes one strategy, or one for each of --searched-steps")
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
        draw(found["rows"], bench.default_steps, bench.judge.name, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
