"""The teacher's own ODE from noise to sample, and regression on its two ends: a warm start for students of one step.

DMD (arXiv 2311.18828, section 3.3) keeps such a regression beside distribution matching, DMD2 drops it. On a small
budget a short run of it is cheap: the student then makes things worth matching from the first update on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .denoiser import Condition, Denoiser


@torch.no_grad()
def solve(
    teacher: Denoiser,
    noise: Tensor,
    times: Sequence[float],
    condition: Condition,
    null: Condition | None = None,
    scale: float = 1.0,
) -> Tensor:
    """The end of the teacher's probability-flow ODE, by DDIM's steps (Song et al., arXiv 2010.02502, eq. 12).

    On a flow they are Euler's.

    Args:
        teacher: the denoiser.
        noise: its start, (batch, ...), of unit variance.
        times: falling, on the path; the last step goes from the last of them to the data.
        condition, null: of the rows.
        scale: of guidance.
    """
    x = noise
    for i, now in enumerate(times):
        t = x.new_full((len(x),), now)
        found = teacher.read(teacher.guided(x, t, condition, null, scale), x, t)
        x = (
            found.x0
            if i + 1 == len(times)
            else teacher.noised(found.x0, found.eps, x.new_full((len(x),), times[i + 1]))
        )
    return x


def loss(made: Tensor, wanted: Tensor) -> Tensor:
    """The mean square error of what the student makes of a noise and what the teacher made of it."""
    return (made - wanted).square().mean()
