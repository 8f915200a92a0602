"""Superposition on the shipped models of emoji scenes: whether images are in the set that was asked for.

    python benchmarks/superposition.py                                   # emoji-sd3, 20 pairs, 10 seeds, 50 steps
    python benchmarks/superposition.py --models emoji-sd3 emoji-sd
    python benchmarks/superposition.py --pairs 4 --seeds 2 --work /tmp/x --output /tmp/x.json

Images lie in --work, a file for each arm of each pair, and are not made again; another model's weights, job or number
of seeds has files of its own. The temperature of OR and of formulas is chosen by a sweep over other pairs. All arms of
a pair begin with the same noises and have the same noise in their steps. Measured: the share of images in the asked set
by emoji-detector; emoji-clip's score of the prompt that is met worst; the kernel distance to drawn scenes of the set,
pair by pair, on emoji-clip's features; of OR on captions that exclude each other the share of the first; and whether
the difference of the accumulated log-densities tells which of two captions an image was made of. Intervals are of 95 %,
by a bootstrap over pairs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from samplesmith.evaluation.comparison import bootstrap_mean, paired_difference, ratio_of_means
from samplesmith.evaluation.kernel_distance import kernel_distance
from samplesmith.pipelines.on_device import load_on_device
from samplesmith.pipelines.superposition.judged import Judgement, judgements
from samplesmith.samplers.superposition import And, Prompt
from samplesmith.scenes import draw, sample_where
from samplesmith.valid_json import to_json
from samplesmith.verifiers import load_verifier
from samplesmith.verifiers.identity import hash_weights
from superposition_cells import SETS, TEMPERATURES, Cell, Jobs, condition, draw_pairs

ROOT = Path(__file__).parents[1]
REAL = 40
"""Drawn scenes for each pair."""
SWEPT, WEIGHTED = 4, 8
"""Pairs of the sweep, which are others, and pairs that are made with Feynman-Kac weights too."""


class Made:
    """The images of cells, kept on disk."""

    def __init__(self, model: str, work: Path):
        self.pipe = load_on_device(model)
        denoiser = getattr(self.pipe, "transformer", None) or self.pipe.unet
        self.folder = work / f"{model}-{hash_weights(denoiser)[:8]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.made, self.seconds = 0, 0.0

    def __call__(self, cell: Cell) -> dict[str, np.ndarray]:
        """Images (n, height, width, 3), log-densities (n, prompts) and the NFEs of one image."""
        file = self.folder / f"{cell.name}.npz"
        if not file.exists():
            began = time.monotonic()
            result = cell.job.run(self.pipe, progress=False).result
            half = file.with_suffix(".half")
            with half.open("wb") as stream:
                images = np.stack([np.asarray(image) for image in result.images])
                densities, cost = result.log_densities.numpy(), result.nfe / len(images)
                np.savez_compressed(stream, images=images, densities=densities, nfe=cost)
            half.rename(file)
            self.made, self.seconds = self.made + 1, self.seconds + time.monotonic() - began
            print(f"pair {cell.pair}, {cell.task}, {cell.arm}: {time.monotonic() - began:.1f} s", flush=True)
        with np.load(file) as kept:
            return dict(kept)


class Measures:
    """Judge, CLIP and kernel distance of a cell's images."""

    def __init__(self) -> None:
        self.judge, self.clip = load_verifier("emoji-detector"), load_verifier("emoji-clip")
        self._real: dict[str, torch.Tensor] = {}

    def judged(self, cell: Cell, images: np.ndarray) -> list[Judgement]:
        return judgements([Image.fromarray(one) for one in images], cell.asked, self.judge)

    def of(self, cell: Cell, images: np.ndarray) -> dict[str, float]:
        """Means over the images of a cell."""
        wanted = And.of(*map(Prompt, cell.asked.affirmed()))
        clip = judgements([Image.fromarray(one) for one in images], wanted, self.clip)
        return {
            "right": float(np.mean([bool(one.right) for one in self.judged(cell, images)])),
            "min_clip": float(np.mean([one.least for one in clip])),
            "kid": kernel_distance(self._drawn(cell), self._features(images)),
        }

    def _drawn(self, cell: Cell) -> torch.Tensor:
        key = f"{cell.pair} {cell.asked}"
        if key not in self._real:
            rng = np.random.default_rng([17, cell.pair])
            scenes = [sample_where(rng, condition(cell.asked)) for _ in range(REAL)]
            self._real[key] = self._features(np.stack([draw(rng, scene).image for scene in scenes]))
        return self._real[key]

    @torch.no_grad()
    def _features(self, images: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return torch.cat([self.clip.image_features(part) for part in pixels.split(32)])


def arms_of(cells: Iterable[Cell], made: Made, measures: Measures) -> dict[str, dict[str, list[float]]]:
    """Values by arm and measure, one per pair."""
    found: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        kept = made(cell)
        values = {**measures.of(cell, kept["images"]), "nfe": float(kept["nfe"])}
        arm = found.setdefault(f"{cell.task}: {cell.arm}", {})
        for name, value in values.items():
            arm.setdefault(name, []).append(value)
    return found


def chosen_temperature(shares: dict[str, float], arm: str) -> float:
    """The temperature at which most images are in the set; of equal ones the nearest to 1."""
    return max(reversed(TEMPERATURES), key=lambda one: shares[f"{arm} {one:g}"])


def measured(model: str, pairs: int, seeds: int, steps: int, work: Path) -> dict[str, Any]:
    """All figures of one model."""
    made, measures, jobs = Made(model, work), Measures(), Jobs(model, steps, seeds)
    trial = Jobs(model, steps, max(2, seeds // 2))
    swept: dict[str, list[float]] = {}
    for cell in trial.sweep(draw_pairs(min(SWEPT, pairs), seed=1)):
        right = [bool(one.right) for one in measures.judged(cell, made(cell)["images"])]
        swept.setdefault(cell.arm, []).append(float(np.mean(right)))
    shares = {arm: float(np.mean(values)) for arm, values in swept.items()}
    for_or, for_formulas = (chosen_temperature(shares, arm) for arm in ("or", "three"))
    drawn = draw_pairs(pairs, seed=0)
    arms = arms_of(jobs.sets(drawn, for_formulas), made, measures)
    found = {
        "sweep": shares,
        "temperature": {"or": for_or, "formulas": for_formulas},
        "arms": {
            name: {measure: asdict(bootstrap_mean(values)) for measure, values in of.items()}
            for name, of in arms.items()
        },
        "and_beats": {
            f"{operator} over {rival}": asdict(
                paired_difference(arms[f"sets: {operator}"]["right"], arms[f"sets: {rival}"]["right"])
            )
            for operator in ("and", "and-paper")
            for rival in SETS[2:]
        },
        "not_beats": asdict(paired_difference(arms["not: formula"]["right"], arms["not: first alone"]["right"])),
        "weighted": _weighted(jobs.weighted(drawn[:WEIGHTED], for_formulas), made, measures),
        "or": _either(jobs.either(drawn, for_or), made, measures),
        "classifier": _classified(jobs.classifier(drawn), made),
    }
    return found | {"cells_made": made.made, "seconds": round(made.seconds, 1)}


def _weighted(cells: Iterable[Cell], made: Made, measures: Measures) -> dict[str, Any]:
    """Share in the set of images alike and of images by weights, and what is between them."""
    right: dict[str, list[float]] = {}
    for cell in cells:
        said = measures.judged(cell, made(cell)["images"])
        right.setdefault(cell.arm, []).append(float(np.mean([bool(one.right) for one in said])))
    alike, weighted = right["images alike"], right["by weights"]
    shares = {arm: asdict(bootstrap_mean(values)) for arm, values in right.items()}
    return {**shares, "weights over alike": asdict(paired_difference(weighted, alike))}


def _either(cells: Iterable[Cell], made: Made, measures: Measures) -> dict[str, Any]:
    """By arm: share in A or B, and of those the share of A, clustered by pair."""
    found: dict[str, list[tuple[float, float]]] = {}
    for cell in cells:
        said = measures.judged(cell, made(cell)["images"])
        right = [one for one in said if one.right]
        first = cell.asked.prompts()[0]
        counted = sum(one.scores[first] for one in right)
        found.setdefault(cell.arm, []).append((counted / len(said), len(right) / len(said)))
    table = {}
    for arm, values in found.items():
        first, right = map(list, zip(*values, strict=True))
        share = asdict(ratio_of_means(first, right)) if any(right) else None
        table[arm] = {"right": asdict(bootstrap_mean(right)), "first": share}
    return table


def _classified(cells: Iterable[Cell], made: Made) -> dict[str, Any]:
    """By estimator: how often the larger log-density is that of the prompt that the image was made of."""
    found: dict[str, dict[int, list[float]]] = {}
    for cell in cells:
        estimator, source = cell.arm.split()
        densities = made(cell)["densities"]
        own, other = densities[:, int(source)], densities[:, 1 - int(source)]
        found.setdefault(estimator, {}).setdefault(cell.pair, []).extend((own > other).astype(float).tolist())
    return {
        estimator: asdict(bootstrap_mean([float(np.mean(values)) for values in of.values()]))
        for estimator, of in found.items()
    }


def main(argv: list[str] | None = None, measure: Callable[..., dict[str, Any]] = measured) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["emoji-sd3"])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--work", type=Path, default=ROOT / "outputs/superposition")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/superposition.json")
    given = parser.parse_args(argv)
    if min(given.pairs, given.seeds) < 2:
        parser.error("a kernel distance takes 2 seeds, and an interval 2 pairs; give at least 2 of each")
    size = {"pairs": given.pairs, "seeds": given.seeds, "steps": given.steps}
    before = json.loads(given.output.read_text()) if given.output.exists() else {}
    models = before["models"] if before and {key: before[key] for key in size} == size else {}
    for model in given.models:
        models[model] = measure(model, **size, work=given.work)
        given.output.write_text(to_json({**size, "models": models}, indent=1) + "\n")
    print(to_json({**size, "models": models}, indent=1))


if __name__ == "__main__":
    main()
