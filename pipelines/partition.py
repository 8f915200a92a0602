"""How conditions are dealt out to students, and a report of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .routing import ClassRouter, Router, TextRouter, balanced_kmeans, unit

EXAMPLES = 3


@dataclass(frozen=True)
class Partition:
    """Conditions by students.

    Attributes:
        router: that serves conditions by it.
        students: the student that trains on each condition, in the conditions' order.
        names: of the conditions: classes, or prompts.
        tightness: 1 - (mean square distance to the own cluster's mean) / (that to the mean of all), of embeddings of
            unit length; 0 says that clusters tell nothing, 1 that each is a point.
        routed: the share of conditions that the router sends to the student that trained on them.
    """

    router: Router
    students: tuple[int, ...]
    names: tuple[str, ...]
    tightness: float
    routed: float

    def rows(self, student: int) -> list[int]:
        """Indices of a student's conditions."""
        return [row for row, one in enumerate(self.students) if one == student]

    def report(self) -> str:
        """A line for each student, and one for the whole."""
        lines = []
        for student in range(self.router.students):
            own = self.rows(student)
            shown = ", ".join(self.names[row] for row in own[:EXAMPLES]) + (", ..." if len(own) > EXAMPLES else "")
            lines.append(f"student {student}: {len(own)} conditions: {shown}")
        lines.append(f"tightness {self.tightness:.2f}; {self.routed:.0%} go to the student that trained on them")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """What the report says, and the router."""
        sizes = [len(self.rows(student)) for student in range(self.router.students)]
        return {
            "router": self.router.to_json(),
            "sizes": sizes,
            "tightness": self.tightness,
            "routed": self.routed,
            "students": list(self.students),
        }


def partition_classes(
    labels: Sequence[int], embeddings: Tensor, students: int, names: Sequence[str], generator: torch.Generator
) -> Partition:
    """Deal classes out by their embeddings; each student gets as many, give or take one.

    Args:
        labels: of the classes.
        embeddings: (classes, width), such as the rows of the teacher's class embedding.
        students: K.
        names: of the classes.
        generator: of the clustering.

    Raises:
        ValueError: for fewer classes than students.
    """
    assigned, _ = balanced_kmeans(embeddings, students, generator)
    router = ClassRouter(dict(zip(labels, assigned, strict=True)))
    return Partition(router, tuple(assigned), tuple(names), _tightness(embeddings, assigned), 1.0)


def partition_texts(pooled: Tensor, students: int, prompts: Sequence[str], generator: torch.Generator) -> Partition:
    """Deal prompts out by their pooled embeddings; each student trains on as many, give or take one.

    When the pipeline is used, a prompt goes to the nearest centroid: `routed` says how often that is the student that
    trained on it, which balance costs where clusters are not of one size.

    Args:
        pooled: (prompts, width).
        students: K.
        prompts: that the embeddings are of.
        generator: of the clustering.

    Raises:
        ValueError: for fewer prompts than students.
    """
    assigned, centroids = balanced_kmeans(pooled, students, generator)
    router = TextRouter(centroids)
    same = [one == other for one, other in zip(router.route(pooled), assigned, strict=True)]
    tightness = _tightness(pooled, assigned)
    return Partition(router, tuple(assigned), tuple(prompts), tightness, sum(same) / len(same))


def _tightness(points: Tensor, assigned: Sequence[int]) -> float:
    points, labels = unit(points), torch.tensor(assigned)
    means = torch.stack([points[labels == k].mean(0) for k in range(max(assigned) + 1)])
    within = (points - means[labels]).square().sum(1).mean()
    whole = (points - points.mean(0)).square().sum(1).mean()
    return float(1 - within / whole.clamp_min(1e-12))
