"""OR of two models without a class in common, by Fréchet distance to the data of both: fashion-tops and fashion-rest.

    python benchmarks/superposition_fid.py                                    # 5,000 images of each arm, 50 steps
    python benchmarks/superposition_fid.py --images 20 --chunk 20 --steps 3 --work /tmp/x --output /tmp/x.json

Both models are asked for their null class, so that each samples all that it knows; `python -m
samplesmith.training.embedded.fashion_ddpm --classes tops` (and `rest`) trains them. Arms, by the same steps:

- "or": both models at each step (`SuperposedModel`), by OR;
- "mixture": half of the images by each model alone, which is what OR is to equal;
- "mean": the mean of both models' scores, which is no mixture.

Features of finished chunks are kept in --work, by the models' weights, and a rerun makes what is missing. "first" is
the share of images whose log-density under fashion-tops is the larger one. fashion-classifier's features are not
Inception's: its distances compare with each other alone. Ratios are paired by the seeds, with a 95 % jackknife.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from samplesmith import fashion
from samplesmith.evaluation.feature_extractors import load_features
from samplesmith.evaluation.features import extract_features
from samplesmith.evaluation.frechet import FeatureStatistics, frechet_distance, frechet_error
from samplesmith.pipelines import load, superpose
from samplesmith.samplers import SuperposedModel
from samplesmith.valid_json import to_json
from samplesmith.verifiers.identity import hash_weights
from timeshift_fid import paired_ratio

ROOT = Path(__file__).parents[1]
ARMS = ("or", "mixture", "mean")


class Samples:
    """Features of each arm's images, in chunks on disk.

    Args:
        pipes: of fashion-tops and fashion-rest.
        features: images (batch, 1 or 3, height, width) in [0, 1] -> (batch, dim).
        steps: of each image.
        chunk: images in one file, an even number.
        work: folder of the files.
    """

    def __init__(self, pipes: list[Any], features: Callable, steps: int, chunk: int, work: Path):
        self.pipes, self.features, self.steps, self.chunk = pipes, features, steps, chunk
        models = " ".join(hash_weights(pipe.denoiser) for pipe in pipes)
        self.work = work / hashlib.sha256(f"{models} {steps} {chunk}".encode()).hexdigest()[:16]
        self.work.mkdir(parents=True, exist_ok=True)

    def arm(self, arm: str, images: int) -> tuple[torch.Tensor, float | None]:
        """Features (images, dim), and the share of images that are likelier under the first model."""
        parts = [self._part(arm, start) for start in range(0, images, self.chunk)]
        features = torch.cat([part["features"] for part in parts])[:images]
        first = torch.cat([part["first"] for part in parts])[:images]
        return features, None if arm == "mixture" else float(first.float().mean())

    def _part(self, arm: str, start: int) -> dict[str, torch.Tensor]:
        file = self.work / f"{arm}_{start}.safetensors"
        if not file.exists():
            images, first = self._made(arm, start)
            part = {"features": extract_features(images, self.features, len(images), "generated"), "first": first}
            half = file.with_suffix(".half")
            save_file({name: value.contiguous() for name, value in part.items()}, half)
            half.replace(file)
            print(f"{arm}: {start + self.chunk} images", flush=True)
        return load_file(file)

    def _made(self, arm: str, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images of the seeds that follow `start`, and whether each is likelier under the first model."""
        if arm == "mixture":
            count = self.chunk // 2
            halves = [
                self._superposed(pipe, 1, "mean", start + k * count, count)[0] for k, pipe in enumerate(self.pipes)
            ]
            return torch.cat(halves), (torch.arange(self.chunk) < count).to(torch.uint8)
        pipe = self.pipes[0]
        alone = pipe.transformer
        pipe.transformer = SuperposedModel([one.transformer for one in self.pipes])
        try:
            images, densities = self._superposed(pipe, 2, arm, start, self.chunk)
        finally:
            pipe.transformer = alone
        return images, (densities[:, 0] > densities[:, 1]).to(torch.uint8)

    def _superposed(
        self, pipe: Any, models: int, operator: str, seed: int, count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        result = superpose(
            pipe,
            [self.pipes[0].null_class] * models,
            operator,
            num_images=count,
            seed=seed,
            num_inference_steps=self.steps,
            guidance_scale=1.0,
        )
        pixels = np.stack([np.asarray(image.convert("L")) for image in result.images])
        return torch.from_numpy(pixels)[:, None], result.log_densities


def measured(samples: Samples, real: torch.Tensor, images: int) -> dict[str, Any]:
    """Distances of the arms, and the ratios of OR's to the others'."""
    statistics, kept, found = FeatureStatistics.of(real), {}, {}
    for arm in ARMS:
        features, first = samples.arm(arm, images)
        own = FeatureStatistics.of(features)
        distance = frechet_distance(statistics.mean, statistics.covariance, own.mean, own.covariance)
        found[arm] = {"fid": distance, "fid_error": frechet_error(statistics, features), "first": first}
        kept[arm] = features
    ratios = {}
    for arm in ARMS[1:]:
        ratio, interval = paired_ratio(statistics, [kept["or"]], [kept[arm]])
        ratios[f"or / {arm}"] = {"ratio": ratio, "interval": interval}
    return {"arms": found, "ratios": ratios}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs=2, default=["fashion-tops", "fashion-rest"], help="shipped, or folders")
    parser.add_argument("--features", default="fashion-classifier", help="shipped, or a folder")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--chunk", type=int, default=250, help="images of one call and one file, an even number")
    parser.add_argument("--work", type=Path, default=ROOT / "outputs/superposition_fid")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/superposition_fid.json")
    given = parser.parse_args(argv)
    if given.chunk < 2 or given.chunk % 2:
        parser.error(f"--chunk is {given.chunk}; half of a chunk is one model's, so give an even number")
    pipes = [load(model) for model in given.models]
    for pipe in pipes:
        pipe.set_progress_bar_config(disable=True)
    name, features = load_features(given.features)
    samples = Samples(pipes, features, given.steps, given.chunk, given.work)
    real_file = given.work / f"real_{name}.safetensors"
    if not real_file.exists():
        pixels = torch.from_numpy(fashion.pad(fashion.load("train")[0]))[:, None]
        save_file({"features": extract_features(pixels, features, 500, "real")}, real_file)
    real = load_file(real_file)["features"]
    sizes = {"models": given.models, "features": name, "images": given.images, "steps": given.steps}
    found = to_json({**sizes, **measured(samples, real, given.images)}, indent=1)
    given.output.write_text(found + "\n")
    print(found)


if __name__ == "__main__":
    main()
