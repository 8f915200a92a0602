"""The figures of the model cards: judge, guide, aesthetic head and autoencoders, on scenes that training did not draw.

python benchmarks/shipped_models.py --output benchmarks/results/shipped_models.json
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from samplesmith import assets, scenes
from samplesmith.scenes import DrawnScene, negatives
from samplesmith.scenes.hard_captions import hard_captions
from samplesmith.training.embedded import aesthetic
from samplesmith.training.embedded.autoencoder import psnr, psnr_by_object, reconstruct
from samplesmith.training.embedded.clip_preview import PreviewAccuracy, predictor
from samplesmith.training.embedded.detector import exact_match
from samplesmith.training.embedded.nearly_right import nearly_right
from samplesmith.training.embedded.pixels import images_to_tensor
from samplesmith.verifiers import load_verifier


def batches(seed: int, count: int, held_out: bool | None = None) -> Iterator[tuple[torch.Tensor, list[DrawnScene]]]:
    rng = np.random.default_rng(seed)
    for _ in range(0, count, 250):
        images, drawn = scenes.draw_batch(rng, 250, held_out=held_out)
        yield images_to_tensor(images), list(drawn)


def judge_figures(autoencoder: AutoencoderKL, count: int) -> dict:
    judge, rng = load_verifier("emoji-detector"), np.random.default_rng(1)
    real, rebuilt, spoiled = [], [], []
    for k, (x, drawn) in enumerate(batches(4242, count)):
        real.append(exact_match(judge, x, drawn))
        broken = [negatives.spoil(rng, one) for one in drawn]
        spoiled.append(exact_match(judge, images_to_tensor(np.stack([one.image for one in broken])), broken))
        if k < 4:
            rebuilt.append(exact_match(judge, reconstruct(autoencoder, x), drawn))
    held_out = [exact_match(judge, x, drawn) for x, drawn in batches(4343, 1000, held_out=True)]
    by_spoiler = {}
    for how in negatives.SPOILERS:
        drawn = [scenes.draw(rng, scenes.sample_scene(rng)) for _ in range(250)]
        broken = [negatives.spoil(rng, one, how) for one in drawn]
        by_spoiler[how] = exact_match(judge, images_to_tensor(np.stack([one.image for one in broken])), broken)
    return {
        "scenes": count,
        "real": np.mean(real),
        "held-out combinations": np.mean(held_out),
        "one sprite spoiled": np.mean(spoiled),
        "by spoiler": by_spoiler,
        "reconstructions, 1000": np.mean(rebuilt),
    }


@torch.no_grad()
def guide_figures(name: str, autoencoder: AutoencoderKL, count: int) -> dict:
    clip = load_verifier(name)
    figures = {"scenes": count}
    for label, held_out in (("hard captions of 32", None), ("held-out combinations", True)):
        rng, right, kinds, better, rebuilt = np.random.default_rng(2), [], [], [], []
        for x, drawn in batches(5151, count if held_out is None else 500, held_out):
            features = clip.image_features((x + 1) / 2)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y = reconstruct(autoencoder, x)
            rebuilt_features = clip.image_features((y + 1) / 2)
            near = images_to_tensor(np.stack([nearly_right(rng, one).image for one in drawn]))
            near_features = clip.image_features((near + 1) / 2)
            for k, one in enumerate(drawn):
                text = clip.text_features([one.scene.caption, *hard_captions(rng, one.scene, 31)])
                right.append(int((text @ features[k]).argmax()) == 0)
                rebuilt.append(int((text @ rebuilt_features[k]).argmax()) == 0)
                better.append(bool(text[0] @ features[k] > text[0] @ near_features[k]))
                kinds.append(one.scene.kind)
        figures[label] = {"all": np.mean(right), "after the autoencoder": np.mean(rebuilt)}
        figures[label] |= {kind: np.mean(np.array(right)[np.array(kinds) == kind]) for kind in scenes.KINDS}
        figures[label]["right picture above a nearly right one"] = np.mean(better)
    return figures


def preview_figures() -> dict:
    """Of pictures that are noised, and shown as the clean predictions that emoji-sd3 makes of them."""
    measure = PreviewAccuracy(predictor("emoji-sd3"))
    guides = [load_verifier(name) for name in ("emoji-clip", "emoji-clip-preview")]
    return {guide.name: measure(guide.model, guide.tokenizer)["better_preview_at"] for guide in guides}


@torch.no_grad()
def aesthetic_figures(autoencoder: AutoencoderKL) -> dict:
    head = load_verifier("emoji-aesthetic").head
    clean, degraded, kinds = aesthetic.pairs(aesthetic.HELD_OUT_PAIRS, autoencoder, aesthetic.HELD_OUT_SEED)
    better = (head(clean) > head(degraded))[:, 0].numpy()
    by_kind = {kind: better[np.array(kinds) == kind].mean() for kind in aesthetic.DEGRADATIONS}
    return {"pairs": aesthetic.HELD_OUT_PAIRS, "all": better.mean(), **by_kind}


def autoencoder_figures(model: AutoencoderKL) -> dict:
    values = torch.cat([psnr(x, reconstruct(model, x)) for x, _ in batches(999, 250)])
    by_object = psnr_by_object(model)
    worst = min(by_object, key=by_object.get)
    return {"mean": values.mean(), "worst": values.min(), "lowest object": worst, "its mean": by_object[worst]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=5000)
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="measure these; the others keep their figures")
    parser.add_argument("--autoencoder", type=Path, default=assets.path("emoji-sd3") / "vae")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    autoencoder = AutoencoderKL.from_pretrained(arguments.autoencoder, torch_dtype=torch.float32).eval()
    figures = {
        "emoji-detector, exact match": lambda: judge_figures(autoencoder, arguments.scenes),
        "emoji-clip, accuracy": lambda: guide_figures("emoji-clip", autoencoder, 1000),
        "emoji-clip-preview, accuracy": lambda: guide_figures("emoji-clip-preview", autoencoder, 1000),
        "right previews above nearly right ones, by sigma": preview_figures,
        "emoji-aesthetic, pairwise accuracy": lambda: aesthetic_figures(autoencoder),
        "autoencoder, PSNR in dB": lambda: autoencoder_figures(autoencoder),
    }
    kept = json.loads(arguments.output.read_text()) if arguments.output and arguments.output.exists() else {}
    result = {
        name: measure() if not arguments.only or name.split(",")[0] in arguments.only else kept[name]
        for name, measure in figures.items()
    }
    text = json.dumps(result, indent=2, default=lambda value: round(float(value), 4))
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
