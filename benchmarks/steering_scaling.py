"""What steering gains with compute, on hard prompts, beside noise search: by NFEs and by the clock.

    python benchmarks/steering_scaling.py --work outputs/scaling --output benchmarks/results/steering_scaling.json

All is chosen on validation.txt, by the judge's success there, and frozen: the transition and its number of model calls
at 112 NFEs, then the guide, then the settings of each strategy, both at 224 NFEs; a calibration of the chosen
transition tells strategies where scores begin to tell, and what a step's scores are like. What was chosen lies in
`frozen.json`, and the hard prompts are searched with that alone, once: all of them at 224 and 448 NFEs, 40 at the other
budgets, and at 896 the two strategies that validation found best.

Rivals are read from pools of random candidates, as in search_scaling.py, whose pools of the same sizes are taken from
--work: best-of-N and halving, each at the number of steps with the highest guided score at the budget (on the hard
prompts themselves: that favours them), and auto-halving, planned by the model's own calibration. Beside them FK
steering by GLASS and by Euler-Maruyama at equal NFEs, which `--only fk` compares alone, on the validation prompts (the
claim of arXiv 2509.25170):

    python benchmarks/steering_scaling.py --only fk --budgets 224 448 --work outputs/scaling --output outputs/fk.json

Differences are paired by prompt, with 95 % bootstrap intervals
over prompts. Seconds are the ledgers', with decodes and scores. Run it in parts with --minutes: what is on record is
not made again.
"""

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prompt_files import HARD, read_evenly
from samplesmith.evaluation.calibration import calibrate
from samplesmith.evaluation.figures import new_figure, save_figure
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.search.calibration import Calibration
from samplesmith.samplers.by_name import set_up
from search_arms import Row, auto_halving_row, by, halving_row, select
from search_pools import Bench
from search_scaling import halvings, read_calibrations
from steering_arms import (
    MODEL_CALLS,
    ODE,
    PROBES,
    SETTINGS,
    TRANSITIONS,
    Setup,
    SteeredRow,
    against,
    best_by_success,
    best_rival,
    row_of,
    summary,
)

VALIDATION = HARD.parent / "validation.txt"
ALL_PROMPTS_AT, BEST_TWO_AT = (224, 448), (896,)
FK, FK_TRANSITIONS = "smc:tilt=100,first_scored=1", ("Euler-Maruyama", "GLASS")
RIVALS = ("best-of-N", "halving", "auto-halving")
COLORS = {
    "best-of-N": "#0b6e99",
    "halving": "#e8a200",
    "auto-halving": "#8a5a00",
    "svdd": "#d6336c",
    "code": "#ff8787",
    "smc": "#2f9e44",
    "rbf": "#111111",
    "threshold": "#7a5195",
    "sop": "#12b5cb",
    "tree": "#999999",
}


class SteeringBench(Bench):
    """Steered searches that are on record or made; pools and rivals are the parent's.

    Args:
        arguments: of the command line.
    """

    def __init__(self, arguments: argparse.Namespace):
        super().__init__(arguments)
        self.hard = self.prompts
        self.validation = read_evenly(VALIDATION, arguments.validation_prompts)
        self.measures = {guide.name: measure for measure, guide in self.guides.items()}
        self.calibrations: dict[Setup, Calibration] = {}

    def steered(
        self, setup: Setup, budget: int, prompts: list[str], numbers: np.ndarray, part: str, arm: str | None = None
    ) -> SteeredRow:
        """Run a search, or go on with it.

        Args:
            setup: of it.
            budget: NFEs per prompt.
            prompts: searched.
            numbers: of these prompts among all of their file.
            part: "validation" or "hard".
            arm: the row's name; the strategy's when left out.
        """
        guide = self.guides[self.measures[setup.guide]]
        name = f"{part}/{setup.transition} {setup.calls} {setup.guide}/{setup.strategy} {budget} {len(prompts)}"
        folder = name.replace(":", " ").replace(",", " ")
        calibration = self.calibrations.get(replace(setup, strategy=""))
        with set_up(self.pipe, setup.scheduler):
            search = NoiseSearch(self.pipe, guide, setup.strategy, self.judge, calibration)
            result = self.run(search, folder, prompts, budget=budget, num_inference_steps=setup.steps)
        row = row_of(result, setup, budget, numbers, self.judge.name, arm)
        print(f"    score {row.values['score'].mean():.3f}, success {row.success:.3f}, {row.seconds:.2f} s", flush=True)
        return row

    def calibrated(self, setup: Setup) -> None:
        """Measure what scores say on the way, on the validation prompts; kept in a file."""
        file = self.work / "calibrations" / f"{setup.transition} {setup.calls} {setup.guide}.json"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            guide = self.guides[self.measures[setup.guide]]
            with set_up(self.pipe, setup.scheduler):
                found = calibrate(
                    self.pipe,
                    guide,
                    self.validation,
                    [setup.steps],
                    candidates=8,
                    judge=self.judge,
                    output_dir=file.with_suffix(""),
                    progress=False,
                    **self.call,
                )
            found.save(file)
        self.calibrations[replace(setup, strategy="")] = Calibration.load(file)


def choose(bench: SteeringBench, arguments: argparse.Namespace) -> dict[str, Any]:
    """Transition, guide and settings by the validation prompts; what was chosen once, for good."""
    file = bench.work / "frozen.json"
    asked = {
        "validation prompts": bench.validation,
        "transitions": arguments.transitions,
        "model calls": arguments.calls,
        "guides": arguments.guides,
        "strategies": {name: SETTINGS[name] for name in arguments.strategies},
        "budgets": [arguments.transition_budget, arguments.settings_budget],
    }
    asked = json.loads(json.dumps(asked))
    if file.exists() and (frozen := json.loads(file.read_text()))["asked"] == asked:
        return frozen
    numbers, tried = np.arange(len(bench.validation)), []

    def run(setup: Setup, budget: int) -> SteeredRow:
        row = bench.steered(setup, budget, bench.validation, numbers, "validation")
        tried.append(summary(row))
        return row

    first, budget = arguments.guides[0], arguments.transition_budget
    rows = {
        (transition, calls): [run(Setup(probe, transition, calls, first), budget) for probe in PROBES]
        for transition in arguments.transitions
        for calls in arguments.calls
        if calls % MODEL_CALLS.get(transition, 1) == 0
    }
    transition, calls = best_by_success(rows)
    budget = arguments.settings_budget
    guide = best_by_success(
        {name: [run(Setup(probe, transition, calls, name), budget) for probe in PROBES] for name in arguments.guides}
    )
    bench.calibrated(Setup("", transition, calls, guide))
    setups, worth = {}, {}
    for name in arguments.strategies:
        candidates = [Setup(one, transition, calls, guide) for one in SETTINGS[name]]
        if name == "sop":  # the one that needs no stochastic steps
            candidates += [replace(one, transition=ODE) for one in candidates]
        found = {one: [run(one, budget)] for one in candidates}
        setups[name] = best_by_success(found)
        worth[name] = found[setups[name]][0]
    order = sorted(worth, key=lambda name: (worth[name].success, worth[name].values["score"].mean()), reverse=True)
    frozen = {
        "asked": asked,
        "guide": guide,
        "transition": transition,
        "model calls": calls,
        "setups": {name: asdict(setup) for name, setup in setups.items()},
        "best first": order,
        "tried": tried,
    }
    file.write_text(json.dumps(frozen, indent=2) + "\n")
    return frozen


def rivals(bench: SteeringBench, arguments: argparse.Namespace, measure: str) -> list[Row]:
    """Best-of-N, halving and auto-halving by this measure's guide, from pools of all hard prompts."""
    calibrations = read_calibrations(bench, arguments)
    steps = arguments.steps
    halving = halvings(calibrations, steps).get(measure, {})
    looks = {number: {measure: halving[number].ends(number)[0]} if number in halving else {} for number in steps}
    pools = {
        number: bench.pool(number, size, looks[number])
        for number, size in zip(steps, arguments.candidates, strict=True)
    }
    slope, start = (
        np.polyfit(list(pools), [pool.seconds for pool in pools.values()], 1) if len(pools) > 1 else (0.0, 0.0)
    )

    def seconds_of(number: int) -> float:
        return float(start + slope * number) if len(pools) > 1 else pools[steps[0]].seconds * number / steps[0]

    rows: list[Row | None] = []
    for budget in arguments.budgets:
        for pool in pools.values():
            if budget >= pool.nfe:
                rows.append(select("best-of-N", by(measure), pool, budget // pool.nfe, budget))
        rows += [
            halving_row("halving", one, pools[number], measure, budget, seconds_of) for number, one in halving.items()
        ]
        calibration = calibrations.get(measure)
        if calibration is not None and {row.num_inference_steps for row in calibration.steps} <= set(steps):
            rows.append(
                auto_halving_row("auto-halving", pools, calibration, halving, measure, budget, seconds_of=seconds_of)
            )
    return [row for row in rows if row is not None]


def steer_hard(bench: SteeringBench, frozen: dict[str, Any], arguments: argparse.Namespace) -> list[SteeredRow]:
    """The frozen setups on the hard prompts, and FK steering by two transitions."""
    count = len(bench.hard)
    some = np.linspace(0, count - 1, min(arguments.searched, count)).round().astype(int)
    bench.calibrated(Setup("", frozen["transition"], frozen["model calls"], frozen["guide"]))
    setups = {name: Setup(**setup) for name, setup in frozen["setups"].items()}
    rows = []
    for budget in arguments.budgets:
        numbers = np.arange(count) if budget in (*ALL_PROMPTS_AT, *BEST_TWO_AT) else some
        run = partial(
            bench.steered, budget=budget, prompts=[bench.hard[i] for i in numbers], numbers=numbers, part="hard"
        )
        names = frozen["best first"][:2] if budget in BEST_TWO_AT else list(setups)
        rows += [run(setups[name]) for name in names]
        if budget in ALL_PROMPTS_AT and arguments.fk:
            rows += fk_rows(run, frozen["model calls"], frozen["guide"])
    return rows


def fk_rows(run: Callable[..., SteeredRow], calls: int, guide: str) -> list[SteeredRow]:
    """FK steering by each of two transitions, at the same number of model calls of a path."""
    return [run(Setup(FK, transition, calls, guide), arm=f"FK, {transition}") for transition in FK_TRANSITIONS]


def fk_differences(rows: Sequence[SteeredRow]) -> list[dict[str, Any]]:
    """GLASS against Euler-Maruyama of the same budget and model calls, paired by prompt."""
    glass = {(row.budget, row.setup.calls): row for row in rows if row.arm == "FK, GLASS"}
    return [
        {**difference, "model calls": row.setup.calls}
        for row in rows
        if row.arm == "FK, Euler-Maruyama" and (row.budget, row.setup.calls) in glass
        for difference in against([glass[row.budget, row.setup.calls]], [row], [row.arm], "score")
    ]


def measure_fk(bench: SteeringBench, arguments: argparse.Namespace) -> dict[str, Any]:
    """FK steering alone, on the validation prompts: nothing is chosen on it."""
    rows: list[SteeredRow] = []
    for budget in arguments.budgets:
        for calls in arguments.calls:
            run = partial(
                bench.steered,
                budget=budget,
                prompts=bench.validation,
                numbers=np.arange(len(bench.validation)),
                part="validation",
            )
            rows += fk_rows(run, calls, arguments.guides[0])
    return {
        "model": arguments.model,
        "guide": arguments.guides[0],
        "judge": bench.judge.name,
        "prompts": len(bench.validation),
        "machine": machine(),
        "rows": [row.as_dict() for row in rows],
        "FK by GLASS against Euler-Maruyama": fk_differences(rows),
    }


def machine() -> str:
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def draw(rows: list[Row], measure: str, judge: str, file: Path) -> None:
    figure = new_figure(12, 8)
    labels = {"score": "guide's score of the chosen", "success": f"success by {judge}"}
    for panels, (name, label) in zip(figure.subplots(2, 2, sharey="row"), labels.items(), strict=True):
        for axes, cost in zip(panels, ("nfe", "seconds"), strict=True):
            for arm, color in COLORS.items():
                line = [row for row in rows if row.arm == arm]
                if name == "score":
                    values = [row.values["score" if isinstance(row, SteeredRow) else measure].mean() for row in line]
                else:
                    values = [row.values[name].mean() for row in line]
                x = [getattr(row, cost) for row in line]
                style = {"lw": 2.2, "ls": "--"} if arm in RIVALS else {"lw": 1.3}
                axes.plot(x, values, marker="o", markersize=3, color=color, label=arm, **style)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}")
            axes.set(xlabel="NFEs per prompt" if cost == "nfe" else "seconds per prompt", ylabel=label)
    named = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(named.values(), named.keys(), loc="outside lower center", frameon=False, fontsize=9, ncols=5)
    save_figure(figure, file)


def measure_all(bench: SteeringBench, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[Row]]:
    frozen = choose(bench, arguments)
    measure = bench.measures[frozen["guide"]]
    steered = steer_hard(bench, frozen, arguments)
    pooled = rivals(bench, arguments, measure)
    everything = np.arange(len(bench.hard))
    shown = [
        rival
        for budget in arguments.budgets
        for name in RIVALS
        if (rival := best_rival(pooled, name, budget, everything, measure)) is not None
    ]
    as_score = [row.as_dict() | {"score": summary(row, measure)["score"]} for row in shown]
    found = {
        "model": arguments.model,
        "guide": frozen["guide"],
        "judge": bench.judge.name,
        "prompts": len(bench.hard),
        "chosen on validation": frozen,
        "machine": machine(),
        "rows": [row.as_dict() for row in steered] + as_score,
        "against rivals": against(steered, pooled, RIVALS, measure),
        "FK by GLASS against Euler-Maruyama": fk_differences(steered),
    }
    return found, [*steered, *shown]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the searches; a rerun goes on from there")
    parser.add_argument("--output", type=Path, help="JSON file of the table; the picture is written beside it")
    parser.add_argument("--model", default="emoji-sd3")
    parser.add_argument("--guide", default="emoji-clip", help="a CLIP model, of the pools")
    parser.add_argument("--guides", nargs="+", default=["emoji-clip", "emoji-clip-preview"], help="to choose from")
    parser.add_argument("--judge", default="emoji-detector")
    parser.add_argument("--aesthetic", default="emoji-aesthetic")
    parser.add_argument("--preview", default="emoji-clip-preview")
    parser.add_argument("--calibration", type=Path, help="by --guide; the model's own when left out")
    parser.add_argument("--preview-calibration", type=Path, help="by --preview; the model's own when left out")
    parser.add_argument("--prompt-file", type=Path, default=HARD)
    parser.add_argument("--prompts", type=int, help="how many hard ones, evenly spaced; all when left out")
    parser.add_argument("--validation-prompts", type=int, help="24, or --prompts where that is less")
    parser.add_argument("--searched", type=int, default=40, help="hard prompts at budgets other than 224, 448 and 896")
    parser.add_argument("--budgets", type=int, nargs="+", default=[56, 112, 224, 448, 896])
    parser.add_argument("--transition-budget", type=int, default=112)
    parser.add_argument("--settings-budget", type=int, default=224)
    parser.add_argument("--transitions", nargs="+", choices=TRANSITIONS, default=list(TRANSITIONS))
    parser.add_argument("--calls", type=int, nargs="+", default=[8, 12], help="model calls of a path, to choose from")
    parser.add_argument("--strategies", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--only", choices=["fk"], help="this row alone, on the validation prompts")
    parser.add_argument("--fk", action=argparse.BooleanOptionalAction, default=True, help="FK steering, GLASS or not")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 8, 12, 28], help="of the rivals' pools")
    parser.add_argument("--candidates", type=int, nargs="+", default=[48, 48, 40, 16], help="one for each of --steps")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then; a rerun goes on")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if len(arguments.candidates) != len(arguments.steps) or len(set(arguments.steps)) < 2:
        parser.error("--steps takes two numbers or more, and --candidates one for each of them")
    if arguments.validation_prompts is None:
        arguments.validation_prompts = min(24, arguments.prompts or 24)
    torch.set_num_threads(arguments.threads)
    bench = SteeringBench(arguments)
    if unknown := set(arguments.guides) - bench.measures.keys():
        parser.error(f"--guides has {', '.join(unknown)}, which are neither --guide nor --preview nor --aesthetic")
    found, rows = (measure_fk(bench, arguments), []) if arguments.only else measure_all(bench, arguments)
    for difference in found["FK by GLASS against Euler-Maruyama"]:
        print(f"FK by GLASS over Euler-Maruyama, {difference}")
    for row in found["rows"]:
        means = "  ".join(f"{name} {row[name]['mean']:.3f}" for name in ("score", "success"))
        print(f"{row['arm']:>18} {row['steps']:>3} steps, {row['nfe']:6.0f} NFEs, {row['seconds']:6.2f} s: {means}")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")
        if rows:
            draw(rows, bench.measures[found["guide"]], bench.judge.name, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
