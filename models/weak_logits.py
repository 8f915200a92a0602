"""The weak model of an autoregressive image model: the guided logits of the conditional ones, without a second forward.

CoRe² (Shao et al., arXiv 2503.09662) has such a model for LlamaGen; its form was not published. Ours sees the
conditional log-probabilities, the first token (the class), the last tokens and the position, and has any scale.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

from .guided_form import guided_form, per_row, scale_waves

_FREQUENCIES = 64
"""Sines and cosines of a position or a scale."""


def token_window(tokens: Tensor, context: int) -> Tensor:
    """The first token and the last ones of a sequence; short ones are filled up with the first.

    A window's own window is itself.

    Args:
        tokens: so far, (rows, length), the class or whatever conditions them first.
        context: how many last ones; the first is never among them.

    Returns:
        (rows, 1 + context).
    """
    first, rest = tokens[:, :1], tokens[:, 1:][:, -context:]
    return torch.cat([first.expand(-1, 1 + context - rest.shape[1]), rest], dim=1)


class WeakLogitsModel(ModelMixin, ConfigMixin):
    """
    r = c + (w - 1) d(c, tokens, position, w), where d stands for c - u; all of log-probabilities.

    Before training, and at w = 1, it is c.

    Args:
        vocab_size (`int`): of the model's tokens.
        context (`int`, defaults to 8): last tokens that it sees; a row of the picture and the token above the next.
        width (`int`, defaults to 64): of the embeddings.
        guidance_range (`tuple[float, float]`, defaults to (1.0, 7.5)): guidance scales that it is trained on.
    """

    @register_to_config
    def __init__(
        self, vocab_size: int, context: int = 8, width: int = 64, guidance_range: tuple[float, float] = (1.0, 7.5)
    ):
        super().__init__()
        self.logits = nn.Linear(vocab_size, width)
        self.tokens = nn.Embedding(vocab_size, width // 2)
        self.seen = nn.Linear((1 + context) * (width // 2), width)
        self.position = nn.Linear(_FREQUENCIES, width)
        self.scale = nn.Linear(_FREQUENCIES, width)
        self.body = nn.Sequential(
            nn.SiLU(), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width), nn.SiLU()
        )
        self.head = nn.Linear(width, vocab_size)
        nn.init.zeros_(self.head.weight)
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
            prediction: c, conditional log-probabilities of the next token, (rows, vocab_size).
            sample: tokens so far, (rows, length), or their window.
            timestep: position of the next token among those that are generated, from 0, a number or (rows,).
            condition: None; the class is among the tokens.
            guidance_scale: w, a number or (rows,).

        Raises:
            ValueError: for predictions of another vocabulary.
        """
        if prediction.ndim != 2 or prediction.shape[1] != self.config.vocab_size:
            raise ValueError(
                f"the prediction has shape {tuple(prediction.shape)}; expected (rows, {self.config.vocab_size}), the "
                "log-probabilities of the next token"
            )
        places, scales = per_row(timestep, prediction), per_row(guidance_scale, prediction)
        told = self.tokens(token_window(sample, self.config.context)).flatten(1)
        # Log-probabilities of what cannot come are large and say nothing.
        seen = self.logits(prediction.clamp_min(-20).to(self.dtype) / 4) + self.seen(told)
        seen = seen + self.position(get_timestep_embedding(places, _FREQUENCIES).to(self.dtype))
        seen = seen + self.scale(scale_waves(scales, _FREQUENCIES).to(self.dtype))
        return guided_form(prediction, self.head(self.body(seen)), scales)
