"""A student of fewer blocks than its teacher, which begins with some of the teacher's (BK-SDM, arXiv 2305.15798)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn


def spread_blocks(total: int, kept: int) -> list[int]:
    """Indices of `kept` of `total` blocks, evenly spread, with the first and the last."""
    if kept == 1:
        return [total - 1]
    return [round(i * (total - 1) / (kept - 1)) for i in range(kept)]


def shortened(teacher: Any, keep: Sequence[int]) -> Any:
    """A copy of a transformer of diffusers with some of its blocks.

    Args:
        teacher: with `transformer_blocks` and `num_layers` in its config.
        keep: rising indices of blocks; the last block must be among them, as it may differ in form.

    Raises:
        ValueError: for a network of another form, or indices that are no such choice.
    """
    blocks = getattr(teacher, "transformer_blocks", None)
    if not isinstance(blocks, nn.ModuleList) or "num_layers" not in teacher.config:
        raise ValueError(
            "only transformers with transformer_blocks can be shortened; give a student of your own instead"
        )
    if list(keep) != sorted(set(keep)) or not keep or keep[0] < 0 or keep[-1] != len(blocks) - 1:
        raise ValueError(
            f"blocks {list(keep)} of {len(blocks)} cannot be kept; give rising indices, the last among them"
        )
    student = copy.deepcopy(teacher)
    student.transformer_blocks = nn.ModuleList(student.transformer_blocks[index] for index in keep)
    student.register_to_config(num_layers=len(keep))
    return student
