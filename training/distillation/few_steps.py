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


def inputs(
    student: Denoiser, noise: Tensor, times: Sequence[float], condition: Condition, redraw: Redraw | None
) -> list[Tensor]:
    """x at each of the student's own times, made by its steps before: what it sees when it is used.

    Args:
        student: the denoiser.
        noise: of unit variance, (batch, ...): its input at the first time.
        times: falling, on the path.
        condition: of the rows.
        redraw: of the noise that is put back; None: the predicted noise.
    """
    x, found = noise, [noise]
    for now, later in pairwise(times):
        said = student.predict(x, _rows(now, x), condition)
        x = student.noised(said.x0, said.eps if redraw is None else redraw(x), _rows(later, x))
        found.append(x)
    return found


def input_at(
    student: Denoiser, noise: Tensor, times: Sequence[float], step: int, condition: Condition, redraw: Redraw | None
) -> Tensor:
    """The last of `inputs` up to a step, counted from 0."""
    return inputs(student, noise, times[: step + 1], condition, redraw)[-1]


def generate(
    student: Denoiser, noise: Tensor, times: Sequence[float], condition: Condition, redraw: Redraw | None = None
) -> Tensor:
    """The clean sample after all of the times; arguments as `input_at` takes them."""
    x = input_at(student, noise, times, len(times) - 1, condition, redraw)
    return student.predict(x, _rows(times[-1], x), condition).x0


def _rows(t: float, x: Tensor) -> Tensor:
    return x.new_full((len(x),), t)
