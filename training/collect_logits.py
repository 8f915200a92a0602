"""CoRe²'s collect phase for autoregressive image models: conditional and unconditional log-probabilities of each token.

Sequences are drawn with guidance; then one forward of each, with and without the condition, gives the log-probabilities
of all their tokens. `reflect` makes a `WeakLogitsModel` of the folder, as it makes a `WeakModel` of `collect`'s. Cost
per sequence: 2 forwards for each token, and 2 of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.weak_logits import token_window
from ..samplers.hooks.weak_to_strong import WeakToStrongConfig
from ..samplers.token_sampling import sample_tokens
from ..samplers.weak_to_strong_logits import WeakToStrongLogitsProcessor
from ..verifiers.identity import hash_weights
from .collect import CollectSettings
from .collected import Index, Items, ShardEntry, Trajectory
from .recorded_steps import chosen_steps
from .shard_run import fill

GUIDED = WeakToStrongConfig(scale=1.0, strong_until=1.0)
"""Plain guidance of every token."""


def collect_logits(
    model: Any,
    prompts: Sequence[Sequence[int]],
    unconditional: Sequence[int],
    max_new_tokens: int,
    folder: str | Path,
    settings: CollectSettings | None = None,
    guidance_scale: float = 2.0,
    context: int = 8,
    progress: bool = True,
) -> Index:
    """
    Draw sequences of a model and keep log-probabilities of their tokens; the same call again goes on.

    Args:
        model: a causal model of transformers.
        prompts: token ids that the sequences begin with, of one length, such as a class token each.
        unconditional: token ids in place of a prompt, where there is no condition.
        max_new_tokens: of each sequence.
        folder: for shards and `index.json`.
        settings: how many sequences, and which of their tokens; `min_score` and `layout` have no meaning here.
        guidance_scale: w, of the sequences that are drawn.
        context: last tokens that a weak model will see, as in `WeakLogitsModel`.
        progress: show a bar.

    Raises:
        CollectionError: for a folder of another collection or in use, and for a full disk.
        ValueError: for no prompts, or prompts of several lengths.
    """
    if not prompts or len({len(prompt) for prompt in prompts}) != 1:
        raise ValueError(f"there are {len(prompts)} prompts; give at least one, all of one length")
    maker = _LogitsMaker(
        model,
        torch.tensor([list(prompt) for prompt in prompts]),
        torch.tensor([list(unconditional)]),
        max_new_tokens,
        settings or CollectSettings(),
        guidance_scale,
        context,
    )
    return fill(Path(folder), maker, progress)


class _LogitsMaker:
    """Makes shards of sequences."""

    def __init__(
        self,
        model: Any,
        prompts: Tensor,
        unconditional: Tensor,
        max_new_tokens: int,
        settings: CollectSettings,
        guidance_scale: float,
        context: int,
    ):
        self.model, self.prompts, self.unconditional = model, prompts, unconditional
        self.tokens, self.settings = max_new_tokens, settings
        self.guidance_scale, self.context = guidance_scale, context

    @property
    def shards(self) -> int:
        return self.settings.shards(len(self.prompts))

    def describe(self) -> dict[str, Any]:
        return {
            **self.settings.describe(),
            "model": hash_weights(self.model),
            "prompts": self.prompts.tolist(),
            "unconditional": self.unconditional.tolist(),
            "tokens": self.tokens,
            "guidance_scale": self.guidance_scale,
            "context": self.context,
        }

    def numbers(self, shard: int, trajectory_bytes: int) -> range:
        return self.settings.numbers(len(self.prompts), shard, trajectory_bytes)

    @torch.no_grad()
    def make(self, shard: int, trajectory_bytes: int) -> tuple[ShardEntry, Items, int]:
        numbers = self.numbers(shard, trajectory_bytes)
        seeds = [self.settings.seed + number for number in numbers]
        prompts = self.prompts[torch.tensor([number % len(self.prompts) for number in numbers])]
        processor = WeakToStrongLogitsProcessor(
            self.model, self.unconditional, self.tokens, self.guidance_scale, GUIDED
        )
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        device = self.model.device
        ids = sample_tokens(self.model, prompts.to(device), self.tokens, generators, [processor])
        without = torch.cat([self.unconditional.to(device).expand(len(ids), -1), ids[:, prompts.shape[1] :]], dim=1)
        c, u = (self.model(one[:, :-1]).logits[:, -self.tokens :].float().log_softmax(-1) for one in (ids, without))
        steps = [sorted(chosen_steps(self.tokens, self.settings.keep_steps, seed)) for seed in seeds]
        rows = torch.tensor([row for row, kept in enumerate(steps) for _ in kept])
        at = torch.tensor([step for kept in steps for step in kept])
        begun = prompts.shape[1]
        seen = [
            token_window(ids[row : row + 1, : begun + step], self.context)
            for row, step in zip(rows.tolist(), at.tolist(), strict=True)
        ]
        items = Items(
            u[rows, at].to("cpu", self.settings.dtype),
            c[rows, at].to("cpu", self.settings.dtype),
            torch.cat(seen).to("cpu", torch.int32),
            at.float(),
            at.to(torch.int32),
            rows.to(torch.int32),
        )
        taken = sum(one.nbytes for one in items.tensors().values()) // len(seeds)
        fitting = self.numbers(shard, trajectory_bytes or taken)
        entry = ShardEntry(
            shard,
            tuple(Trajectory(n % len(self.prompts), seed, True) for n, seed in zip(fitting, seeds, strict=False)),
        )
        return entry, items[items.trajectory < len(fitting)], taken
