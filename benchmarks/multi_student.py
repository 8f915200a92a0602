"""Four one-step students against one: FID on Fashion-MNIST, classes, and time beside the teacher's 50 steps.

    python benchmarks/multi_student.py --output benchmarks/results/multi_student.json

Trains the groups of `training/embedded/fashion_students.py` where they have not ended yet (N updates each, one student
of 4 N), for each training seed, and measures what each group makes of the same noises. A rerun goes on where it was
killed: stages from their checkpoints, samples from the features that are kept in --work. FID is by
`fashion-classifier`'s features, so it compares with itself alone; ratios of groups are of means over training seeds and
sample seeds, with an interval of a jackknife over 10 parts of the samples.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from samplesmith import assets, fashion
from samplesmith.evaluation.feature_extractors import load_features
from samplesmith.evaluation.features import extract_features
from samplesmith.evaluation.frechet import FeatureStatistics, frechet_distance
from samplesmith.models.fashion_classifier import load_classifier
from samplesmith.training.distillation.collapse import lost_classes
from samplesmith.training.embedded.denoisers import without_flash_attention
from samplesmith.training.embedded.fashion_students import GROUPS, assemble, teacher_pipeline, train

TEACHER_STEPS = 50
SAMPLE_SEEDS = (20_000_000, 30_000_000)
PARTS = 10
RATIOS = (("four", "single"), ("four", "single-long"), ("small", "single"))
"""Groups whose FIDs are divided."""

Sampler = Callable[[list[int], list[torch.Generator]], torch.Tensor]
"""Labels and generators in, pictures (n, 1, 32, 32) in [0, 1] out."""


def teacher_sampler() -> Sampler:
    pipe = teacher_pipeline()
    return lambda labels, generators: (
        pipe(labels, num_inference_steps=TEACHER_STEPS, generator=generators, output_type="pt").images
    )


def group_sampler(work: Path, group: str, seed: int) -> Sampler:
    pipe = assemble(work, group, seed)
    return lambda labels, generators: pipe(class_labels=labels, generator=generators, output_type="pt").images


def train_group(arguments: argparse.Namespace, group: str, seed: int) -> None:
    for subset in range(GROUPS[group].students):
        train(
            arguments.work,
            group,
            subset,
            arguments.updates,
            seed,
            arguments.data,
            arguments.pairs,
            compiled=arguments.compile,
            bf16=not arguments.float32,
        )


def sampled(
    file: Path, make: Callable[[], Sampler], features: Any, seed: int, count: int, batch: int
) -> dict[str, Any]:
    """Features, the classifier's classes and seconds per picture of a sampler; kept in a file."""
    if not file.exists():
        sampler, classifier = make(), load_classifier(assets.path("fashion-classifier"))
        parts, classes, seconds = [], [], 0.0
        for start in range(0, count, batch):
            numbers = range(start, min(start + batch, count))
            generators = [torch.Generator().manual_seed(seed + number) for number in numbers]
            begun = time.perf_counter()
            images = sampler([number % len(fashion.CLASSES) for number in numbers], generators)
            seconds += time.perf_counter() - begun
            parts.append(extract_features(images, features, len(images), "generated"))
            with torch.no_grad():
                classes.append(classifier(images).argmax(1))
        found = {"features": torch.cat(parts).contiguous(), "classes": torch.cat(classes)}
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        save_file({**found, "seconds": torch.tensor(seconds / count, dtype=torch.float64)}, part)
        part.replace(file)
    return load_file(file)


def fid(features: torch.Tensor, real: FeatureStatistics) -> float:
    found = FeatureStatistics.of(features)
    return frechet_distance(real.mean, real.covariance, found.mean, found.covariance)


def ratio(ours: list[torch.Tensor], theirs: list[torch.Tensor], real: FeatureStatistics) -> dict[str, float]:
    """Mean FID of one group over another's, with a jackknife over parts of the samples."""

    def mean(sets: list[torch.Tensor], without: int | None = None) -> float:
        kept = [one if without is None else one[torch.arange(len(one)) % PARTS != without] for one in sets]
        return float(np.mean([fid(one, real) for one in kept]))

    whole = mean(ours) / mean(theirs)
    left_out = [mean(ours, part) / mean(theirs, part) for part in range(PARTS)]
    error = float(np.sqrt((PARTS - 1) / PARTS * np.sum((np.array(left_out) - np.mean(left_out)) ** 2)))
    return {"mean": whole, "low": whole - 1.96 * error, "high": whole + 1.96 * error}


def histogram(classes: torch.Tensor) -> dict[str, int]:
    counts = torch.bincount(classes, minlength=len(fashion.CLASSES)).tolist()
    return dict(zip(fashion.CLASSES, counts, strict=True))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    name, features = load_features("fashion-classifier")
    pixels = torch.from_numpy(fashion.pad(fashion.load("train", arguments.data)[0]))[:, None]
    real = FeatureStatistics.of(extract_features(pixels[:: arguments.real_every], features, 500, "real"))
    seeds = SAMPLE_SEEDS[: arguments.sample_seeds]

    def cell(label: str, make: Callable[[], Sampler], seed: int) -> dict[str, Any]:
        file = arguments.work / "samples" / f"{label}_{arguments.updates}_{seed}_{arguments.samples}.safetensors"
        return sampled(file, make, features, seed, arguments.samples, arguments.batch)

    cells = {"teacher": [cell("teacher", teacher_sampler, seed) for seed in seeds]}
    for group in arguments.groups:
        cells[group] = []
        for training in range(1 if group in arguments.one_seed else arguments.training_seeds):
            train_group(arguments, group, training)

            def make(group: str = group, training: int = training) -> Sampler:
                return group_sampler(arguments.work, group, training)

            cells[group] += [cell(f"{group}-{training}", make, seed) for seed in seeds]
    slow = float(np.mean([one["seconds"] for one in cells["teacher"]]))
    rows = []
    for group, found in cells.items():
        seconds = float(np.mean([one["seconds"] for one in found]))
        classes = histogram(torch.cat([one["classes"] for one in found]))
        fids = [fid(one["features"], real) for one in found]
        row = {"group": group, "fid": float(np.mean(fids)), "fids": fids, "classes": classes}
        rows.append({**row, "seconds": seconds, "speed": slow / seconds, "lost": lost_classes(classes)})
    sets = {group: [one["features"] for one in found] for group, found in cells.items()}
    ratios = {f"{a} / {b}": ratio(sets[a], sets[b], real) for a, b in RATIOS if a in sets and b in sets}
    settings = {key: getattr(arguments, key) for key in ("updates", "samples", "training_seeds", "sample_seeds")}
    return {**settings, "features": name, "teacher_steps": TEACHER_STEPS, "rows": rows, "ratios": ratios}


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| | FID | teacher's time / its own | fewest of a class, of an even share |", "|---|---|---|---|"]
    for row in result["rows"]:
        counts = row["classes"].values()
        fewest = min(counts) * len(counts) / sum(counts)
        lines.append(f"| {row['group']} | {row['fid']:.2f} | {row['speed']:.1f} | {fewest:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=Path("outputs/multi_student"), help="runs, and features of samples"
    )
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--updates", type=int, default=1500, help="N, of distribution matching")
    parser.add_argument("--pairs", type=int, default=200, help="of each class, for the warm start")
    parser.add_argument("--samples", type=int, default=5000, help="for each sample seed")
    parser.add_argument("--training-seeds", type=int, default=2)
    parser.add_argument("--one-seed", nargs="+", choices=GROUPS, default=[], help="groups that are trained once")
    parser.add_argument("--sample-seeds", type=int, choices=(1, 2), default=2)
    parser.add_argument("--real-every", type=int, default=1, help="every n-th of the training pictures, to be quick")
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--float32", action="store_true", help="train in float32, not in bfloat16")
    parser.add_argument("--compile", action="store_true", help="train by torch.compile")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    without_flash_attention()
    result = measure(arguments)
    print(table(result))
    for name, found in result["ratios"].items():
        print(f"{name}: {found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]")
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
