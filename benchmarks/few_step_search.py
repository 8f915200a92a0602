"""Search over a few-step student against search over its teacher, on hard prompts, by NFEs and by the clock.

    python benchmarks/few_step_search.py --work outputs/few --output benchmarks/results/few_step_search.json

The question: how many of the student's candidates does the guide need until the judge finds as many pictures right as
in the teacher's best-of-16 at its default steps, and what part of the NFEs and the seconds is that? Both choose from
recorded pools, by expectation over the subsets of each prompt's pool, as in search_scaling.py, whose pools of the
teacher are taken from --teacher-work. Beside it one draw of each. An NFE is a forward for one row of the batch: the
teacher's guided step takes two, the student's one. Differences are paired by prompt, with 95 % bootstrap intervals over
prompts. Seconds of a candidate are those of a batch of 8 with its decode and its score, the median of rounds in which
all settings take turns. What is on record is not made again.
"""

import argparse
import json
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prompt_files import HARD
from search_arms import Row, by, difference, select
from search_pools import Bench

Setting = tuple[str, int]
"""A model and its number of steps."""

BATCH = 8


def seconds_of_candidates(
    benches: dict[str, Bench], settings: list[Setting], rounds: int
) -> dict[Setting, list[float]]:
    """Seconds of a candidate in each round: a batch through the pipeline, with its decode and its score."""
    took: dict[Setting, list[float]] = {setting: [] for setting in settings}
    for number in range(rounds + 1):
        for model, steps in settings:
            bench = benches[model]
            generators = [torch.Generator().manual_seed(BATCH * number + k) for k in range(BATCH)]
            prompt, start = bench.prompts[number % len(bench.prompts)], time.perf_counter()
            images = bench.pipe(
                prompt,
                num_images_per_prompt=BATCH,
                num_inference_steps=steps,
                generator=generators,
                output_type="pt",
                **bench.call,
            ).images
            bench.guide((images.clamp(0, 1) * 255).round() / 255, prompt)
            if number:  # the first round warms up
                took[model, steps].append((time.perf_counter() - start) / BATCH)
    return took


def curve(bench: Bench, steps: int, candidates: int, seconds: float) -> list[Row]:
    """Best-of-k by the guide for every k of a pool."""
    pool = replace(bench.pool(steps, candidates, {}), seconds=seconds)
    return [select("random", by("score"), pool, k, k * pool.nfe) for k in range(1, candidates + 1)]


def reach(rows: list[Row], rival: Row, measure: str) -> dict[str, Any] | None:
    """The smallest k at which the mean of a measure is a rival's; None where the pool is too small."""
    for row in rows:
        if row.values[measure].mean() >= rival.values[measure].mean():
            return against(row, rival)
    return None


def against(row: Row, rival: Row) -> dict[str, Any]:
    """What a row costs and finds beside a rival's."""
    return {
        "steps": row.steps,
        "candidates": row.candidates,
        "NFEs": row.nfe,
        "share of NFEs": row.nfe / rival.nfe,
        "share of seconds": row.seconds / rival.seconds,
        "score": difference(row, rival, "score"),
        "success": difference(row, rival, "success"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the searches; a rerun goes on from there")
    parser.add_argument("--teacher-work", type=Path, help="that of search_scaling.py; a folder in --work when left out")
    parser.add_argument("--output", type=Path, help="JSON file of the table")
    parser.add_argument("--student", default="emoji-turbo")
    parser.add_argument("--teacher", default="emoji-sd3")
    parser.add_argument("--guide", default="emoji-clip", help="a CLIP model")
    parser.add_argument("--judge", default="emoji-detector")
    parser.add_argument("--prompt-file", type=Path, default=HARD)
    parser.add_argument("--prompts", type=int, help="how many, evenly spaced in the file; all when left out")
    parser.add_argument("--student-steps", type=int, nargs="+", default=[4, 6, 8])
    parser.add_argument("--student-candidates", type=int, default=24)
    parser.add_argument("--teacher-candidates", type=int, default=16)
    parser.add_argument("--few-steps", type=int, default=12, help="of the teacher's single draw beside the student's")
    parser.add_argument("--rounds", type=int, default=5, help="of the timing")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then; a rerun goes on")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    def bench_of(model: str, work: Path) -> Bench:
        return Bench(argparse.Namespace(**{**vars(arguments), "model": model, "work": work}))

    teacher = bench_of(arguments.teacher, arguments.teacher_work or arguments.work / arguments.teacher)
    student = bench_of(arguments.student, arguments.work / arguments.student)
    by_teacher = [(arguments.teacher, steps) for steps in (arguments.few_steps, teacher.default_steps)]
    by_student = [(arguments.student, steps) for steps in arguments.student_steps]
    benches = {arguments.teacher: teacher, arguments.student: student}
    for bench in benches.values():
        bench.pipe.set_progress_bar_config(disable=True)
    took = seconds_of_candidates(benches, [*by_teacher, *by_student], arguments.rounds)
    seconds = {setting: statistics.median(times) for setting, times in took.items()}
    few, most = (curve(teacher, steps, arguments.teacher_candidates, seconds[m, steps]) for m, steps in by_teacher)
    curves = {s: curve(student, s, arguments.student_candidates, seconds[m, s]) for m, s in by_student}
    best = most[-1]
    tenth = 0.1 * best.nfe
    found = {
        "student": arguments.student,
        "teacher": arguments.teacher,
        "guide": arguments.guide,
        "judge": arguments.judge,
        "prompts": len(teacher.prompts),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "seconds of a candidate": {
            f"{model}, {steps} steps": {"median": seconds[model, steps], "range": [min(times), max(times)]}
            for (model, steps), times in took.items()
        },
        "one draw, against the teacher's": {
            steps: {f"{row.steps} steps": against(rows[0], row) for row in (few[0], most[0])}
            for steps, rows in curves.items()
        },
        "reaches the teacher's best": {
            steps: {measure: reach(rows, best, measure) for measure in ("success", "score")}
            for steps, rows in curves.items()
        },
        "at a tenth of its NFEs": {
            steps: against(max((r for r in rows if r.nfe <= tenth), key=lambda r: r.nfe), best)
            for steps, rows in curves.items()
        },
        "rows": [
            {"model": model, **row.as_dict()}
            for model, lines in ((arguments.teacher, [few, most]), (arguments.student, curves.values()))
            for rows in lines
            for row in rows
            if np.log2(row.candidates).is_integer() or row is rows[-1]
        ],
    }
    for row in found["rows"]:
        print(
            f"{row['model']:>12} {row['steps']:>3} steps, best of {row['candidates']:>2}, {row['nfe']:4.0f} NFEs, "
            f"{row['seconds']:6.3f} s: score {row['score']['mean']:.3f}  success {row['success']['mean']:.3f}"
        )
    print(json.dumps({key: value for key, value in found.items() if key != "rows"}, indent=2))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
