"""A scheduler's run that goes on with chosen rows of several runs, a row as often as several go on from it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from ..samplers import WindowedScheduler


def joined_run(rows: Sequence[tuple[WindowedScheduler, int]], made: int) -> WindowedScheduler:
    """A run that goes on with rows of several, in their order; those runs are left as they are.

    Args:
        rows: runs, and a row of each.
        made: calls of `step` so far, in each of them.
    """
    if not made:  # no row has a history yet
        return copy.deepcopy(rows[0][0])
    parts: list[tuple[WindowedScheduler, list[int]]] = []
    places = []
    for source, row in rows:  # a row that several nodes go on from is taken from as many copies of its batch
        k = next((k for k, (one, chosen) in enumerate(parts) if one is source and row not in chosen), len(parts))
        if k == len(parts):
            parts.append((source, []))
        parts[k][1].append(row)
        places.append((k, len(parts[k][1]) - 1))
    scheduler = WindowedScheduler.joined(parts)
    # They come out by parts, and go on in the order of the nodes.
    in_order = [(k, place) for k, (_, chosen) in enumerate(parts) for place in range(len(chosen))]
    scheduler.keep_rows([in_order.index(place) for place in places])
    return scheduler
