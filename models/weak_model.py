"""The small network that makes the guided prediction of the conditional one: CoRe²'s weak model.

CoRe² (Shao et al., arXiv 2503.09662), reflect phase. Theirs is a few transformer blocks on the prediction, with a bank
of low-rank weights for each step and one guidance scale. Ours has a time embedding in place of the banks, the pooled
prompt through adaptive norms, and any scale.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_2d_sincos_pos_embed, get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional

from .guided_form import guided_form, per_row, scale_waves

_FREQUENCIES = 128
"""Sines and cosines of a time or a scale."""


class WeakModel(ModelMixin, ConfigMixin):
    """
    r = c + (w - 1) d(c, x_t, t, prompt, w), where d stands for c - u.

    The guided prediction u + w (c - u) is c + (w - 1)(c - u), so r has its form in w: it is c at w = 1 whatever was
    learnt, and before training for every w.

    Args:
        prediction_channels (`int`): of the denoiser's prediction.
        sample_channels (`int`, *optional*): of its sample; as many by default.
        condition_width (`int`, *optional*): of the pooled prompt; None where there is none.
        width (`int`, defaults to 96): of the tokens, a multiple of 4 and of `heads`.
        layers (`int`, defaults to 2): transformer blocks.
        heads (`int`, defaults to 4): of their attention.
        patch_size (`int`, defaults to 2): height and width of what becomes a token.
        time_unit (`float`, defaults to 1.0): what the denoiser's time is multiplied by to lie in 0 to 1000; 1000 for
            FLUX.
        guidance_range (`tuple[float, float]`, defaults to (1.0, 7.5)): guidance scales that it is trained on; outside
            of them `apply_weak_to_strong` warns.

    Raises:
        ValueError: for a width that does not fit.
    """

    @register_to_config
    def __init__(
        self,
        prediction_channels: int,
        sample_channels: int | None = None,
        condition_width: int | None = None,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        patch_size: int = 2,
        time_unit: float = 1.0,
        guidance_range: tuple[float, float] = (1.0, 7.5),
    ):
        super().__init__()
        if width % 4 or width % heads:
            raise ValueError(f"width is {width} and heads {heads}; give a width that 4 and the heads divide")
        channels = prediction_channels + (prediction_channels if sample_channels is None else sample_channels)
        self.patches = nn.Conv2d(channels, width, patch_size, patch_size)
        self.time = nn.Linear(_FREQUENCIES, width)
        self.scale = nn.Linear(_FREQUENCIES, width)
        self.prompt = nn.Linear(condition_width, width) if condition_width else None
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.ConvTranspose2d(width, prediction_channels, patch_size, patch_size)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        prediction: Tensor,
        sample: Tensor,
        timestep: Tensor | float,
        condition: Tensor | None,
        guidance_scale: Tensor | float,
    ) -> Tensor:
        """
        r, of the prediction's shape and type.

        Args:
            prediction: c, (rows, channels, height, width).
            sample: x_t as the denoiser gets it, of the same height and width.
            timestep: as the denoiser takes it, a number or (rows,).
            condition: the pooled prompt, (rows, condition_width); None where the model has none.
            guidance_scale: w, a number or (rows,).

        Raises:
            ValueError: for predictions of another form, or without the condition that the model was made for.
        """
        rows, patch = len(prediction), self.config.patch_size
        if prediction.ndim != 4 or prediction.shape[2] % patch or prediction.shape[3] % patch:
            raise ValueError(
                f"the prediction has shape {tuple(prediction.shape)}; expected (rows, channels, height, width), "
                f"with height and width multiples of {patch}"
            )
        if (condition is None) != (self.prompt is None):
            raise ValueError(
                f"the weak model takes {'no' if self.prompt is None else 'a'} pooled prompt, and this denoiser "
                f"{'has one' if condition is not None else 'has none'}"
            )
        scale = per_row(guidance_scale, prediction)
        told = self.mix(self._told(per_row(timestep, prediction) * self.config.time_unit, scale, condition))
        tokens = self.patches(torch.cat([prediction, sample], dim=1).to(self.dtype))
        height, width = tokens.shape[2:]
        places = get_2d_sincos_pos_embed(tokens.shape[1], (height, width), output_type="pt", device=tokens.device)
        tokens = tokens.flatten(2).transpose(1, 2) + places.to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens, told)
        difference = self.head(self.norm(tokens).transpose(1, 2).reshape(rows, -1, height, width))
        return guided_form(prediction, difference, scale)

    def _told(self, times: Tensor, scales: Tensor, condition: Tensor | None) -> Tensor:
        """What the blocks are told, (rows, width)."""
        told = self.time(get_timestep_embedding(times, _FREQUENCIES).to(self.dtype))
        told = told + self.scale(scale_waves(scales, _FREQUENCIES).to(self.dtype))
        return told if self.prompt is None or condition is None else told + self.prompt(condition.to(self.dtype))


class _Block(nn.Module):
    """Attention and a small network, both under adaptive norms that begin as the identity (DiT, arXiv 2212.09748)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.first, self.second = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.adapt = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.adapt.weight)
        nn.init.zeros_(self.adapt.bias)

    def forward(self, tokens: Tensor, told: Tensor) -> Tensor:
        """
        Tokens (rows, count, width), of the same shape.

        Args:
            tokens: those before.
            told: of each row, (rows, width).
        """
        shift, scale, gate, shift_2, scale_2, gate_2 = self.adapt(told)[:, None].chunk(6, dim=-1)
        tokens = tokens + gate * self._attended(self.first(tokens) * (1 + scale) + shift)
        return tokens + gate_2 * self.wide(self.second(tokens) * (1 + scale_2) + shift_2)

    def _attended(self, tokens: Tensor) -> Tensor:
        rows, count, width = tokens.shape
        q, k, v = self.qkv(tokens).view(rows, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(rows, count, width))
