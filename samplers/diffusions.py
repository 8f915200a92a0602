"""g of a flow's reverse SDE, by name: how much noise its steps add."""

from __future__ import annotations

import torch
from torch import Tensor

from .interpolants import Interpolant

DIFFUSIONS = ("square", "linear", "constant", "natural")


def diffusion_squared(diffusion: str | None, norm: float, path: Interpolant, s: Tensor) -> Tensor:
    """g^2 at the path's time s; `diffusion` names g: norm s^2, norm s, norm, or natural.

    natural is norm^2 (2 sigma sigma' - 2 alpha' / alpha sigma^2), the diffusion of the forward process at norm 1;
    infinite where alpha is 0.

    Raises:
        ValueError: for an unknown name.
    """
    match diffusion:
        case None:
            return torch.zeros_like(s)
        case "square":
            return (norm * s * s) ** 2
        case "linear":
            return (norm * s) ** 2
        case "constant":
            return torch.full_like(s, norm**2)
        case "natural" if norm**2 == 0:
            return torch.zeros_like(s)  # no multiple of what is infinite
        case "natural":
            alpha, sigma = path.alpha(s), path.sigma(s)
            return norm**2 * 2 * sigma * (path.sigma_dot(s) - path.alpha_dot(s) / alpha * sigma)
    raise ValueError(f"unknown diffusion {diffusion!r}; known: {', '.join(DIFFUSIONS)}, or None for the ODE")
