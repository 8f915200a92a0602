"""The form that weak models share: the guided prediction of the conditional one, for any guidance scale."""

from __future__ import annotations

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor


def guided_form(prediction: Tensor, difference: Tensor, scale: Tensor) -> Tensor:
    """r = c + (w - 1) d, where d stands for c - u: the guided prediction u + w (c - u) has this form in w.

    At w = 1 it is c, whatever d is. The sum is formed in float32.

    Args:
        prediction: c, (rows, ...).
        difference: d, of its shape.
        scale: w, (rows,).

    Returns:
        r, of the prediction's shape and type.
    """
    away = (scale - 1).view(-1, *[1] * (prediction.ndim - 1))
    return (prediction.float() + away * difference.float()).to(prediction.dtype)


def per_row(value: Tensor | float, like: Tensor) -> Tensor:
    """A number, or one for each row of a tensor, as (rows,) in float32."""
    return torch.as_tensor(value, device=like.device).float().reshape(-1).expand(len(like))


def scale_waves(scale: Tensor, count: int) -> Tensor:
    """Sines and cosines of guidance scales, (rows, count): of a hundredfold, as they were made for times to 1000."""
    return get_timestep_embedding(100 * scale, count)
