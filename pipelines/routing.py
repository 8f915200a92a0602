"""Which student serves a condition: a table of classes, or the nearest centroid of pooled text embeddings.

A router is deterministic and costs a product of a few vectors beside a student's forward. Its subsets are disjoint, of
equal size and clustered by meaning, as multi-student distillation asks (Song et al., arXiv 2410.23274, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

FITTED = 2000
"""Points that balanced k-means takes at most; it costs their cube."""


@dataclass(frozen=True)
class ClassRouter:
    """A table.

    Attributes:
        table: the student of each class label.

    Raises:
        ValueError: for a table that leaves a student without a class, or none at all.
    """

    table: Mapping[int, int]

    def __post_init__(self) -> None:
        found = set(self.table.values())
        if not found or found != set(range(max(found) + 1)):
            raise ValueError(f"the table of classes names students {sorted(found)}; give each of 0 to K - 1 a class")

    @property
    def students(self) -> int:
        """K."""
        return max(self.table.values()) + 1

    def route(self, labels: Sequence[int]) -> list[int]:
        """The student of each label.

        Raises:
            ValueError: for a label that is not in the table.
        """
        for label in labels:
            if label not in self.table:
                known = ", ".join(map(str, sorted(self.table)))
                raise ValueError(f"class {label} is none that a student was made for; known: {known}")
        return [self.table[label] for label in labels]

    def to_json(self) -> dict[str, Any]:
        """For `router_from_json`."""
        return {"kind": "classes", "table": {str(label): student for label, student in sorted(self.table.items())}}


@dataclass(frozen=True)
class TextRouter:
    """The nearest centroid by the cosine of pooled text embeddings.

    Attributes:
        centroids: (students, width), of unit length.
    """

    centroids: Tensor

    @property
    def students(self) -> int:
        """K."""
        return len(self.centroids)

    def route(self, pooled: Tensor) -> list[int]:
        """The student of each pooled embedding, (rows, width); a tie goes to the lower number.

        Raises:
            ValueError: for embeddings of another width.
        """
        if pooled.ndim != 2 or pooled.shape[1] != self.centroids.shape[1]:
            raise ValueError(
                f"pooled embeddings have shape {tuple(pooled.shape)}; the router was made for rows of width "
                f"{self.centroids.shape[1]}"
            )
        return (unit(pooled) @ self.centroids.T).argmax(1).tolist()

    def to_json(self) -> dict[str, Any]:
        """For `router_from_json`."""
        return {"kind": "texts", "centroids": self.centroids.tolist()}


Router = ClassRouter | TextRouter


def router_from_json(saved: Mapping[str, Any]) -> Router:
    """A router that `to_json` wrote.

    Raises:
        ValueError: for anything else.
    """
    match saved:
        case {"kind": "classes", "table": dict(table)}:
            return ClassRouter({int(label): int(student) for label, student in table.items()})
        case {"kind": "texts", "centroids": list(centroids)}:
            return TextRouter(torch.tensor(centroids))
    raise ValueError("the router is neither a table of classes nor centroids of texts")


def unit(points: Tensor) -> Tensor:
    """Rows of unit length, in float32 on the CPU."""
    points = points.detach().float().cpu()
    return points / points.norm(dim=1, keepdim=True).clamp_min(1e-12)


def balanced_kmeans(
    points: Tensor, clusters: int, generator: torch.Generator, restarts: int = 4, rounds: int = 30
) -> tuple[list[int], Tensor]:
    """Clusters whose sizes differ by one at most (Malinen and Fränti, 2014, doi 10.1007/978-3-662-44415-3_4).

    Lloyd's iteration with an assignment problem in place of the nearest centroid: each cluster has as many places as it
    may have points. Distances are those of points of unit length.

    Args:
        points: (n, width).
        clusters: from 1 to n.
        generator: of the first centroids, and of which points are taken where there are more than `FITTED`.
        restarts: from other points; the tightest clusters are kept.
        rounds: of each, at most.

    Returns:
        the cluster of each point, numbered by their first points, and the centroids (clusters, width), of unit length.
        Of more than `FITTED` points the others go to the nearest centroid with a place left.

    Raises:
        ValueError: for fewer points than clusters.
    """
    if not 1 <= clusters <= len(points):
        raise ValueError(f"{len(points)} conditions cannot be dealt out to {clusters} students; give at least as many")
    points = unit(points)
    fitted = points[torch.randperm(len(points), generator=generator)[:FITTED].sort().values]
    best: tuple[float, Tensor] | None = None
    for _ in range(restarts):
        centroids = fitted[torch.randperm(len(fitted), generator=generator)[:clusters]]
        labels = _assigned(fitted, centroids)
        for _ in range(rounds):
            centroids = unit(torch.stack([fitted[labels == k].mean(0) for k in range(clusters)]))
            moved = _assigned(fitted, centroids)
            if torch.equal(moved, labels):
                break
            labels = moved
        spread = float((fitted - centroids[labels]).square().sum())
        if best is None or spread < best[0]:
            best = spread, centroids
    assert best is not None
    labels = _assigned(points, best[1]) if len(points) <= FITTED else _dealt(points, best[1])
    order = list(dict.fromkeys(labels.tolist()))
    return [order.index(label) for label in labels.tolist()], best[1][order]


def _capacities(count: int, clusters: int) -> list[int]:
    return [count // clusters + (k < count % clusters) for k in range(clusters)]


def _assigned(points: Tensor, centroids: Tensor) -> Tensor:
    """The cheapest assignment to clusters of equal size."""
    distances = torch.cdist(points, centroids).square().double().numpy()
    places = np.repeat(np.arange(len(centroids)), _capacities(len(points), len(centroids)))
    rows, columns = linear_sum_assignment(distances[:, places])
    labels = torch.empty(len(points), dtype=torch.long)
    labels[torch.from_numpy(rows)] = torch.from_numpy(places[columns])
    return labels


def _dealt(points: Tensor, centroids: Tensor) -> Tensor:
    """Each to the nearest centroid with a place left; those with most to lose choose first."""
    distances = torch.cdist(points, centroids)
    left = _capacities(len(points), len(centroids))
    nearest, ordered = distances.sort(dim=1)
    first = nearest[:, 1] - nearest[:, 0] if len(centroids) > 1 else nearest[:, 0]
    labels = torch.empty(len(points), dtype=torch.long)
    for row in first.argsort(descending=True).tolist():
        labels[row] = next(k for k in ordered[row].tolist() if left[k])
        left[int(labels[row])] -= 1
    return labels
