"""Class labels to pictures by an autoregressive model over the codes of a VQ model (VQGAN's form, arXiv 2012.09841).

Token ids: the codes from 0, then a token for each class, then the one that stands for no class. A sequence is its class
and the codes of its picture, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import VQModel
from torch import Tensor
from transformers import LlamaForCausalLM

from .. import assets
from ..foreign_errors import in_one_sentence
from ..samplers.hooks.weak_to_strong import WeakToStrongConfig
from ..samplers.token_sampling import sample_tokens
from ..samplers.weak_to_strong_logits import WeakToStrongLogitsProcessor

GUIDED = WeakToStrongConfig(scale=1.0, strong_until=1.0)
"""Plain guidance of every token."""


class TokenPictures:
    """A causal model and the VQ model whose codes it writes.

    Args:
        model: of transformers; its vocabulary is the codes, the classes and the token for no class.
        vq: of diffusers, of grey or colour pictures in [-1, 1].

    Raises:
        ValueError: for a vocabulary without a class.
    """

    def __init__(self, model: LlamaForCausalLM, vq: VQModel):
        self.model, self.vq = model, vq
        self.codes: int = vq.config.num_vq_embeddings
        self.classes: int = model.config.vocab_size - self.codes - 1
        self.side: int = vq.config.sample_size // 2 ** (len(vq.config.block_out_channels) - 1)
        if self.classes < 1:
            raise ValueError(
                f"the model has {model.config.vocab_size} tokens and the VQ model {self.codes} codes; a token for each "
                "class and one for none are to come after the codes"
            )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> TokenPictures:
        """Read the folders `transformer` and `vq`, in float32.

        Args:
            folder: that holds them, or the name of a shipped model, such as "fashion-ar".

        Raises:
            LoadError: where they cannot be read.
        """
        if str(folder) in assets.names("token pictures"):
            folder = assets.path(str(folder))
        with in_one_sentence(f"{folder} cannot be loaded as a VQ model and a causal model over its codes"):
            model = LlamaForCausalLM.from_pretrained(Path(folder) / "transformer", dtype=torch.float32)
            vq = VQModel.from_pretrained(Path(folder) / "vq")
        return cls(model.eval(), vq.eval())

    @property
    def tokens(self) -> int:
        """Of a picture."""
        return self.side**2

    @property
    def no_class(self) -> int:
        """The token that stands for no class."""
        return self.codes + self.classes

    def class_tokens(self, labels: Sequence[int]) -> list[list[int]]:
        """What the sequences of classes begin with.

        Raises:
            ValueError: for an unknown label.
        """
        if unknown := [label for label in labels if not 0 <= label < self.classes]:
            raise ValueError(f"there is no class {unknown[0]}; give labels from 0 to {self.classes - 1}")
        return [[self.codes + label] for label in labels]

    @torch.no_grad()
    def __call__(
        self,
        labels: Sequence[int],
        seeds: Sequence[int],
        guidance_scale: float = 1.0,
        config: WeakToStrongConfig | None = None,
    ) -> np.ndarray:
        """Draw a picture for each label.

        Args:
            labels: of classes.
            seeds: one for each picture, which depends on its label and seed alone, but for rounding.
            guidance_scale: w; at 1 nothing is guided.
            config: where guidance is slow and where fast; None is plain guidance of every token.

        Returns:
            uint8 (batch, height, width, channels).

        Raises:
            ValueError: for an unknown label.
        """
        prompts = torch.tensor(self.class_tokens(labels), device=self.model.device)
        processors: list[Any] = []
        if guidance_scale != 1:
            without = torch.tensor([[self.no_class]])
            processors = [
                WeakToStrongLogitsProcessor(self.model, without, self.tokens, guidance_scale, config or GUIDED)
            ]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        drawn = sample_tokens(self.model, prompts, self.tokens, generators, [_CodesOnly(self.codes), *processors])
        return self.decode(drawn[:, 1:])

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Codes (batch, tokens) of pictures (batch, channels, height, width) in [-1, 1]."""
        latents = self.vq.encode(pictures).latents
        return self.vq.quantize(latents)[2][2].view(len(pictures), -1)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> np.ndarray:
        """Pictures, uint8 (batch, height, width, channels), of codes (batch, tokens)."""
        shape = (len(tokens), self.side, self.side, self.vq.quantize.vq_embed_dim)
        latents = self.vq.quantize.get_codebook_entry(tokens.flatten(), shape)
        pixels = self.vq.decode(latents, force_not_quantize=True).sample
        return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


class _CodesOnly:
    """Lets no class token come within a picture."""

    def __init__(self, codes: int):
        self.codes = codes

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[:, self.codes :] = -1e4
        return scores
