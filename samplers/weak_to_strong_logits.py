"""Weak-to-strong guidance of autoregressive image models: CoRe²'s refine phase on logits.

Classifier-free guidance of logits has the form of that of predictions, u + w (c - u) of log-probabilities, and doubles
the forwards of each token. CoRe² (Shao et al., arXiv 2503.09662): r stands for the guided logits in *fast* tokens, from
one forward; *slow* ones are r + s (g - r).

Seam: a `LogitsProcessor` of an unmodified transformers model's `generate`, which is called without guidance of its own.
Cost per token: 1 forward in fast ones, 2 in slow ones; the unconditional forward has a cache of its own, and catches up
on the tokens that it was not asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from .hooks.guidance_rules import guided, weak_to_strong
from .hooks.loop_position import LoopPosition
from .hooks.weak_to_strong import WeakToStrongConfig


class WeakToStrongLogitsProcessor(LogitsProcessor):
    """
    Guides what a model generates, by the rules of `WeakToStrongConfig`.

    One object for one call of `generate`: it keeps the unconditional sequence's cache. `begin` makes it ready for the
    next.

    Args:
        model: the causal model that generates; it is called for the unconditional logits.
        unconditional_ids: the tokens that stand for no condition, (1 or rows, length), in place of the prompt's.
        max_new_tokens: of the call, by which the shares of the config go.
        guidance_scale: w.
        config: where guidance is slow and where fast. Its `weak` is called as `WeakLogitsModel` is; None is the
            conditional prediction.

    Raises:
        ValueError: for no token to come.
    """

    def __init__(
        self,
        model: Any,
        unconditional_ids: Tensor,
        max_new_tokens: int,
        guidance_scale: float,
        config: WeakToStrongConfig | None = None,
    ):
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; give how many the call generates")
        self.model, self.unconditional_ids, self.total = model, unconditional_ids, max_new_tokens
        self.guidance_scale, self.config = guidance_scale, config or WeakToStrongConfig()
        self.begin()

    def begin(self) -> None:
        """Make ready for another call of `generate`."""
        self._prompt: int | None = None
        self._cache: Any = None
        self._told = 0

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """
        The logits from which the next token is drawn, (rows, vocab).

        Args:
            input_ids: tokens so far, the prompt's too, (rows, length).
            scores: conditional logits of the next one, (rows, vocab).
        """
        if self._prompt is None:
            self._prompt = input_ids.shape[1]
        position = LoopPosition(input_ids.shape[1] - self._prompt, self.total)
        conditional, config = scores.float().log_softmax(-1), self.config
        slow = position.is_within(config.strong_from, config.strong_until)
        scale = config.scale if slow else config.rest_scale
        strong = conditional
        if slow and scale != 0:
            strong = guided(self._unconditional(input_ids), conditional, self.guidance_scale)
        if scale == 1:
            return strong
        return weak_to_strong(self._weak(input_ids, conditional, position.index), strong, scale)

    def _weak(self, input_ids: Tensor, conditional: Tensor, index: int) -> Tensor:
        weak: Any = self.config.weak
        if weak is None:
            return conditional
        return weak(
            prediction=conditional,
            sample=input_ids,
            timestep=float(index),
            condition=None,
            guidance_scale=self.guidance_scale,
        )

    def _unconditional(self, input_ids: Tensor) -> Tensor:
        """Log-probabilities after the same generated tokens, without the prompt."""
        generated = input_ids[:, self._prompt :]
        if self._cache is None:
            prompt = self.unconditional_ids.to(input_ids.device).expand(len(input_ids), -1)
            new = torch.cat([prompt, generated], dim=1)
        else:
            new = generated[:, self._told :]
        output = self.model(new, past_key_values=self._cache, use_cache=True)
        self._cache, self._told = output.past_key_values, generated.shape[1]
        return output.logits[:, -1].float().log_softmax(-1)
