"""One call of any diffusers pipeline for a batch of candidates: what it accepts is read from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image

from .moved_noise import Lineage, moved_noise
from .shadow import shadowed
from .step_noise import check_step_noise, step_generators, step_noise

OWNED = ("generator", "latents", "num_images_per_prompt", "output_type", "return_dict", "prompt", "class_labels")
"""Arguments that the search sets itself."""

_ENCODED_TYPES = (str, int, float, bool, type(None), torch.device, torch.dtype)


class PipelineCall:
    """Runs batches of one prompt's candidates through an unmodified pipeline.

    Args:
        pipe: any diffusers pipeline that makes images of prompts or class labels.
        arguments: passed to each call as they are; images, and texts beside an image, are repeated by row.

    Attributes:
        gives_step_noise: whether a scheduler drew noise of its steps that the plain pipeline would draw from torch's
            global generator: what was made can be made again by this class alone.

    Raises:
        ValueError: for a pipeline that cannot take a generator a candidate, or arguments that it does not have.
        GlobalNoise: for a scheduler whose noise no generator decides.
    """

    def __init__(self, pipe: Any, arguments: Mapping[str, Any]):
        self.pipe = pipe
        self.arguments = dict(arguments)
        self.gives_step_noise = False
        self.parameters = set(inspect.signature(type(pipe).__call__).parameters) - {"self"}
        name = type(pipe).__name__
        if "generator" not in self.parameters:
            raise ValueError(f"{name} takes no generator=, so its candidates cannot be told apart or made again")
        if not {"prompt", "class_labels"} & self.parameters:
            raise ValueError(f"{name} takes neither prompt= nor class_labels=; a search needs one of them")
        if owned := [key for key in arguments if key in OWNED]:
            raise ValueError(f"{', '.join(owned)}: set by the search for each candidate; leave it out")
        if unknown := [key for key in arguments if key not in self.parameters]:
            raise ValueError(f"{name} takes no {', '.join(unknown)}; it takes {', '.join(sorted(self.parameters))}")
        check_step_noise(pipe)

    @property
    def takes_labels(self) -> bool:
        """Whether it is conditioned on class labels and not on texts."""
        return "prompt" not in self.parameters

    def row_arguments(self, prompt: str | int, rows: int) -> dict[str, Any]:
        """The arguments that make `rows` candidates of a prompt, but for their generators."""
        if self.takes_labels:
            return {"class_labels": [self._label(prompt)] * rows, **self.arguments}
        by_row = any(_is_image(value) for value in self.arguments.values())
        if not by_row and "num_images_per_prompt" in self.parameters:
            return {"prompt": prompt, "num_images_per_prompt": rows, **self.arguments}
        repeated = {
            key: [value] * rows
            if _is_image(value) and not isinstance(value, (torch.Tensor, np.ndarray))
            else _repeat_rows(value, rows)
            if _is_image(value)
            else [value] * rows
            if isinstance(value, str) and "prompt" in key
            else value
            for key, value in self.arguments.items()
        }
        return {"prompt": [prompt] * rows, **repeated}

    def __call__(
        self, prompt: str | int, seeds: Sequence[int], lineages: Sequence[Lineage] | None = None
    ) -> tuple[np.ndarray, list[bool]]:
        """Make one image a seed.

        Args:
            prompt: of all of them.
            seeds: one a row.
            lineages: moves of each row's noise (`moved_noise`); None for none.

        Returns:
            uint8 images (batch, height, width, 3) with NaN shown as 0, and whether each is free of NaN and not blacked
            by a safety checker.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        moves = [()] * len(seeds) if lineages is None else lineages
        with step_noise(self.pipe, step_generators(seeds)) as steps, moved_noise(self.pipe, generators, moves):
            out = self.pipe(**self.row_arguments(prompt, len(seeds)), generator=generators, output_type="np")
        self.gives_step_noise |= steps.given
        return finished_pixels(out)

    def _label(self, prompt: str | int) -> int:
        if isinstance(prompt, int):
            return prompt
        if prompt.isdecimal():
            return int(prompt)
        known = getattr(self.pipe, "labels", None) or {}
        if prompt not in known:
            raise ValueError(
                f"{prompt!r} is no class label of this {type(self.pipe).__name__}; give a number or a known name"
            )
        return self.pipe.get_label_ids([prompt])[0]


def finished_pixels(out: Any) -> tuple[np.ndarray, list[bool]]:
    """What a pipeline's call with `output_type="np"` made: as `PipelineCall` returns it."""
    pixels, usable = as_pixels(np.asarray(out.images))
    blacked = getattr(out, "nsfw_content_detected", None) or [False] * len(pixels)
    return pixels, [good and not black for good, black in zip(usable, blacked, strict=True)]


def as_pixels(images: np.ndarray) -> tuple[np.ndarray, list[bool]]:
    """From [0, 1], (batch, height, width, 1 or 3), to uint8 with three channels; and whether each is free of NaN."""
    if images.shape[-1] == 1:  # verifiers look at colours
        images = images.repeat(3, -1)
    usable = np.isfinite(images).reshape(len(images), -1).all(1).tolist()
    return (np.nan_to_num(images).clip(0, 1) * 255).round().astype(np.uint8), usable


def _is_image(value: Any) -> bool:
    """A picture: PIL, or a tensor or array in the form of images or one image."""
    return isinstance(value, Image.Image) or (isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim in (3, 4))


def _repeat_rows(value: torch.Tensor | np.ndarray, rows: int) -> torch.Tensor | np.ndarray:
    batch = value[None] if value.ndim == 3 else value
    if len(batch) != 1:
        raise ValueError(f"an image argument holds {len(batch)} images; give one, it is repeated for each candidate")
    return batch.repeat_interleave(rows, 0) if isinstance(batch, torch.Tensor) else batch.repeat(rows, 0)


@contextmanager
def quiet(pipe: Any) -> Iterator[None]:
    """Hide the pipeline's own progress bar: the search shows one for the whole budget."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


@contextmanager
def encode_once(pipe: Any) -> Iterator[None]:
    """Keep what `pipe.encode_prompt` returns, by its arguments, while the context is open.

    Arguments that hold anything but plain values are not kept.
    """
    original = getattr(pipe, "encode_prompt", None)
    if original is None:
        yield
        return
    kept: dict[Any, Any] = {}
    signature = inspect.signature(original)

    def encode_prompt(original: Any, *args: Any, **kwargs: Any) -> Any:
        key = _key(signature.bind(*args, **kwargs).arguments)
        if key is None:
            return original(*args, **kwargs)
        if key not in kept:
            kept.clear()  # one prompt at a time is searched: keep its encodings only
            kept[key] = original(*args, **kwargs)
        return kept[key]

    with shadowed(pipe, "encode_prompt", encode_prompt):
        yield


def _key(arguments: Mapping[str, Any]) -> Any:
    key = []
    for name, value in arguments.items():
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if not all(isinstance(one, _ENCODED_TYPES) for one in values):
            return None
        key.append((name, type(value).__name__, values))
    return tuple(key)
