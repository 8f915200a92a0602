"""The score of what the student makes: a diffusion model that is trained on its samples as they change.

Two-time-scale rule (Yin et al., DMD2, arXiv 2405.14867, section 4.2): several updates of this model for each of the
student's, so that it stays true to a distribution that moves.
"""

from __future__ import annotations

from torch import Tensor

from .denoiser import Condition, Denoiser


def loss(fake: Denoiser, x: Tensor, noise: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
    """The denoising error in the network's own kind of output, and x_t, whose features the discriminator reads.

    Args:
        fake: the model.
        x: the student's samples, (batch, ...), without gradient.
        noise: of their shape.
        t: (batch,).
        condition: of the rows.

    Returns:
        a tensor of one number, and x_t.
    """
    x_t = fake.noised(x, noise, t)
    return (fake.output(x_t, t, condition) - fake.target(x, noise, t)).square().mean(), x_t


def is_student_turn(step: int, updates: int) -> bool:
    """Whether a step of the loop, from 0, is the student's: each comes after `updates` of the fake score."""
    return step % (updates + 1) == updates
