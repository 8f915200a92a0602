"""One call of any diffusers pipeline for a batch of rows: what it accepts is read from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from .candidate_rows import Form, condition, find_form, number_parameter
from .moved_noise import moved_noise
from .outputs import check_output, finished_pixels
from .row import Row
from .shadow import shadowed
from .started_from import started_from
from .step_noise import check_step_noise, step_noise

OWNED = ("generator", "latents", "batch_size", "output_type", "return_dict", "prompt", "class_labels")
"""Arguments that the search sets itself, beside the number of pictures per prompt."""

_ENCODED_TYPES = (str, int, float, bool, type(None), torch.device, torch.dtype)


class PipelineCall:
    """Runs batches of rows through an unmodified pipeline, each with its own condition, seed or latents, and noise.

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
        self._forms: dict[bool, Form | None] = {}
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

    def row_arguments(self, conditions: Sequence[str | int | None]) -> dict[str, Any]:
        """The arguments that make one candidate per condition in one call, but for their generators.

        Args:
            conditions: of the rows; they may be equal. The first time that there are several, `find_form` tries
                which form of the call is right.

        Raises:
            ValueError: for several rows where the pipeline makes one per call.
        """
        if len(conditions) == 1:
            return self._one(conditions[0])
        form = self._form(conditions)
        if form is None:
            raise ValueError(
                f"{type(self.pipe).__name__} makes one candidate per call with these arguments; set batch_size=1"
            )
        return form([self._one(condition) for condition in conditions], self.parameters)

    def makes_rows(self, conditions: Sequence[str | int | None]) -> bool:
        """Whether the pipeline makes several candidates with one call: of one condition, or of different ones."""
        return self._form(conditions) is not None

    def _form(self, conditions: Sequence[str | int | None]) -> Form | None:
        """The form of a call that makes these rows, found once; None where the pipeline makes one per call."""
        alike = _alike(conditions)
        if alike not in self._forms:
            # Of different prompts the shortest and the longest tell: their encodings may differ in length.
            ends = conditions[:1] if alike else (f(conditions, key=lambda one: len(str(one))) for f in (min, max))
            pair = [self._one(condition) for condition in ends]
            if not alike and pair[0] == pair[1]:  # all of one length
                pair[1] = self._one(next(one for one in conditions if one != conditions[0]))
            self._forms[alike] = find_form(self.pipe, self.parameters, *pair)
        return self._forms[alike]

    def __call__(self, rows: Sequence[Row]) -> tuple[np.ndarray, list[bool]]:
        """Make one picture or clip per row: in one call of the pipeline, or one by one where it takes no rows.

        Returns:
            uint8 pictures (batch, height, width, 3) or clips (batch, frames, height, width, 3) with NaN shown as 0, and
            whether each is free of NaN and not blacked by a safety checker.

        Raises:
            ValueError: for an output that is no picture or clip for each row, or rows of which some have latents.
        """
        conditions = [row.condition for row in rows]
        if len(rows) > 1 and not self.makes_rows(conditions):
            made = [self([row]) for row in rows]
            return np.concatenate([pixels for pixels, _ in made]), [good for _, usable in made for good in usable]
        generators = [torch.Generator().manual_seed(row.seed) for row in rows]
        shown = {"output_type": "np"} if "output_type" in self.parameters else {}
        with ExitStack() as stack:
            noise = step_noise(self.pipe, [row.seed for row in rows], [row.noise_key for row in rows])
            steps = stack.enter_context(noise)
            stack.enter_context(moved_noise(self.pipe, generators, [row.turns for row in rows]))
            if (latents := _latents(rows)) is not None:
                stack.enter_context(started_from(self.pipe, latents))
            arguments = self.row_arguments(conditions)
            out = self.pipe(**arguments, generator=generators if len(rows) > 1 else generators[0], **shown)
        self.gives_noise |= steps.given
        pixels, usable = finished_pixels(out)
        if len(pixels) != len(rows):
            raise ValueError(f"{type(self.pipe).__name__} made {len(pixels)} pictures for {len(rows)} candidates")
        return pixels, usable

    def _one(self, prompt: str | int | None) -> dict[str, Any]:
        """The arguments of one candidate, as the plain pipeline is called."""
        known = self._label(prompt) if self.takes_labels else prompt
        return {**condition(known, self.arguments, self.takes_labels), **self.arguments}

    def _label(self, prompt: str | int | None) -> int:
        if isinstance(prompt, int):
            return prompt
        if prompt is not None and prompt.isdecimal():
            return int(prompt)
        known = getattr(self.pipe, "labels", None) or {}
        if prompt not in known:
            raise ValueError(
                f"{prompt!r} is no class label of this {type(self.pipe).__name__}; give a number or a known name"
            )
        return self.pipe.get_label_ids([prompt])[0]


def _alike(conditions: Sequence[str | int | None]) -> bool:
    return len(set(conditions)) == 1


def _latents(rows: Sequence[Row]) -> torch.Tensor | None:
    """What the rows begin with instead of their noises; None where they begin with those."""
    given = [row.latents for row in rows if row.latents is not None]
    if given and len(given) < len(rows):
        raise ValueError(f"{len(given)} of {len(rows)} rows have latents; give all of them latents, or none")
    return torch.stack(given) if given else None


@contextmanager
def quiet(pipe: Any) -> Iterator[None]:
    """Hide the pipeline's own progress bar: the search shows one for the whole budget."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


_KEPT = 4
"""Encodings at once: those of one batch of prompts, in the sizes of a search's batches, whole ones and what is left."""


@contextmanager
def encode_once(pipe: Any) -> Iterator[None]:
    """Keep what `pipe.encode_prompt` returned last, by its arguments, while the context is open.

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
        encoded = kept.pop(key) if key in kept else original(*args, **kwargs)
        kept[key] = encoded  # now the latest
        if len(kept) > _KEPT:
            del kept[next(iter(kept))]
        return encoded

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
