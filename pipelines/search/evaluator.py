"""Makes pictures of nodes: of whole runs by one call of the pipeline, of others from where their parents stand.

What a node goes on from is kept while its prompt is searched. After a stop it is made again in the batches of the first
time, so that the same rows stand beside it and the same bits come out; those evaluations are counted as lost.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

import numpy as np
import torch
from torch import Tensor

from ...samplers.strategies import Node, Strategy
from ..call import PipelineCall
from ..counting import count_costs
from ..paused_rows import PausedRows
from ..previews import record_previews
from ..quick_previews import QuickPreview
from ..row import Row


@dataclass(frozen=True)
class Made:
    """What a batch of nodes was made into.

    Attributes:
        images: uint8 (batch, height, width, 3), or clips (batch, frames, height, width, 3).
        usable: whether each is free of NaN and not blacked by a safety checker.
        previews: earlier clean predictions of the same form, for verifiers that compare.
        early: clean predictions as latents, by the number of steps made, for early looks.
        own_noise: whether noise was drawn for them that the plain pipeline would not draw.
        nfe, decodes: of the whole batch, as counted.
    """

    images: np.ndarray
    usable: list[bool]
    previews: np.ndarray | None = None
    early: dict[int, Tensor] = field(default_factory=dict)
    own_noise: bool = False
    nfe: int = 0
    decodes: int = 0

    def __add__(self, other: Made) -> Made:
        previews = None if self.previews is None else np.concatenate([self.previews, other.previews])
        return Made(
            np.concatenate([self.images, other.images]),
            self.usable + other.usable,
            previews,
            {step: torch.cat([latents, other.early[step]]) for step, latents in self.early.items()},
            self.own_noise or other.own_noise,
            self.nfe + other.nfe,
            self.decodes + other.decodes,
        )


class Evaluator:
    """Makes nodes of one prompt after the other.

    Args:
        call: of the pipeline.
        preview_at: share of the run at which verifiers want a preview; None where none does.
        looks: after how many steps clean predictions are kept; None for each step, empty for no step.
        preview: shows those of paused rows; None for the pipeline's own decode.

    Attributes:
        rows: the paused ones.
        nfe_lost: evaluations that made nothing new: of batches that ran out of memory, or that were made again.
    """

    def __init__(
        self,
        call: PipelineCall,
        preview_at: float | None = None,
        looks: Sequence[int] | None = (),
        preview: QuickPreview | None = None,
    ):
        self.call, self.preview_at, self.looks = call, preview_at, looks
        self.rows = PausedRows(call, preview)
        self._autoencoders = () if preview is None else preview.modules
        self.nfe_lost = 0
        self._batches: dict[str, Sequence[Node]] = {}

    def begin(self) -> None:
        """Forget the nodes of the prompt before."""
        self.rows.clear()
        self._batches.clear()

    def keep(self, search: Strategy) -> None:
        """Forget where those nodes stand from which a search goes on no more."""
        self.rows.keep(search.needs_again)

    def remember(self, batch: Sequence[Node]) -> None:
        """Know the batch in which nodes were made, now or in an earlier run."""
        if not batch[0].finished:
            self._batches |= {node.id: batch for node in batch}

    def make(self, prompt: str | int | None, batch: Sequence[Node]) -> Made:
        """Run a batch, whose last legs have the same steps; out of memory, in halves."""
        self._make_parents(prompt, batch)
        with count_costs(self.call.pipe, self._autoencoders) as counted:
            try:
                return replace(self._run(prompt, batch), nfe=counted.nfe, decodes=counted.decodes)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
        self.nfe_lost += counted.nfe
        half = len(batch) // 2
        warnings.warn(f"out of memory with {len(batch)} candidates per call; going on with {half}", stacklevel=2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.make(prompt, batch[:half]) + self.make(prompt, batch[half:])

    def make_again(self, prompt: str | int | None, batch: Sequence[Node]) -> Made:
        """Make a batch that is on record already."""
        made = self.make(prompt, batch)
        self.nfe_lost += made.nfe
        return made

    def pictures(self, prompt: str | int | None, latents: Tensor) -> tuple[np.ndarray, list[bool]]:
        """Decode clean predictions of the nodes of a batch, (batch, ...)."""
        return self.rows.decoder([prompt] * len(latents), latents)

    def _make_parents(self, prompt: str | int | None, batch: Sequence[Node]) -> None:
        """Make what the batch goes on from, where it is not kept."""
        for node in batch:
            parent = node.parent
            if parent is not None and not self.rows.holds(parent):
                self.make_again(prompt, self._batches.get(parent.id, [parent]))

    def _run(self, prompt: str | int | None, batch: Sequence[Node]) -> Made:
        if batch[0].parent is not None or not batch[0].finished:
            advanced = self.rows.advance(prompt, batch)
            return Made(advanced.images, advanced.usable, own_noise=advanced.own_noise)
        rows = [Row(prompt, node.seed, node.turns, node.noise_key) for node in batch]
        if self.preview_at is None and self.looks == ():
            return Made(*self.call(rows), own_noise=self.call.gives_noise)
        if len(batch) > 1 and not self.call.makes_rows([prompt] * len(batch)):
            return reduce(add, (self._run(prompt, [node]) for node in batch))
        share = [] if self.preview_at is None else [self.preview_at]
        recorded = None if self.looks is None else [*share, *(step - 1 for step in self.looks)]
        with record_previews(self.call.pipe, recorded) as previews:
            images, usable = self.call(rows)
        # DiTPipeline steps both halves of a guided batch; the first is the images'.
        early = {step + 1: latents[: len(batch)] for step, latents in previews.latents.items()}
        pictures = None
        if self.preview_at is not None:
            pictures, whole = self.pictures(prompt, early[previews.step_of(self.preview_at) + 1])
            usable = [a and b for a, b in zip(usable, whole, strict=True)]
        looked_at = early.keys() if self.looks is None else self.looks
        looked = {step: early[step] for step in looked_at}
        return Made(images, usable, pictures, looked, self.call.gives_noise)
