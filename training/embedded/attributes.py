"""What a picture and its caption both say, as numbers: counts, background, and who stands where.

Linear heads read these from an embedding. The same heads serve pictures and captions, so both towers learn to hold each
attribute in the same directions, long before the contrastive loss alone would have told them to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...scenes import BACKGROUNDS, OBJECTS, DrawnScene, Scene
from ...scenes.grammar import MAX_COUNT

ROLES = ("left of: first", "left of: second", "above: first", "above: second")
ABSENT_WEIGHT = 0.05
"""Of an object that is not there: most are not."""
IGNORED = -100


def counts_target(counts: Sequence[dict[str, int]], free: Sequence[bool] | None = None) -> Tensor:
    """(batch, objects): how many of each, at most 6; of objects that are not named in a `free` row nothing is known."""
    free = [False] * len(counts) if free is None else free
    rows = [
        [min(counted.get(name, IGNORED if open_ else 0), MAX_COUNT) for name in OBJECTS]
        for counted, open_ in zip(counts, free, strict=True)
    ]
    return torch.tensor(rows)


def counts_of(drawn: DrawnScene) -> dict[str, int]:
    """Whole sprites in a picture, by object."""
    counts: dict[str, int] = {}
    for sprite in drawn.sprites:
        counts[sprite.object] = counts.get(sprite.object, 0) + 1
    return counts


def roles_target(scenes: Sequence[Scene]) -> Tensor:
    """(batch, objects): index into `ROLES` for the objects of a relation, ignored elsewhere."""
    target = torch.full((len(scenes), len(OBJECTS)), IGNORED)
    for row, scene in zip(target, scenes, strict=True):
        if scene.relation:
            start = 0 if scene.relation == "left of" else 2
            for k, group in enumerate(scene.groups):
                row[OBJECTS.index(group.object)] = start + k
    return target


class AttributeHeads(nn.Module):
    """Linear readings of an embedding (batch, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.counts = nn.Linear(width, len(OBJECTS) * (MAX_COUNT + 1))
        self.background = nn.Linear(width, len(BACKGROUNDS))
        self.roles = nn.Linear(width, len(OBJECTS) * len(ROLES))

    def loss(
        self,
        embedding: Tensor,
        counts: Sequence[dict[str, int]],
        scenes: Sequence[Scene],
        related: int,
        free: Sequence[bool] | None = None,
    ) -> Tensor:
        """Cross-entropy of all readings.

        Args:
            embedding: (batch, width).
            counts: by object, for each row.
            scenes: whose background holds for the row, where they name a background.
            related: rows from the start whose scene's relation holds too.
            free: rows in which objects that are not named may be there.
        """
        rows = len(embedding)
        weight = torch.ones(MAX_COUNT + 1)
        weight[0] = ABSENT_WEIGHT
        names = list(BACKGROUNDS)
        backgrounds = torch.tensor([names.index(s.background) if s.background else IGNORED for s in scenes])
        readings = [
            (self.counts(embedding).view(rows * len(OBJECTS), -1), counts_target(counts, free).flatten(), weight),
            (self.background(embedding), backgrounds, None),
            (self.roles(embedding[:related]).view(related * len(OBJECTS), -1), roles_target(scenes[:related]), None),
        ]
        losses = [
            F.cross_entropy(logits, target.flatten(), weights, ignore_index=IGNORED)
            for logits, target, weights in readings
            if (target != IGNORED).any()  # the mean over none is NaN
        ]
        return sum(losses, start=torch.zeros(()))
