"""One call of any diffusers pipeline for a batch of candidates: what it accepts is read from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .candidate_rows import Form, condition, find_form, number_parameter
from .moved_noise import Lineage, moved_noise
from .outputs import check_output, finished_pixels
from .shadow import shadowed
from .step_noise import check_step_noise, step_generators, step_noise

OWNED = ("generator", "latents", "batch_size", "output_type", "return_dict", "prompt", "class_labels")
"""Arguments that the search sets itself, beside the number of pictures per prompt."""

_UNKNOWN: Any = object()

_ENCODED_TYPES = (str, int, float, bool, type(None), torch.device, torch.dtype)


class PipelineCall:
    """Runs batches of one prompt's candidates through an unmodified pipeline.

    Args:
        pipe: any diffusers pipeline that makes pictures or clips of prompts or class labels.
        arguments: of one candidate, as the plain pipeline takes them.

    Attributes:
        gives_noise: whether noise was drawn that the plain pipeline would draw from torch's global generator (of its
            scheduler's steps, or of a picture's encoding): what was made can be made again by this class alone.

    Raises:
        ValueError: for a pipeline that cannot take a generator per candidate or makes no pictures, or arguments that it
            does not have.
        GlobalNoise: for a scheduler whose noise no generator decides.
    """

    def __init__(self, pipe: Any, arguments: Mapping[str, Any]):
        self.pipe = pipe
        self.arguments = dict(arguments)
        self.gives_noise = False
        self._form: Form | None = _UNKNOWN
        self.parameters = set(inspect.signature(type(pipe).__call__).parameters) - {"self"}
        name = type(pipe).__name__
        if "generator" not in self.parameters:
            raise ValueError(f"{name} takes no generator=, so its candidates cannot be told apart or made again")
        if not {"prompt", "class_labels"} & self.parameters:
            raise ValueError(f"{name} takes neither prompt= nor class_labels=; a search needs one of them")
        if owned := [key for key in arguments if key in (*OWNED, number_parameter(self.parameters))]:
            raise ValueError(f"{', '.join(owned)}: set by the search for each candidate; leave it out")
        if unknown := [key for key in arguments if key not in self.parameters]:
            raise ValueError(f"{name} takes no {', '.join(unknown)}; it takes {', '.join(sorted(self.parameters))}")
        check_output(pipe)
        check_step_noise(pipe)

    @property
    def takes_labels(self) -> bool:
        """Whether it is conditioned on class labels and not on texts."""
        return "prompt" not in self.parameters

    def row_arguments(self, prompt: str | int | None, rows: int) -> dict[str, Any]:
        """The arguments that make `rows` candidates of a prompt in one call, but for their generators.

        Args:
            prompt: of all of them; None where `prompt_embeds` are among the arguments.
            rows: how many; of several, the first time, the right form is found by trying (`find_form`).

        Raises:
            ValueError: for several rows where the pipeline makes one per call.
        """
        one = self._one(prompt)
        if rows == 1:
            return one
        if not self.makes_rows(prompt):
            raise ValueError(
                f"{type(self.pipe).__name__} makes one candidate per call with these arguments; set batch_size=1"
            )
        return self._form(one, self.parameters, rows)

    def makes_rows(self, prompt: str | int | None) -> bool:
        """Whether the pipeline makes several candidates of a prompt with one call."""
        if self._form is _UNKNOWN:
            self._form = find_form(self.pipe, self.parameters, self._one(prompt))
        return self._form is not None

    def __call__(
        self, prompt: str | int | None, seeds: Sequence[int], lineages: Sequence[Lineage] | None = None
    ) -> tuple[np.ndarray, list[bool]]:
        """Make one picture or clip per seed: in one call of the pipeline, or one by one where it takes no rows.

        Args:
            prompt: of all of them; None where `prompt_embeds` are among the arguments.
            seeds: one per row.
            lineages: moves of each row's noise (`moved_noise`); None for none.

        Returns:
            uint8 pictures (batch, height, width, 3) or clips (batch, frames, height, width, 3) with NaN shown as 0, and
            whether each is free of NaN and not blacked by a safety checker.

        Raises:
            ValueError: for an output that is no picture or clip for each row.
        """
        moves = [()] * len(seeds) if lineages is None else lineages
        if len(seeds) > 1 and not self.makes_rows(prompt):
            made = [self(prompt, [seed], [lineage]) for seed, lineage in zip(seeds, moves, strict=True)]
            return np.concatenate([pixels for pixels, _ in made]), [good for _, usable in made for good in usable]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        shown = {"output_type": "np"} if "output_type" in self.parameters else {}
        with step_noise(self.pipe, step_generators(seeds)) as steps, moved_noise(self.pipe, generators, moves):
            arguments = self.row_arguments(prompt, len(seeds))
            out = self.pipe(**arguments, generator=generators if len(seeds) > 1 else generators[0], **shown)
        self.gives_noise |= steps.given
        pixels, usable = finished_pixels(out)
        if len(pixels) != len(seeds):
            raise ValueError(f"{type(self.pipe).__name__} made {len(pixels)} pictures for {len(seeds)} candidates")
        return pixels, usable

    def _one(self, prompt: str | int | None) -> dict[str, Any]:
        """The arguments of one candidate, as the plain pipeline is called."""
        known = self._label(prompt) if self.takes_labels else prompt
        return {**condition(known, self.arguments, self.takes_labels), **self.arguments}

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
