"""Pictures that a generator drew, labelled by what whole sprites explain of them: negatives that nobody invents.

Scenes are drawn, noised and drawn anew by the pipeline's image-to-image class at strengths up to 1, where nothing of
them is left: the sprites melt as the generator's do. What is neither plainly whole nor plainly malformed is marked, so
that a loss can pass over it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3Pipeline

from ... import scenes
from ...scenes import Scene, Sprite
from ..checkpoints import FolderError
from .explanation import Explanation, Fit, explain

BATCH = 25
STEPS = 12
STRENGTHS = (0.6, 0.7, 0.8, 0.9, 1.0)
WHOLE_BELOW, MALFORMED_ABOVE = 0.04, 0.07
"""Share of a sprite's pixels that differ plainly from the atlas: whole below the first, malformed above the second."""
STRAY_STRENGTHS, STRAY_OUTSIDE = (15.0, 45.0), (12, 60)
"""The same of strays, by their strength or their pixels outside."""


@dataclass(frozen=True)
class GeneratedScene:
    """A picture and what is to be seen in it.

    Attributes:
        image: (128, 128, 3), uint8.
        background: a name in `BACKGROUNDS`.
        sprites: those that are whole.
        malformed: what is not.
        doubtful: what is neither plainly.
    """

    image: np.ndarray
    background: str
    sprites: tuple[Sprite, ...]
    malformed: tuple[Sprite, ...]
    doubtful: tuple[Sprite, ...]


def label(image: np.ndarray, explanation: Explanation) -> GeneratedScene:
    """What is whole, malformed and doubtful, by the constants of this module."""
    worst = {fit: _grade(fit.differing, WHOLE_BELOW, MALFORMED_ABOVE) for fit in explanation.fits}
    grades: list[list[Sprite]] = [[], [], []]
    for stray in explanation.strays:
        grade = max(_grade(stray.strength, *STRAY_STRENGTHS), _grade(stray.outside, *STRAY_OUTSIDE))
        owners = [fit for fit in explanation.fits if _lies_in(fit, stray.x, stray.y)]
        if grade and owners:
            worst[owners[0]] = max(worst[owners[0]], grade)
        elif grade:
            side = int(np.clip(2 * stray.area**0.5, 12, 48))
            grades[grade].append(Sprite("stray", int(stray.x - side / 2), int(stray.y - side / 2), side))
    for fit, grade in worst.items():
        side = round((fit.width * fit.height) ** 0.5)
        x, y = (round(middle - side / 2) for middle in fit.center)
        grades[grade].append(Sprite(fit.object, x, y, side))
    whole, doubtful, malformed = (tuple(some) for some in grades)
    return GeneratedScene(image, explanation.background, whole, malformed, doubtful)


def _grade(value: float, low: float, high: float) -> int:
    return int(value >= low) + int(value >= high)


def _lies_in(fit: Fit, x: float, y: float) -> bool:
    return fit.x <= x < fit.x + fit.width and fit.y <= y < fit.y + fit.height


def redraw(
    pipeline: StableDiffusion3Img2ImgPipeline, seed: int, guidance_scale: float, bf16: bool = True
) -> np.ndarray:
    """A batch of scenes, drawn and drawn anew at one strength, (batch, 128, 128, 3) uint8."""
    rng = np.random.default_rng(seed)
    pictures, drawn = scenes.draw_batch(rng, BATCH, held_out=False)
    captions = [_asked(rng, one.scene) for one in drawn]
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        images = pipeline(
            captions,
            image=torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255,
            strength=float(rng.choice(STRENGTHS)),
            num_inference_steps=STEPS,
            guidance_scale=guidance_scale,
            max_sequence_length=1,
            height=scenes.IMAGE_SIZE,
            width=scenes.IMAGE_SIZE,
            generator=[torch.Generator().manual_seed(seed * BATCH + i) for i in range(BATCH)],
            output_type="np",
        ).images
    return (images * 255).round().astype(np.uint8)


def _asked(rng: np.random.Generator, scene: Scene) -> str:
    """Mostly the scene's own caption; sometimes another's, so that what stands there is drawn over."""
    return (scenes.sample_scene(rng, held_out=False) if rng.random() < 0.25 else scene).caption


def generate_scenes(
    pipeline: StableDiffusion3Pipeline,
    count: int,
    seed: int,
    folder: Path,
    guidance_scale: float = 2.0,
    bf16: bool = True,
) -> list[GeneratedScene]:
    """Labelled pictures, kept in files of a batch each; a rerun goes on.

    Args:
        pipeline: an emoji-sd3.
        count: of pictures, rounded up to batches.
        seed: of the run.
        folder: of the files.
        guidance_scale: of the call.
        bf16: whether it computes in bfloat16.

    Raises:
        FolderError: where the folder holds another run's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about, written = {"seed": seed, "guidance_scale": guidance_scale}, folder / "generated.json"
    if written.exists() and json.loads(written.read_text()) != about:
        raise FolderError(f"{folder} holds pictures of another run; name another folder, or ask for the same run")
    written.write_text(json.dumps(about))
    redrawn = StableDiffusion3Img2ImgPipeline.from_pipe(pipeline)
    redrawn.set_progress_bar_config(disable=True)
    generated: list[GeneratedScene] = []
    for number in range(-(-count // BATCH)):
        file = folder / f"{number:05d}.npz"
        if not file.exists():
            images = redraw(redrawn, seed + number, guidance_scale, bf16)
            _write(file, [label(image, explain(image)) for image in images])
            if number % 10 == 0:
                print(f"labelled {number * BATCH} of {count} generated pictures", flush=True)
        generated += _read(file)
    return generated


def _write(file: Path, labelled: Sequence[GeneratedScene]) -> None:
    labels = [
        {"background": one.background}
        | {name: [asdict(sprite) for sprite in getattr(one, name)] for name in ("sprites", "malformed", "doubtful")}
        for one in labelled
    ]
    part = file.with_suffix(".part.npz")
    np.savez_compressed(part, images=np.stack([one.image for one in labelled]), labels=json.dumps(labels))
    os.replace(part, file)


def _read(file: Path) -> Iterator[GeneratedScene]:
    with np.load(file) as written:
        images, labels = written["images"], json.loads(str(written["labels"]))
    for image, one in zip(images, labels, strict=True):
        some = {name: tuple(Sprite(**sprite) for sprite in one[name]) for name in ("sprites", "malformed", "doubtful")}
        yield GeneratedScene(image, one["background"], **some)
