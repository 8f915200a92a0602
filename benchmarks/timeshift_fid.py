"""What time shift does to fashion-ddpm's FID: solvers x steps x arms, tuned at 10 steps, reported on fresh seeds.

    python benchmarks/timeshift_fid.py --compile --output benchmarks/results/timeshift_fid.json

Window and cutoff are tuned for each solver and arm at 10 steps on validation seeds; at other steps the window is
scaled with the step. Each row of a batch has the time that fits it (`apply_per_sample_time`), but for the arm "shared".
All arms start from the same noises, so ratios to plain are paired; their intervals are of a jackknife over 10 parts.
"saturated" is the share of matches that fell on an end of the window. Each cell's features are kept in --work, and a
rerun makes only those that are missing. bfloat16 autocast; the classifier's features are not Inception's: its FIDs
compare with each other alone.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from samplesmith import fashion
from samplesmith.evaluation.feature_extractors import load_features
from samplesmith.evaluation.features import extract_features
from samplesmith.evaluation.fid import compare_features
from samplesmith.evaluation.frechet import FeatureStatistics, frechet_distance, frechet_error
from samplesmith.pipelines import load
from samplesmith.samplers import TimeShiftScheduler, apply_per_sample_time

SOLVERS = ("ddim", "pndm", "dpmsolver++")
TUNED_STEPS = 10
POINTS = tuple((window, cutoff) for window in (20, 40, 80, 160) for cutoff in (200, 500))
"""Windows and cutoffs that are tried at `TUNED_STEPS`."""
FURTHER_POINTS = ((40, 500), (40, 200))
"""Of the paper arm: what a user gets who sets nothing, and a setting of the paper."""
VALIDATION_SEED, REPORT_SEEDS = 10_000_000, (20_000_000, 30_000_000)
GROUPS = 10
NEIGHBOUR_IMAGES = 5000
"""Real images of the kernel distance, precision and recall, whose cost grows with the square of their number."""

DATA = "data"
"""Stands for the variance of the training pictures."""
ALWAYS_LATER = 1e6
"""A data variance so large that the end of the window is always the nearest: a constant shift by half a window."""
ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "paper": {"variant": "paper"},
    "reference": {"variant": "reference"},
    "constant": {"variant": "paper", "data_variance": ALWAYS_LATER},
    "data_variance": {"variant": "paper", "data_variance": DATA},
    "shared": {"variant": "paper", "data_variance": DATA},
}
TUNED_ARMS = ("paper", "reference", "constant", "data_variance")
SCALED_ARMS = ("plain", "paper", "data_variance")
"""Arms that are also reported at 5 and 20 steps."""


@dataclass(frozen=True)
class Cell:
    """One set of images: how they are sampled, and from which seeds."""

    solver: str
    steps: int
    arm: str
    seed: int
    images: int
    window: int = 0
    cutoff: int = 0

    @property
    def name(self) -> str:
        return "_".join(str(value) for value in vars(self).values())


class Bench:
    """The pipeline, the features and what is made so far."""

    def __init__(self, pipe: Any, features: Callable, real: torch.Tensor, data_variance: float, work: Path, batch: int):
        self.pipe, self.features, self.real = pipe, features, real
        self.real_statistics = FeatureStatistics.of(real)
        self.some_real = real[:: max(1, len(real) // NEIGHBOUR_IMAGES)]
        self.data_variance, self.work, self.batch = data_variance, work, batch
        self.stock = pipe.scheduler
        work.mkdir(parents=True, exist_ok=True)

    def cell(self, cell: Cell) -> tuple[torch.Tensor, float | None]:
        """Features of a cell's images, (images, dim), and the share of saturated matches where there is one."""
        file = self.work / f"{cell.name}.safetensors"
        if not file.exists():
            features, saturated = self._sample(cell)
            part = file.with_suffix(".part")
            save_file({"features": features, "saturated": torch.tensor(saturated)}, part)
            part.replace(file)
        found = load_file(file)
        saturated = found["saturated"].item()
        return found["features"], None if np.isnan(saturated) else saturated

    def fid(self, cell: Cell) -> float:
        found = FeatureStatistics.of(self.cell(cell)[0])
        real = self.real_statistics
        return frechet_distance(real.mean, real.covariance, found.mean, found.covariance)

    @torch.no_grad()
    def _sample(self, cell: Cell) -> tuple[torch.Tensor, float]:
        settings = dict(ARMS[cell.arm])
        if settings.get("data_variance") == DATA:
            settings["data_variance"] = self.data_variance
        scheduler = TimeShiftScheduler.from_scheduler(
            self.stock, solver=cell.solver, window=cell.window, cutoff=cell.cutoff, **settings
        )
        self.pipe.scheduler = scheduler
        matches: list[torch.Tensor] = []
        watch = cell.window > 0 and cell.arm != "reference"  # the reference shifts no call's time
        hook = apply_per_sample_time(self.pipe.denoiser, scheduler) if cell.arm != "shared" else nullcontext()
        features = []
        for start in track(range(0, cell.images, self.batch), cell.name, transient=True):
            numbers = range(start, min(start + self.batch, cell.images))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                images = self.pipe(
                    [number % len(fashion.CLASSES) for number in numbers],
                    num_inference_steps=cell.steps,
                    generator=[torch.Generator().manual_seed(cell.seed + number) for number in numbers],
                    output_type="pt",
                    callback_on_step_end=partial(_note_matches, matches, cell) if watch else None,
                ).images
            features.append(extract_features(images, self.features, len(images), "generated"))
        if cell.arm != "shared":
            hook.remove()
        saturated = torch.cat(matches).float().mean().item() if matches else float("nan")
        return torch.cat(features).contiguous(), saturated


def _note_matches(matches: list[torch.Tensor], cell: Cell, pipe: Any, i: int, t: Any, given: dict) -> dict:
    """Which rows' match for the next call is an end of its window."""
    scheduler = pipe.scheduler
    if i + 1 < len(scheduler.grid) and (time := float(scheduler.grid[i + 1])) > cell.cutoff:
        last = scheduler.config.num_train_timesteps - 1
        low, high = max(0, round(time - cell.window / 2)), min(last, round(time + cell.window / 2))
        matches.append((scheduler.row_times == low) | (scheduler.row_times == high))
    return {}


def tune(bench: Bench, solver: str, arm: str, images: int) -> tuple[dict[str, float], tuple[int, int]]:
    """FID of each point on validation seeds, and the best point."""
    cells = {point: Cell(solver, TUNED_STEPS, arm, VALIDATION_SEED, images, *point) for point in POINTS}
    fids = {point: bench.fid(cell) for point, cell in cells.items()}
    return {f"window {w}, cutoff {c}": fids[w, c] for w, c in POINTS}, min(fids, key=fids.get)


def report(bench: Bench, cells: list[Cell], plain: list[Cell]) -> dict[str, Any]:
    """A row of the table: cells that differ in their seeds, beside plain ones of the same seeds."""
    found = [bench.cell(cell) for cell in cells]
    one = cells[0]
    row = {"solver": one.solver, "steps": one.steps, "arm": one.arm, "window": one.window, "cutoff": one.cutoff}
    row["images"] = [cell.images for cell in cells]
    row["fid"] = [bench.fid(cell) for cell in cells]
    row["fid_error"] = [frechet_error(bench.real_statistics, features) for features, _ in found]
    measures = [compare_features(bench.some_real, features) for features, _ in found]
    row["kid"] = [measure.kid_mean for measure in measures]
    row["precision"] = [measure.precision for measure in measures]
    row["recall"] = [measure.recall for measure in measures]
    row["saturated"] = found[0][1]
    if cells != plain:
        others = [bench.cell(cell)[0] for cell in plain]
        row["ratio"], row["ratio_interval"] = paired_ratio(bench.real_statistics, [f for f, _ in found], others)
    return row


def paired_ratio(
    real: FeatureStatistics, shifted: list[torch.Tensor], plain: list[torch.Tensor]
) -> tuple[float, list[float]]:
    """FID(shifted) / FID(plain), the geometric mean over sets, and its 95 % interval (jackknife over images)."""

    def log_ratio(left_out: int | None) -> float:
        logs = []
        for pair in zip(shifted, plain, strict=True):
            fids = []
            for features in pair:
                # Whole rounds of the classes, so that each part holds as many of each.
                parts = torch.arange(len(features)) // len(fashion.CLASSES) % GROUPS
                kept = parts != (GROUPS if left_out is None else left_out)
                found = FeatureStatistics.of(features[kept])
                fids.append(frechet_distance(real.mean, real.covariance, found.mean, found.covariance))
            logs.append(np.log(fids[0] / fids[1]))
        return float(np.mean(logs))

    whole = log_ratio(None)
    error = np.std([log_ratio(k) for k in range(GROUPS)]) * (GROUPS - 1) ** 0.5
    low, high = (float(np.exp(whole + sign * 2.26 * error)) for sign in (-1, 1))  # Student's t, 9 degrees of freedom
    return float(np.exp(whole)), [low, high]


def scaled(window: int, steps: int) -> int:
    """A window of the same share of a step as at `TUNED_STEPS`."""
    return round(window * TUNED_STEPS / steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion-ddpm", help="shipped, or a folder")
    parser.add_argument("--features", default="fashion-classifier", help="shipped, or a folder")
    parser.add_argument("--work", type=Path, default=Path("outputs/timeshift_fid"), help="features of finished cells")
    parser.add_argument(
        "--solvers", nargs="+", choices=SOLVERS, default=SOLVERS, help="processes with some each may share --work"
    )
    parser.add_argument("--validation-images", type=int, default=1000)
    parser.add_argument("--images", type=int, default=5000, help="at 10 steps, for each of two seeds")
    parser.add_argument("--scaled-images", type=int, default=2000, help="at 5 and 20 steps")
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer's blocks")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    pipe = load(arguments.model)
    pipe.set_progress_bar_config(disable=True)
    if arguments.compile:
        for block in pipe.denoiser.transformer_blocks:
            block.compile()
    name, features = load_features(arguments.features)
    pixels = torch.from_numpy(fashion.pad(fashion.load("train")[0]))[:, None]
    real_file = arguments.work / f"real_{name}.safetensors"
    if not real_file.exists():
        arguments.work.mkdir(parents=True, exist_ok=True)
        save_file({"features": extract_features(pixels, features, 500, "real")}, real_file)
    real = load_file(real_file)["features"]
    data_variance = (pixels.float() / 127.5 - 1).var().item()
    bench = Bench(pipe, features, real, data_variance, arguments.work, arguments.batch)

    result: dict[str, Any] = {
        "model": arguments.model, "features": name, "real images": len(real), "data_variance": data_variance,
        "tuning": [], "cells": [],
    }  # fmt: skip

    def write() -> None:
        if arguments.output:
            arguments.output.write_text(json.dumps(result, indent=1, default=lambda value: round(float(value), 5)))

    def add(cells: list[Cell]) -> None:
        plain = [replace(cell, arm="plain", window=0, cutoff=0) for cell in cells]
        row = report(bench, cells, plain)
        result["cells"].append(row)
        print(
            {key: value for key, value in row.items() if key in ("solver", "steps", "arm", "fid", "ratio")}, flush=True
        )
        write()

    for solver in arguments.solvers:
        best = {"plain": (0, 0)}
        plain = bench.fid(Cell(solver, TUNED_STEPS, "plain", VALIDATION_SEED, arguments.validation_images))
        result["tuning"].append({"solver": solver, "arm": "plain", "fid": plain})
        for arm in TUNED_ARMS:
            fids, best[arm] = tune(bench, solver, arm, arguments.validation_images)
            window, cutoff = best[arm]
            result["tuning"].append(
                {"solver": solver, "arm": arm, "fid": fids, "best": {"window": window, "cutoff": cutoff}}
            )
            write()
        best["shared"] = best["data_variance"]
        for arm in ARMS:
            add([Cell(solver, TUNED_STEPS, arm, seed, arguments.images, *best[arm]) for seed in REPORT_SEEDS])
        for point in FURTHER_POINTS:
            if point != best["paper"]:
                add([Cell(solver, TUNED_STEPS, "paper", seed, arguments.images, *point) for seed in REPORT_SEEDS])
        for steps in (5, 20):
            for arm in SCALED_ARMS:
                window, cutoff = best[arm]
                add([Cell(solver, steps, arm, REPORT_SEEDS[0], arguments.scaled_images, scaled(window, steps), cutoff)])
    write()


if __name__ == "__main__":
    main()
