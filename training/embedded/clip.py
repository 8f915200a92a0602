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
from torch import Tensor, nn
from transformers import CLIPTokenizer

from ... import scenes
from ...scenes import DrawnScene
from ...scenes.hard_captions import hard_captions
from ...verifiers.identity import hash_weights
from ..loop import Figures, Loop
from ..loop_settings import LoopSettings
from ..randomness import initial_weights
from ..schedules import Progress, cosine, warm_up
from .attributes import AttributeHeads, counts_of
from .autoencoder import reconstruct
from .command_line import recipe_parser, run_recipe
from .contrastive import also_true, contrastive_loss
from .detector import degrade
from .nearly_right import nearly_right, unique_scenes
from .pixels import images_to_tensor
from .sprite_maps import focal_loss, patch_maps
from .text import CONTEXT_LENGTH, build_tokenizer, extend_tokenizer, extended_embedding

NAME, WEIGHTS = "emoji-clip", "open_clip_model.safetensors"
EMBEDDING = "token_embedding.weight"
BATCH, HARD_CAPTIONS = 32, 4
DIGITS_SHARE = 0.25
PEAK_LEARNING_RATE, LEAST_LEARNING_RATE, WARM_UP_IMAGES = 1e-3, 1e-6, 3200
GENERATED_EVERY, LATENT_NOISE = 4, 0.35
"""How often half of a batch looks generated, and the largest noise on its latents, in their standard deviations."""
LOG_EVERY, EVALUATE_EVERY = 50, 400
HELD_OUT_SEED, HELD_OUT, CHOICES = 77, 500, 31
"""Scenes that measure the model, and captions beside the right one among which it picks."""
WIDTH = 24

Look = Callable[[Loop, Tensor, list[str]], Tensor]
"""Makes pictures (batch, 3, height, width) in [-1, 1], of these captions, look as the guide will meet them."""
Measure = Callable[[open_clip.CLIP, Any], dict[str, Any]]
"""Of a model and its tokenizer, figures for the log."""


def as_generated(autoencoder: AutoencoderKL) -> Look:
    """Every few steps half of the pictures go through the autoencoder, with noise on their latents."""

    def look(loop: Loop, x: Tensor, captions: list[str]) -> Tensor:
        if loop.progress.step % GENERATED_EVERY == 0:
            noise = LATENT_NOISE * float(torch.rand((), generator=loop.generator))
            x[::2] = reconstruct(autoencoder, x[::2], noise, loop.generator)
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


@torch.no_grad()
def pick_accuracy(
    model: open_clip.CLIP, tokenizer: Any, drawn: list[DrawnScene], captions: list[list[str]], x: Tensor
) -> np.ndarray:
    """Whether each picture (batch, 3, height, width) prefers its own caption to each of its `captions`; (batch,)."""
    image = torch.cat([model.encode_image(part, normalize=True) for part in x.split(100)])
    right = []
    for picture, feature, others in zip(drawn, image, captions, strict=True):
        text = model.encode_text(tokenizer([picture.scene.caption, *others]), normalize=True)
        right.append(int((text @ feature).argmax()) == 0)
    return np.array(right)


def prefers(model: open_clip.CLIP, text: Tensor, right: Tensor, wrong: Tensor) -> float:
    """How often a caption stands nearer to its right picture than to the wrong one.

    Args:
        model: of pictures.
        text: normalised features (batch, dim) of the captions.
        right, wrong: pictures (batch, 3, height, width) in [-1, 1].

    Returns:
        their share, in [0, 1].
    """
    nearer, other = (
        (torch.cat([model.encode_image(part, normalize=True) for part in x.split(100)]) * text).sum(1)
        for x in (right, wrong)
    )
    return (nearer > other).float().mean().item()


class HeldOut:
    """Scenes that measure a model: does it pick the right caption, and the right picture over a nearly right one?"""

    def __init__(self) -> None:
        rng = np.random.default_rng(HELD_OUT_SEED)
        self.drawn = unique_scenes(rng, HELD_OUT, held_out=None)
        self.x = images_to_tensor(np.stack([picture.image for picture in self.drawn]))
        self.choices = [hard_captions(rng, picture.scene, CHOICES) for picture in self.drawn]
        self.x_near = images_to_tensor(np.stack([nearly_right(rng, picture).image for picture in self.drawn]))

    def __call__(self, model: open_clip.CLIP, tokenizer: Any) -> dict[str, Any]:
        picked = pick_accuracy(model, tokenizer, self.drawn, self.choices, self.x)
        kinds = np.array([picture.scene.kind for picture in self.drawn])
        text = model.encode_text(tokenizer([picture.scene.caption for picture in self.drawn]), normalize=True)
        return {
            "picked": float(picked.mean()),
            "by_kind": {
                kind: round(float(picked[kinds == kind].mean()), 3) for kind in scenes.KINDS if (kinds == kind).any()
            },
            "better_than_spoiled": prefers(model, text, self.x, self.x_near),
        }


def schedule(progress: Progress) -> float:
    """A warm-up and a cosine."""
    return warm_up(progress, WARM_UP_IMAGES) * cosine(progress)


class ContrastTask:
    """Pictures and captions that pick each other, sprites that are found, attributes that are read.

    Args:
        model: with its first weights.
        tokenizer: of open_clip.
        finder, heads: the two aids.
        look: how the pictures look.
        measures: what the log is to show.
        peak_learning_rate: after the warm-up.
    """

    def __init__(
        self,
        model: open_clip.CLIP,
        tokenizer: Any,
        finder: nn.Linear,
        heads: AttributeHeads,
        look: Look,
        measures: list[Measure],
        peak_learning_rate: float,
    ):
        self.networks = nn.ModuleDict({"model": model, "finder": finder, "heads": heads})
        self.model, self.finder, self.heads = model, finder, heads
        self.tokenizer, self.look, self.measures = tokenizer, look, measures
        self.middle = torch.empty(0)
        model.visual.layer3.register_forward_hook(self._keep_middle)
        parameters = list(self.networks.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=peak_learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.optimizer.register_step_post_hook(self._limit_scale)

    def _keep_middle(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.middle = output.flatten(2).mT

    def _limit_scale(self, *_: Any) -> None:
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        count = loop.settings.batch_size
        right = unique_scenes(loop.rng, count, held_out=False)
        captions = [scenes.sample_description(loop.rng, picture.scene) for picture in right]
        wrong = [nearly_right(loop.rng, picture, scene) for picture, scene in zip(right, captions, strict=True)]
        hard = [
            caption
            for picture, scene in zip(right, captions, strict=True)
            for caption in hard_captions(loop.rng, scene, HARD_CAPTIONS, picture)
        ]
        texts = [scene.caption for scene in captions]
        ids = self.tokenizer(
            [scenes.with_digits(text) if loop.rng.random() < DIGITS_SHARE else text for text in texts + hard]
        )
        drawn = [*right, *wrong]
        x = images_to_tensor(np.stack([picture.image for picture in drawn]))
        x = x.contiguous(memory_format=torch.channels_last)
        with loop.autocast():
            x = degrade(self.look(loop, x, texts * 2), loop.generator)
            seen = self.model.encode_image(x)
            said = self.model.encode_text(ids)
        seen, said = seen.float(), said.float()
        image, text = F.normalize(seen, dim=-1), F.normalize(said, dim=-1)
        match = contrastive_loss(
            image[:count],
            image[count:],
            text[:count],
            text[count:].view(count, HARD_CAPTIONS, -1),
            self.model.logit_scale.exp(),
            also_true(captions, drawn),
        )
        find = focal_loss(self.finder(self.middle.float()), patch_maps(drawn))
        pictured = [picture.scene for picture in drawn]
        written = captions + [scenes.parse(caption) for caption in hard]
        read = self.heads.loss(seen, [counts_of(picture) for picture in drawn], pictured, count)
        free = [scene.open for scene in written]
        read = read + self.heads.loss(said, [scene.counts for scene in written], written, len(written), free)
        scale = self.model.logit_scale.exp()
        return match + find + read, {"match": match, "find": find, "read": read, "scale": scale}

    def evaluate(self, loop: Loop) -> Figures:
        self.model.eval()
        figures: dict[str, Any] = {}
        for measure in self.measures:
            figures |= measure(self.model, self.tokenizer)
        self.model.train()
        return figures


def train(
    output: Path,
    look: Look,
    total_images: int,
    seed: int,
    name: str = NAME,
    start: Path | None = None,
    peak_learning_rate: float = PEAK_LEARNING_RATE,
    share: float = 1.0,
    measures: tuple[Measure, ...] = (),
    bf16: bool = True,
) -> open_clip.CLIP:
    """Train, or go on training.

    Args:
        output: of the run; the model is left in its folder `name`.
        look: how the pictures look.
        total_images: scenes where it ends; each brings two pictures and five captions.
        seed: of the run.
        name: of the model.
        start: folder of the model to go on from: its weights and its tokenizer; None for new ones.
        peak_learning_rate: after the warm-up.
        share: of the trained weights in the result, the rest being those of `start`. Going on from a good model, the
            mean of both is often better than either (arXiv 2109.01903).
        measures: what else the log is to show.
        bf16: whether it computes in bfloat16.

    Raises:
        WrongRunError: where the folder holds another run.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
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
    about = {"recipe": name, "start": "new weights" if start is None else hash_weights(model.visual)}
    model.visual.to(memory_format=torch.channels_last)  # a third faster on a CPU
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    nn.init.constant_(finder.bias, -4.0)
    task = ContrastTask(model, tokenizer, finder, heads, look, [HeldOut(), *measures], peak_learning_rate)
    settings = LoopSettings(
        total_images,
        BATCH,
        seed,
        lambda progress: schedule(progress) + LEAST_LEARNING_RATE / peak_learning_rate,
        gradient_norm=1.0,
        bf16=bf16,
        cpu=True,
        log_every=LOG_EVERY,
        evaluate_every=EVALUATE_EVERY,
        about=about,
    )
    Loop(output, task, settings).run()
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
    """The command line."""
    parser = recipe_parser(__doc__, images=92_000)
    parser.add_argument("--start", type=Path, help="folder of an emoji-clip to go on from; left out: new weights")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shutil.rmtree(arguments.output / NAME, ignore_errors=True)
    autoencoder = AutoencoderKL.from_pretrained(arguments.autoencoder).eval()
    train(
        arguments.output,
        as_generated(autoencoder),
        arguments.images,
        arguments.seed,
        start=arguments.start,
        bf16=not arguments.float32,
    )


if __name__ == "__main__":
    run_recipe(main)
