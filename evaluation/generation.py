"""The images that a pipeline makes to be measured: any number of them, each from a condition and a seed of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..pipelines.call import PipelineCall
from ..pipelines.row import Row


def generate(
    pipe: Any,
    conditions: Sequence[str | int],
    numbers: Iterable[int],
    seed: int = 0,
    batch_size: int = 64,
    arguments: Mapping[str, Any] | None = None,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Make images, ordered by condition; image k has conditions[k % len(conditions)] and the seed `seed + k`.

    So an image depends on its number alone, and processes or a later run can share the numbers.

    Args:
        pipe: any diffusers pipeline that makes images of prompts or class labels.
        conditions: prompts, or class labels.
        numbers: which images.
        seed: of image 0.
        batch_size: images in one call at most, of as many conditions as it takes to fill it where the pipeline makes
            rows of different ones.
        arguments: of each call of the pipeline.

    Returns:
        batches of numbers and their images, uint8 (batch, height, width, channels).

    Raises:
        ValueError: for a pipeline or arguments that do not fit, and for images that hold NaN or were blacked.
    """
    call = PipelineCall(pipe, arguments or {})
    # Ordered by condition, so that a batch holds few of them, and equal ones stand together.
    wanted = sorted(numbers, key=lambda number: (number % len(conditions), number))
    for start in range(0, len(wanted), batch_size):
        batch = wanted[start : start + batch_size]
        rows = [Row(conditions[number % len(conditions)], seed + number) for number in batch]
        images, usable = call(rows)
        if bad := [row for row, good in zip(rows, usable, strict=True) if not good]:
            named = ", ".join(f"{row.condition!r} with the seed {row.seed}" for row in bad)
            raise ValueError(
                f"the images of {named} hold NaN or were blacked by a safety checker; they cannot be measured"
            )
        yield batch, images
