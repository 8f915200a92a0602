"""What a student makes: a clean sample in one call of its network, or in several with noise put back between them.

With fresh noise this is consistency models' sampling (Song et al., arXiv 2303.01469, algorithm 1), as DMD2 samples
(arXiv 2405.14867, section 4.4) and diffusers' LCMScheduler steps; with the predicted noise it is DDIM, or Euler on a
flow, so that a stock scheduler makes the same samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Condition, Denoiser

Redraw = Callable[[Tensor], Tensor]
"""Fresh noise in the form of a sample."""


def input_at(
    student: Denoiser, noise: Tensor, times: Sequence[float], step: int, condition: Condition, redraw: Redraw | None
) -> Tensor:
    """x at the student's own time `times[step]`, made by its steps before: what it will see when it is used.

    Args:
        student: the denoiser.
        noise: of unit variance, (batch, ...): its input at the first time.
        times: falling, on the path.
        step: from 0.
        condition: of the rows.
        redraw: of the noise that is put back; None: the predicted noise.
    """
    x = noise
    for now, later in pairwise(times[: step + 1]):
        found = student.predict(x, _rows(now, x), condition)
        x = student.noised(found.x0, found.eps if redraw is None else redraw(x), _rows(later, x))
    return x


def generate(
    student: Denoiser, noise: Tensor, times: Sequence[float], condition: Condition, redraw: Redraw | None = None
) -> Tensor:
    """The clean sample after all of the times; arguments as `input_at` takes them."""
    x = input_at(student, noise, times, len(times) - 1, condition, redraw)
    return student.predict(x, _rows(times[-1], x), condition).x0


def _rows(t: float, x: Tensor) -> Tensor:
    return x.new_full((len(x),), t)
