"""Distribution matching (Yin et al., DMD, arXiv 2311.18828, eq. 7; DMD2, arXiv 2405.14867): down the KL's slope.

For x = G(z) and x_t = alpha x + sigma eps, the gradient of KL(p_fake,t || p_teacher,t) with respect to x is

    alpha (s_fake(x_t) - s_teacher(x_t)) = alpha^2 / sigma^2 (f_fake(x_t) - f_teacher(x_t))

with scores s and clean predictions f, because s = (alpha f - x_t) / sigma^2. `kl_weights` is that factor; training
takes `balanced_weights`, which give every sample and every time a gradient of like size.
"""

from __future__ import annotations

from torch import Tensor

from ...samplers.interpolants import Interpolant, expand

LEAST = 1e-6
"""Of what weights divide by: a student that hits the teacher's prediction gets a finite gradient."""


def kl_weights(path: Interpolant, t: Tensor) -> Tensor:
    """alpha^2 / sigma^2, with which `gradient` is the KL's own; of times (batch,), (batch,)."""
    return (path.alpha(t) / path.sigma(t)) ** 2


def balanced_weights(x: Tensor, teacher: Tensor) -> Tensor:
    """1 / sum |x - f_teacher| over each sample, (batch,), in float32 (arXiv 2311.18828, eq. 8).

    The sum over a sample and not its mean: `surrogate` sums too, so the two cancel and the loss has the size of the
    paper's, which means over the elements.
    """
    return 1 / (x.detach() - teacher).float().abs().flatten(1).sum(1).clamp_min(LEAST)


def gradient(fake: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """w (f_fake - f_teacher), of clean predictions (batch, ...) and weights (batch,)."""
    return expand(weights, fake) * (fake - teacher)


def surrogate(x: Tensor, gradient: Tensor) -> Tensor:
    """A loss of one number whose gradient with respect to each row of x is that row's `gradient` / batch.

    1/2 |x - stopgrad(x - gradient)|^2, summed over each sample, the mean over the batch.
    """
    return 0.5 * (x - (x - gradient).detach()).square().flatten(1).sum(1).mean()
