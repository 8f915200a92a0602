"""emoji-clip, the guide: `python -m samplesmith.training.embedded.clip --output runs/clip --autoencoder FOLDER`.

An open_clip model under its own JSON config. Each step holds, beside unique scenes and captions,
- for every picture four captions that are nearly right (other counts, another relation or order), and
- for every caption a picture that is nearly right (a sprite spoiled, run into another, removed, swapped or added),
so that the score tells a wrong count, and a melted sprite, from the right picture: what a search needs. Two aids, whose
weights are dropped afterwards: a head on the feature map finds the whole sprites, and linear heads
read counts, background and relation from the embeddings of pictures and captions alike (`attributes.py`).
Needs: `pip install samplesmith[train]`. About 25 scenes/s on one core, two pictures and five captions each.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTokenizer

from ... import scenes
from ...scenes import DrawnScene, Scene, negatives
from ...scenes.hard_captions import hard_captions
from .attributes import AttributeHeads, counts_of
from .autoencoder import reconstruct
from .detector import degrade, focal_loss
from .run import Run, images_to_tensor, initial_weights, recipe_parser, set_learning_rate
from .text import CONTEXT_LENGTH, build_tokenizer, extend_tokenizer, extended_embedding

NAME, WEIGHTS = "emoji-clip", "open_clip_model.safetensors"
EMBEDDING = "token_embedding.weight"
BATCH, HARD_CAPTIONS = 32, 4
DIGITS_SHARE = 0.25
PEAK_LEARNING_RATE = 1e-3
GENERATED_EVERY, LATENT_NOISE = 4, 0.35
"""How often half of a batch looks generated, and the largest noise on its latents, in their standard deviations."""
LOG_EVERY, EVALUATE_EVERY = 50, 400
HELD_OUT_SEED = 77
WIDTH = 24
PATCH = 16
"""Pixels a cell of the third stage's feature map, where sprites are found."""

Look = Callable[[Run, torch.Tensor, list[str]], torch.Tensor]
"""Makes pictures (batch, 3, height, width) in [-1, 1], of these captions, look as the guide will meet them."""


def as_generated(autoencoder: AutoencoderKL) -> Look:
    """Every few steps half of the pictures go through the autoencoder, with noise on their latents."""

    def look(run: Run, x: torch.Tensor, captions: list[str]) -> torch.Tensor:
        if run.step % GENERATED_EVERY == 0:
            noise = LATENT_NOISE * float(torch.rand((), generator=run.generator))
            x[::2] = reconstruct(autoencoder, x[::2], noise, run.generator)
        return x

    return look


def write_config(folder: Path, vocabulary_size: int) -> None:
    """`open_clip_config.json`, by which `open_clip.create_model_and_transforms("local-dir:...")` builds the model."""
    half = [0.5, 0.5, 0.5]
    config = {
        "model_cfg": {
            "embed_dim": 128,
            "init_logit_scale": 3.7,
            "vision_cfg": {
                "image_size": scenes.IMAGE_SIZE,
                "layers": [1, 2, 2, 1],
                "width": WIDTH,
                "head_width": 64,
            },
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": vocabulary_size,
                "hf_tokenizer_name": folder.name,
                "width": 192,
                "heads": 3,
                "layers": 3,
            },
        },
        "preprocess_cfg": {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def nearly_right(rng: np.random.Generator, drawn: DrawnScene, asked: Scene | None = None) -> DrawnScene:
    """A picture of which a caption, by default the scene's own, is not true any more."""
    changed = _changed(rng, drawn)
    while changed.shows(asked or drawn.scene):  # what an open caption does not name may come and go
        changed = _changed(rng, drawn)
    return changed


def _changed(rng: np.random.Generator, drawn: DrawnScene) -> DrawnScene:
    chance = rng.random()
    if chance < 0.4:
        return negatives.spoil(rng, drawn)
    if chance < 0.55:
        return negatives.merge(rng, drawn)
    if chance < 0.65:
        return negatives.remove(rng, drawn)
    if chance < 0.75:
        return negatives.swap(rng, drawn)
    return negatives.add(rng, drawn) or negatives.spoil(rng, drawn)


def unique_scenes(rng: np.random.Generator, count: int, held_out: bool | None) -> list[DrawnScene]:
    drawn: dict[str, DrawnScene] = {}
    while len(drawn) < count:
        scene = scenes.sample_scene(rng, held_out=held_out)
        if scene.caption not in drawn:
            drawn[scene.caption] = scenes.draw(rng, scene)
    return list(drawn.values())


def patch_maps(drawn: list[DrawnScene]) -> torch.Tensor:
    """(batch, patches, 24): 1 where the centre of a whole sprite lies in the patch."""
    side = scenes.IMAGE_SIZE // PATCH
    maps = torch.zeros(len(drawn), side * side, len(scenes.OBJECTS))
    for i, one in enumerate(drawn):
        for sprite in one.sprites:
            x, y = (min(side - 1, int(position / PATCH)) for position in sprite.center)
            maps[i, y * side + x, scenes.OBJECTS.index(sprite.object)] = 1
    return maps


def also_true(asked: list[Scene], drawn: list[DrawnScene]) -> torch.Tensor:
    """(captions, pictures): whether a caption is true of a picture that is not its own."""
    true = torch.tensor([[one.shows(scene) for one in drawn] for scene in asked])
    return true.fill_diagonal_(False)


def contrastive_loss(image, negative, text, hard, scale, true):
    """Each picture picks its caption among all and its own hard ones; each caption its picture among all, spoiled too.

    Features are normalised: image, negative and text (batch, dim), hard (batch, hard captions, dim). A caption that is
    true of another's picture, `true` (batch, 2 batch), is no rival there.
    """
    target = torch.arange(len(image))
    # Masked after they are scaled: the scale's gradient at an infinite product is NaN.
    own_hard = scale * torch.einsum("bd,bhd->bh", image, hard)
    to_text = torch.cat([(scale * image @ text.T).masked_fill(true[:, : len(image)].T, -torch.inf), own_hard], 1)
    to_image = (scale * text @ torch.cat([image, negative]).T).masked_fill(true, -torch.inf)
    return (F.cross_entropy(to_text, target) + F.cross_entropy(to_image, target)) / 2


@torch.no_grad()
def pick_accuracy(model, tokenizer, drawn: list[DrawnScene], captions: list[list[str]], x: torch.Tensor) -> np.ndarray:
    """Whether each picture prefers its own caption to each of its `captions`; (batch,) of bools."""
    image = torch.cat([model.encode_image(part, normalize=True) for part in x.split(100)])
    right = []
    for one, feature, others in zip(drawn, image, captions, strict=True):
        text = model.encode_text(tokenizer([one.scene.caption, *others]), normalize=True)
        right.append(int((text @ feature).argmax()) == 0)
    return np.array(right)


def train(
    output: Path,
    look: Look,
    total_images: int,
    seed: int,
    name: str = NAME,
    start: Path | None = None,
    peak_learning_rate: float = PEAK_LEARNING_RATE,
    share: float = 1.0,
    measure: Callable[[nn.Module, Any], dict[str, Any]] = lambda model, tokenizer: {},
) -> nn.Module:
    """Train, or go on training.

    Args:
        output: of the run; the model is left in its folder `name`.
        look: how the pictures look.
        total_images: scenes where it ends; each brings two pictures and four captions.
        seed: of the run.
        name: of the model.
        start: folder of the model to go on from: its weights and its tokenizer; None for new ones.
        peak_learning_rate: after the warm-up.
        share: of the trained weights in the result, the rest being those of `start`. Going on from a good model, the
            mean of both is often better than either (arXiv 2109.01903).
        measure: of model and tokenizer, what else the log is to show.
    """
    folder = output / name
    vocabulary = build_tokenizer(folder) if start is None else extend_tokenizer(start, folder)
    write_config(folder, len(vocabulary))
    with initial_weights(seed):
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        finder, heads = nn.Linear(16 * WIDTH, len(scenes.OBJECTS)), AttributeHeads(128)
    if start is not None:
        began = load_file(start / WEIGHTS)
        old = CLIPTokenizer.from_pretrained(start)
        fresh = torch.Generator().manual_seed(seed)
        began[EMBEDDING] = extended_embedding(began[EMBEDDING].float(), old, vocabulary, fresh)
        model.load_state_dict(began)
    model.visual.to(memory_format=torch.channels_last)  # a third faster on a CPU
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    nn.init.constant_(finder.bias, -4.0)
    middle: list[torch.Tensor] = []
    model.visual.layer3.register_forward_hook(lambda *args: middle.append(args[-1].flatten(2).mT))
    parameters = [*model.parameters(), *finder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=peak_learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    run = Run(output, seed, total_images, {"model": model, "finder": finder, "heads": heads, "optimizer": optimizer})

    rng = np.random.default_rng(HELD_OUT_SEED)
    held_out = unique_scenes(rng, 500, held_out=None)
    x_held_out = images_to_tensor(np.stack([one.image for one in held_out]))
    choices = [hard_captions(rng, one.scene, 31) for one in held_out]
    x_near = images_to_tensor(np.stack([nearly_right(rng, one).image for one in held_out]))

    while run.progress < 1:
        cosine = 0.5 + 0.5 * math.cos(math.pi * run.progress)
        set_learning_rate(optimizer, peak_learning_rate * min(1, (run.step + 1) / 100) * cosine + 1e-6)
        drawn = unique_scenes(run.rng, BATCH, held_out=False)
        asked = [scenes.sample_description(run.rng, one.scene) for one in drawn]
        wrong = [nearly_right(run.rng, one, scene) for one, scene in zip(drawn, asked, strict=True)]
        hard_ones = [
            caption
            for one, scene in zip(drawn, asked, strict=True)
            for caption in hard_captions(run.rng, scene, HARD_CAPTIONS, one)
        ]
        said_so = [scene.caption for scene in asked]
        ids = tokenizer(
            [
                scenes.with_digits(caption) if run.rng.random() < DIGITS_SHARE else caption
                for caption in said_so + hard_ones
            ]
        )
        x = images_to_tensor(np.stack([one.image for one in (*drawn, *wrong)]))
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = degrade(look(run, x, said_so * 2), run.generator)
            middle.clear()
            seen = model.encode_image(x)
            said = model.encode_text(ids)
        seen, said = seen.float(), said.float()
        image, text = F.normalize(seen, dim=-1), F.normalize(said, dim=-1)
        captions, hard = text[:BATCH], text[BATCH:].view(BATCH, HARD_CAPTIONS, -1)
        match = contrastive_loss(
            image[:BATCH], image[BATCH:], captions, hard, model.logit_scale.exp(), also_true(asked, drawn + wrong)
        )
        find = focal_loss(finder(middle[0].float()), patch_maps([*drawn, *wrong]))
        pictured = [one.scene for one in (*drawn, *wrong)]
        written = asked + [scenes.parse(caption) for caption in hard_ones]
        read = heads.loss(seen, [counts_of(one) for one in (*drawn, *wrong)], pictured, BATCH)
        free = [scene.open for scene in written]
        read = read + heads.loss(said, [scene.counts for scene in written], written, len(written), free)
        loss = match + find + read
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        run.advance(BATCH)

        if run.step % LOG_EVERY == 0:
            run.log(match=match.item(), find=find.item(), read=read.item(), scale=model.logit_scale.exp().item())
        if run.step % EVALUATE_EVERY == 0 or run.progress == 1:
            model.eval()
            picked = pick_accuracy(model, tokenizer, held_out, choices, x_held_out)
            kinds = np.array([one.scene.kind for one in held_out])
            with torch.no_grad():
                text = model.encode_text(tokenizer([one.scene.caption for one in held_out]), normalize=True)
                better = (
                    (model.encode_image(x_held_out, normalize=True) * text).sum(1)
                    > (model.encode_image(x_near, normalize=True) * text).sum(1)
                ).float()
            run.log(
                picked=float(picked.mean()),
                by_kind={kind: round(float(picked[kinds == kind].mean()), 3) for kind in scenes.KINDS},
                better_than_spoiled=better.mean().item(),
                **measure(model, tokenizer),
            )
            model.train()
            run.save()

    if share < 1:
        for key, value in model.state_dict().items():
            if value.is_floating_point():  # a count of batches is none
                value.copy_(torch.lerp(began[key].float(), value, share))
    weights = {name: value.half().contiguous() for name, value in model.eval().state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    for spare in ("vocab.json", "merges.txt"):
        (folder / spare).unlink(missing_ok=True)  # tokenizer.json holds both
    return model


def main() -> None:
    parser = recipe_parser(__doc__, images=92_000)
    parser.add_argument("--start", type=Path, help="folder of an emoji-clip to go on from; left out: new weights")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shutil.rmtree(arguments.output / NAME, ignore_errors=True)
    autoencoder = AutoencoderKL.from_pretrained(arguments.autoencoder).eval()
    train(arguments.output, as_generated(autoencoder), arguments.images, arguments.seed, start=arguments.start)


if __name__ == "__main__":
    main()
