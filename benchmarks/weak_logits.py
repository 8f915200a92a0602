"""Ways of guidance of an autoregressive model: classifier accuracy and FID on Fashion-MNIST, each at its best scale.

    python benchmarks/weak_logits.py --output benchmarks/results/weak_logits.json

Each method's scale is the one of the lowest FID on seeds of their own (`--tuning` pictures); then all methods draw
`--pictures` from the same seeds, once. FID is by `fashion-classifier`'s features to the training pictures, so it
compares with itself alone; a method's over plain guidance's has an interval of a jackknife over 10 parts of the
pictures. Forwards are rows through the causal model, counted. Seconds of a picture are of `--rounds` batches in which
all methods take turns, medians. Features are kept in --work: a killed run goes on.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from multi_student import fid, ratio
from safetensors.torch import load_file, save_file
from samplesmith import assets, fashion
from samplesmith.evaluation.feature_extractors import load_features
from samplesmith.evaluation.features import extract_features
from samplesmith.evaluation.frechet import FeatureStatistics
from samplesmith.models.fashion_classifier import load_classifier
from samplesmith.models.weak_logits import WeakLogitsModel
from samplesmith.pipelines.token_pictures import TokenPictures
from samplesmith.samplers.hooks import WeakToStrongConfig
from samplesmith.training.embedded.denoisers import without_flash_attention
from samplesmith.verifiers.identity import hash_weights

TUNING_SEED, FINAL_SEED = 40_000_000, 50_000_000
SCALES = (1.0, 1.5, 2.0, 3.0, 4.5)
EARLY = 0.3
METHODS = ("CFG", "interval", "fast", "fast after 30 %", "slow")


def config_of(method: str, weak: WeakLogitsModel) -> WeakToStrongConfig:
    """How a method guides."""
    return {
        "CFG": WeakToStrongConfig(scale=1.0, strong_until=1.0),
        "interval": WeakToStrongConfig(scale=1.0, strong_until=EARLY),
        "fast": WeakToStrongConfig(weak, strong_until=0.0),
        "fast after 30 %": WeakToStrongConfig(weak, scale=1.0, strong_until=EARLY),
        "slow": WeakToStrongConfig(weak, scale=1.5, strong_until=1.0),
    }[method]


class Cells:
    """What methods draw at scales, as features; made once.

    Args:
        folder: of the model.
        work: where features are kept, of these weights.
        batch: pictures that are drawn at once.
    """

    def __init__(self, folder: Path, work: Path, batch: int):
        self.pictures = TokenPictures.from_pretrained(folder)
        self.weak = WeakLogitsModel.from_pretrained(folder / "weak-model", dtype=torch.float32).eval()
        weights = [hash_weights(one)[:8] for one in (self.pictures.model, self.pictures.vq, self.weak)]
        self.weights, self.batch = "-".join(weights), batch
        self.work = work / self.weights
        self.name, self.features = load_features("fashion-classifier")
        self.classifier = load_classifier(assets.path("fashion-classifier"))
        self.rows = 0
        self.pictures.model.register_forward_hook(self._count)

    def _count(self, module: Any, inputs: Any, output: Any) -> None:
        self.rows += len(output.logits)

    def draw(self, method: str, scale: float, seeds: range) -> torch.Tensor:
        """Pictures (n, 1, 32, 32) in [0, 1], of the classes in turn."""
        labels = [seed % len(fashion.CLASSES) for seed in seeds]
        drawn = self.pictures(labels, list(seeds), scale, config_of(method, self.weak))
        return torch.from_numpy(drawn).movedim(-1, 1).float() / 255

    @torch.no_grad()
    def cell(self, method: str, scale: float, start: int, count: int) -> dict[str, torch.Tensor]:
        """Features, whether the classifier finds the class, and forwards for each picture."""
        if scale == 1:
            method = "CFG"  # all of them draw from the conditional model
        file = self.work / f"{method}@{scale:g} {start} {count}.safetensors"
        if not file.exists():
            features, right, self.rows = [], [], 0
            for first in range(start, start + count, self.batch):
                seeds = range(first, min(first + self.batch, start + count))
                images = self.draw(method, scale, seeds)
                features.append(extract_features(images, self.features, len(images), "generated"))
                labels = torch.tensor([seed % len(fashion.CLASSES) for seed in seeds])
                right.append(self.classifier(images).argmax(1) == labels)
            forwards = torch.tensor(self.rows / count, dtype=torch.float64)
            found = {"features": torch.cat(features).contiguous(), "right": torch.cat(right), "forwards": forwards}
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            save_file(found, part)
            part.replace(file)
        return load_file(file)

    @torch.no_grad()
    def seconds(self, scales: dict[str, float], rounds: int, batch: int = 100) -> dict[str, list[float]]:
        """Seconds of a picture in each round, the methods in turns; a first round warms up."""
        took: dict[str, list[float]] = {method: [] for method in scales}
        for number in range(rounds + 1):
            for method, scale in scales.items():
                started = time.perf_counter()
                self.draw(method, scale, range(number * batch, (number + 1) * batch))
                if number:
                    took[method].append((time.perf_counter() - started) / batch)
        return took


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    cells = Cells(arguments.folder, arguments.work, arguments.batch)
    pixels = torch.from_numpy(fashion.pad(fashion.load("train", arguments.data)[0]))[:, None]
    real = FeatureStatistics.of(extract_features(pixels[:: arguments.real_every], cells.features, 500, "real"))

    curves: dict[str, dict[float, float]] = {}
    for method in METHODS:
        curves[method] = {
            scale: fid(cells.cell(method, scale, TUNING_SEED, arguments.tuning)["features"], real)
            for scale in arguments.scales
        }
        print(method, {scale: round(value, 2) for scale, value in curves[method].items()}, flush=True)
    guided = {method: {w: value for w, value in curve.items() if w > 1} for method, curve in curves.items()}
    chosen = {method: min(curve, key=curve.__getitem__) for method, curve in guided.items()}
    found = {"no guidance": cells.cell("CFG", 1.0, FINAL_SEED, arguments.pictures)}
    found |= {name: cells.cell(name, scale, FINAL_SEED, arguments.pictures) for name, scale in chosen.items()}
    took = cells.seconds(chosen, arguments.rounds)
    rows = []
    for name, one in found.items():
        over = ratio([one["features"]], [found["CFG"]["features"]], real)
        share = float(one["right"].float().mean())
        row = {
            "method": name,
            "scale": chosen.get(name, 1.0),
            "forwards": float(one["forwards"]),
            "accuracy": share,
            "half interval": 1.96 * (share * (1 - share) / len(one["right"])) ** 0.5,
            "fid": fid(one["features"], real),
            "fid over CFG's": over,
        }
        if name in took:
            row["seconds"] = statistics.median(took[name])
            ratios = sorted(a / b for a, b in zip(took[name], took["CFG"], strict=True))
            row["time over CFG's"] = {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}
        rows.append(row)
    return {
        "weights": cells.weights,
        "features": cells.name,
        "pictures": arguments.pictures,
        "tuning pictures": arguments.tuning,
        "FID by scale": curves,
        "rows": rows,
    }


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| | scale | forwards | right class | FID | FID over CFG's | time over CFG's |", "|---" * 7 + "|"]
    for row in result["rows"]:
        over, took = row["fid over CFG's"], row.get("time over CFG's")
        share = f"{row['accuracy']:.3f} ± {row['half interval']:.3f}"
        spread = f"{over['mean']:.2f} [{over['low']:.2f}, {over['high']:.2f}]" if row["method"] != "CFG" else ""
        clock = f"{took['median']:.2f} [{took['least']:.2f}, {took['most']:.2f}]" if took and spread else ""
        cells = [
            row["method"],
            f"{row['scale']:g}",
            f"{row['forwards']:.0f}",
            share,
            f"{row['fid']:.2f}",
            spread,
            clock,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=assets.path("fashion-ar"))
    parser.add_argument("--work", type=Path, default=Path("outputs/weak_logits"), help="features of what was drawn")
    parser.add_argument("--scales", type=float, nargs="+", default=list(SCALES))
    parser.add_argument("--tuning", type=int, default=1000, help="pictures by which scales are chosen")
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--real-every", type=int, default=1, help="every n-th of the training pictures, to be quick")
    parser.add_argument("--rounds", type=int, default=5, help="of the timing")
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    without_flash_attention()
    result = measure(arguments)
    print(table(result))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
