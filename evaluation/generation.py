"""The images that a pipeline makes to be measured: any number of them, each from a condition and a seed of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..pipelines.call import PipelineCall


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
        batch_size: images in one call at most; a call is of one condition.
        arguments: of each call of the pipeline.

    Returns:
        batches of numbers and their images, uint8 (batch, height, width, channels).

    Raises:
        ValueError: for a pipeline or arguments that do not fit, and for images that hold NaN or were blacked.
    """
    call = PipelineCall(pipe, arguments or {})
    by_condition: dict[int, list[int]] = {}
    for number in numbers:
        by_condition.setdefault(number % len(conditions), []).append(number)
    for index, wanted in sorted(by_condition.items()):
        for start in range(0, len(wanted), batch_size):
            batch = wanted[start : start + batch_size]
            images, usable = call(conditions[index], [seed + number for number in batch])
            if bad := [seed + number for number, good in zip(batch, usable, strict=True) if not good]:
                raise ValueError(
                    f"the images of {conditions[index]!r} with the seeds {', '.join(map(str, bad))} hold NaN or were "
                    "blacked by a safety checker; they cannot be measured"
                )
            yield batch, images
