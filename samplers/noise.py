"""Moves of an initial noise on its shell: what a search does to a noise must leave it a plausible Gaussian draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

InitialNoise = Callable[[int, Tensor], Tensor]
"""Latents of a seed's noise, (1, ...), for a seed and a row of latents that shows their form."""

STEPS = 0x57E95
"""Stream of the noise that a scheduler adds in its steps (`stream_seed`)."""


def rotate(noise: Tensor, direction: Tensor, angle: float | Sequence[float]) -> Tensor:
    """n' = cos(angle) n + sin(angle) u, with u the part of `direction` orthogonal to n, at n's norm.

    The norm is kept, so n' lies on the shell where Gaussian noise of this dimension does, at just this angle from n.

    Args:
        noise, direction: (batch, ...), independent draws; computed in float64, returned in `noise`'s dtype.
        angle: radians; one for all rows, or one a row. At 0 a row is returned bit for bit.
    """
    n, w = noise.double().flatten(1), direction.double().flatten(1)
    norm = n.norm(dim=1, keepdim=True)
    u = w - (w * n).sum(1, keepdim=True) / norm**2 * n
    u = u * (norm / u.norm(dim=1, keepdim=True))
    theta = torch.as_tensor(angle, dtype=torch.float64, device=noise.device).expand(len(noise))[:, None]
    moved = (torch.cos(theta) * n + torch.sin(theta) * u).view(noise.shape).to(noise.dtype)
    return torch.where((theta == 0).view(-1, *[1] * (noise.ndim - 1)), noise, moved)


def drawn_noise(seed: int, like: Tensor) -> Tensor:
    """The noise that most pipelines draw for a seed, in the form of their latents; FLUX draws it before it packs."""
    generator = torch.Generator().manual_seed(seed)
    return randn_tensor(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def stream_seed(seed: int, stream: int = STEPS) -> int:
    """Seed of another stream of noise than the seed's own: 32 bits, as torch's CPU generators read no more of a seed.

    Args:
        seed: of a candidate, at least 0.
        stream: which one, at least 1.
    """
    return int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint32)[0])


def step_seed(seed: int, key: int, call: int) -> int:
    """Seed of the noise of one call of a scheduler's `step`, which nothing decides that was drawn before.

    Args:
        seed: of the candidate.
        key: of its noise; 0 where it has no other.
        call: number of the call in the run, from 0.
    """
    return int(np.random.SeedSequence([seed, STEPS, key, call]).generate_state(1, np.uint32)[0])


def direction_seed(seed: int, iteration: int, index: int) -> int:
    """Seed of the noise towards which neighbour `index` of an iteration is turned; 63 bits, the same everywhere."""
    return int(np.random.SeedSequence([seed, iteration, index]).generate_state(1, np.uint64)[0] >> 1)
