"""Drawing the tokens of an autoregressive model, each row from a generator of its own.

`generate` of transformers draws from torch's global generator; the same processors serve both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def sample_tokens(
    model: Any,
    input_ids: Tensor,
    max_new_tokens: int,
    generators: Sequence[torch.Generator],
    processors: Sequence[Callable[[Tensor, Tensor], Tensor]] = (),
) -> Tensor:
    """The prompt and the tokens that a model generates after it, (rows, length + max_new_tokens).

    A row depends on its own prompt and generator alone, but for the rounding of a batch.

    Args:
        model: a causal model of transformers.
        input_ids: prompts of one length, (rows, length).
        max_new_tokens: how many.
        generators: one for each row, on the CPU.
        processors: change the logits of each token, in this order, as `LogitsProcessor` does.

    Raises:
        ValueError: for another number of generators than rows.
    """
    if len(generators) != len(input_ids):
        raise ValueError(f"{len(generators)} generators for {len(input_ids)} rows; give one for each")
    tokens, cache = input_ids, None
    for _ in range(max_new_tokens):
        output = model(tokens if cache is None else tokens[:, -1:], past_key_values=cache, use_cache=True)
        cache, scores = output.past_key_values, output.logits[:, -1].float()
        for processor in processors:
            scores = processor(tokens, scores)
        drawn = torch.cat([torch.rand(1, generator=one) for one in generators]).to(scores.device)
        tokens = torch.cat([tokens, inverse_cdf(scores.softmax(-1), drawn)[:, None]], dim=1)
    return tokens


def inverse_cdf(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The first token up to which the probabilities exceed a number in [0, 1): (rows,) of (rows, vocab) and (rows,)."""
    reached = probabilities.double().cumsum(-1)
    reached = reached / reached[:, -1:]
    return (reached <= uniform.double()[:, None]).sum(-1).clamp_max(probabilities.shape[-1] - 1)
