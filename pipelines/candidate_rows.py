"""Several candidates in one call of a pipeline: trying tells which arguments are repeated, and by whom.

A list of pictures means one per row in one pipeline and several references of each row in another; some repeat texts
and embeddings themselves, some only texts, some nothing. So each form of the call is tried up to its first model call,
where no NFE is spent: it is right if each row's model inputs are those of the candidate alone. Where no form is,
candidates are made one by one. So are clips: some pipelines decode the frames of a whole batch as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from PIL import Image

from .dry_run import first_model_inputs, near
from .outputs import makes_clips
from .step_noise import step_noise

Arguments = dict[str, Any]
Form = Callable[[Sequence[Mapping[str, Any]], set[str]], Arguments]
"""Condition and other arguments of each candidate, the parameters of the call; gives the arguments of the call."""
Layout = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""How a model's input holds two candidates, of which it takes those of each alone."""

_NUMBER = re.compile(r"num_[a-z]+_per_prompt")
_PLAIN = (str, int, float, bool, type(None))


def number_parameter(parameters: set[str]) -> str | None:
    """The parameter by which a pipeline repeats a prompt itself."""
    return next((name for name in sorted(parameters) if _NUMBER.fullmatch(name)), None)


def condition(prompt: str | int | None, arguments: Mapping[str, Any], labelled: bool) -> Arguments:
    """What a pipeline is conditioned by; where embeddings are given, the prompt is for verifiers alone."""
    if labelled:
        return {"class_labels": [prompt]}
    return {} if arguments.get("prompt_embeds") is not None else {"prompt": prompt}


def by_number(candidates: Sequence[Mapping[str, Any]], parameters: set[str]) -> Arguments:
    """The pipeline repeats everything itself; the candidates are of one condition.

    Raises:
        ValueError: for a pipeline that cannot.
    """
    if (number := number_parameter(parameters)) is None:
        raise ValueError("the pipeline takes no number of images for each prompt; list the prompts")
    return {**candidates[0], number: len(candidates)}


def by_rows(candidates: Sequence[Mapping[str, Any]], parameters: set[str]) -> Arguments:
    """Texts and labels are listed, pictures and embeddings repeated here."""
    rows = len(candidates)
    repeated = {key: _repeated(key, value, rows) for key, value in candidates[0].items()}
    for key in {"prompt", "class_labels"} & repeated.keys():
        listed = [one[key] if isinstance(one[key], list) else [one[key]] for one in candidates]
        repeated[key] = [value for several in listed for value in several]
    return repeated | ({"batch_size": rows} if "batch_size" in parameters else {})


def _repeated(key: str, value: Any, rows: int) -> Any:
    if isinstance(value, Image.Image) or (isinstance(value, str) and "prompt" in key):
        return [value] * rows
    if isinstance(value, list) and len(value) == 1:
        return value * rows
    if not isinstance(value, (torch.Tensor, np.ndarray)) or value.ndim < 2:
        return value
    batch = value[None] if value.ndim == 3 and len(value) != 1 else value  # one picture without its batch
    if len(batch) != 1:
        return value
    return batch.repeat_interleave(rows, 0) if isinstance(batch, torch.Tensor) else batch.repeat(rows, 0)


def find_form(
    pipe: Any, parameters: set[str], first: Mapping[str, Any], second: Mapping[str, Any] | None = None
) -> Form | None:
    """The form in which the pipeline makes several candidates with one call; None where it makes one only.

    Args:
        pipe: a diffusers pipeline.
        parameters: of its call.
        first: arguments of a candidate, but for its generator.
        second: of one with another condition; None where all have the same.
    """
    if makes_clips(pipe):
        return None
    pair = [first, first if second is None else second]
    alone = [_inputs(pipe, one, [seed]) for seed, one in enumerate(pair)]
    other = alone[1] if second is None else _inputs(pipe, first, [1])
    if all(map(_equal, alone[0], other)):  # no noise has been drawn by then: rows could not be told apart
        return None
    fitting = []
    for form in (by_number, by_rows) if second is None and number_parameter(parameters) else (by_rows,):
        with suppress(Exception):  # not its form
            both = _inputs(pipe, form(pair, parameters), [0, 1])
            if _hold_both(both, *alone):
                plain = all(isinstance(value, _PLAIN) for value in first.values())
                if plain:  # nothing that a form may leave unrepeated
                    return form
                fitting.append((form, sum(map(_is_single, both, alone[0]))))
    # Embeddings that one form leaves unrepeated look like what all rows share.
    return min(fitting, key=lambda pair: pair[1])[0] if fitting else None


def _inputs(pipe: Any, arguments: Mapping[str, Any], seeds: list[int]) -> list[torch.Tensor]:
    """What the pipeline's first model call is given for candidates of these seeds."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    given = generators if len(seeds) > 1 else generators[0]
    with step_noise(pipe, seeds):
        inputs = first_model_inputs(pipe, {**arguments, "generator": given})
    return [value for value in inputs if isinstance(value, torch.Tensor)]


def _hold_both(both: list[torch.Tensor], first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    """Whether the model inputs of two candidates hold those of each alone, all in one layout."""
    rows = next((len(value) for value in first if value.ndim > 1), 1)
    return len(both) == len(first) == len(second) and any(
        all(_holds(layout, rows, *inputs) for inputs in zip(both, first, second, strict=True))
        for layout in (_side_by_side, _halves)
    )


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and near(one, other)


def _is_single(both: torch.Tensor, alone: torch.Tensor) -> bool:
    return both.ndim > 0 and both.shape == alone.shape


def _side_by_side(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Rows of each part of guidance beside each other: unconditional ones of both candidates, then conditional ones."""
    return torch.stack([first, second], 1).flatten(0, 1)


def _halves(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """All rows of the first candidate, then all of the second."""
    return torch.cat([first, second])


def _holds(layout: Layout, rows: int, both: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether a model input of two candidates holds that of each alone, of some rows, in a layout, or one for both."""
    if both.shape == first.shape == second.shape:
        of_rows = rows > 1 and both.ndim > 0 and len(both) == rows  # should have become twice as many
        return not of_rows and near(both, first) and near(both, second)
    if first.ndim > 1 and first.shape[1] == rows and both.shape[1] == 2 * rows:  # rows of each layer's embeddings
        both, first, second = both.transpose(0, 1), first.transpose(0, 1), second.transpose(0, 1)
    if both.ndim == 0 or first.shape != second.shape or both.shape != (2 * len(first), *first.shape[1:]):
        return False
    return near(both, layout(first, second))
