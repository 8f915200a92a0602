"""The unconditional row of a call whose pipeline does not guide: what its own guidance would start from.

Some pipelines encode an empty prompt for it, some take zeros (SDXL), all take a negative prompt. So the pipeline is
asked itself: its `encode_prompt` is called with and without guidance, and what appears with it are the unconditional
encodings. Seam: `encode_prompt`, whose output gets them in the rows of the empty prompt. Cost: a second encoding.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..shadow import shadowed

EMPTY = ""
"""Condition of an unconditional row."""

_GUIDED = "do_classifier_free_guidance"


def needs_text(pipe: Any) -> bool:
    """Whether an unconditional row is told by its text, as in pipelines that encode each prompt by itself (FLUX)."""
    encode = getattr(pipe, "encode_prompt", None)
    return encode is None or _GUIDED not in inspect.signature(encode).parameters


@contextmanager
def unconditional_rows(pipe: Any, negatives: Mapping[str, str | None]) -> Iterator[None]:
    """Give the rows of the prompt `EMPTY` the pipeline's own unconditional encodings while the context is open.

    Args:
        pipe: a diffusers pipeline.
        negatives: negative prompts by the names of the pipeline's arguments (negative_prompt, negative_prompt_2, ...);
            empty for its default.
    """
    if needs_text(pipe):
        yield
        return

    def encode_prompt(original: Any, *args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        call = inspect.signature(original).bind(*args, **kwargs)
        prompt = call.arguments.get("prompt")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt or ())
        if call.arguments.get(_GUIDED, False) or EMPTY not in prompts:
            return out
        given = {name: [text] * len(prompts) for name, text in negatives.items() if text is not None}
        call.arguments |= {"prompt": prompts, _GUIDED: True} | given
        guided = original(*call.args, **call.kwargs)
        return _with_unconditional(out, guided, [one == EMPTY for one in prompts])

    with shadowed(pipe, "encode_prompt", encode_prompt):
        yield


def _with_unconditional(plain: Any, guided: Any, empty: list[bool]) -> Any:
    """Encodings in which the empty rows are those that guidance adds: the k-th added stands for the k-th that was.

    Args:
        plain: what `encode_prompt` gave without guidance; what guidance needs is None in it.
        guided: what it gave with guidance.
        empty: by prompt.

    Raises:
        ValueError: where guidance adds others than there were.
    """
    places = [k for k, value in enumerate(plain) if isinstance(value, torch.Tensor)]
    added = [guided[k] for k, value in enumerate(plain) if value is None and isinstance(guided[k], torch.Tensor)]
    if len(added) != len(places) or any(one.shape != plain[k].shape for one, k in zip(added, places, strict=True)):
        raise ValueError(
            "the pipeline's unconditional encodings are not told apart from its prompts'; pass unconditional= with the "
            "text that its guidance starts from"
        )
    found = list(plain)
    for place, unconditional in zip(places, added, strict=True):
        value = found[place].clone()
        if len(value) % len(empty):
            continue  # of positions, which all prompts share
        each = len(value) // len(empty)
        rows = torch.tensor(empty).repeat_interleave(each).to(value.device)
        value[rows] = unconditional[rows].to(value)
        found[place] = value
    return type(plain)(found) if isinstance(plain, (list, tuple)) else found
