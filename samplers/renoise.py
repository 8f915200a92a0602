"""Back along a path: a sample of one time made one of a noisier time, by the noise that lies between them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .clean_prediction import known_path, place_of
from .interpolants import expand
from .wrapped import innermost


def renoise(sample: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor, to_alpha: Tensor, to_sigma: Tensor) -> Tensor:
    """x_s' = a x_s + (sigma'^2 - a^2 sigma^2)^(1/2) eps with a = alpha' / alpha: a draw of x_s' given x_s.

    The path's own transition towards noise (Kingma et al., arXiv 2107.00630, eq. 20), as search over paths takes it.

    Args:
        sample: (batch, ...), where the path has `alpha` and `sigma`.
        noise: of its shape, a standard normal draw.
        alpha, sigma, to_alpha, to_sigma: of both times, of any shape that expands over the batch; `to` the noisier.
    """
    ratio = to_alpha / alpha
    spread = (to_sigma**2 - (ratio * sigma) ** 2).clamp_min(0).sqrt()
    return (expand(ratio, sample) * sample + expand(spread, sample) * noise).to(sample.dtype)


def renoised_to(scheduler: Any, sample: Tensor, noise: Tensor, call: int, to_call: int) -> Tensor:
    """A sample that stands before one call of `step`, taken back to where samples stand before an earlier one.

    Args:
        scheduler: whose timesteps are set; one that wraps another is read as its child.
        sample: (batch, ...).
        noise: of its shape.
        call: number in the run, from 0; the number of calls for the end of the run.
        to_call: an earlier one.

    Raises:
        ValueError: for a scheduler whose path is not known, or a call that is no earlier one.
    """
    inner = innermost(scheduler)
    if not 0 <= to_call < call:
        raise ValueError(f"a sample before call {call} cannot go back to call {to_call}; give an earlier one, from 0")
    path = known_path(inner)
    (source, here), (target, there) = (place_of(inner, path, index) for index in (call, to_call))
    alpha, sigma = source.alpha(here), source.sigma(here)
    return renoise(sample, noise, alpha, sigma, target.alpha(there), target.sigma(there))
