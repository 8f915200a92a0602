"""Adversarial distribution matching: a head on the fake score's features tells real samples from the student's.

The discriminator sees noised samples (DMD2, arXiv 2405.14867, section 4.3: logistic losses on the bottleneck of the
fake score, with real data of the student's subset; multi-student distillation, arXiv 2410.23274, section 3.2, runs it
as a last stage from the weights of distribution matching).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(made)) of logits, the mean (Goodfellow et al., arXiv 1406.2661, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(made).mean()


def generator_loss(made: Tensor) -> Tensor:
    """-log D(made) of logits, the mean: the form whose gradient does not vanish (arXiv 1406.2661, section 3)."""
    return F.softplus(-made).mean()


class Head(nn.Module):
    """A logit for each place of a feature map: tokens (batch, n, width) or pixels (batch, width, height, width)."""

    def __init__(self, width: int, hidden: int = 64):
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor) -> Tensor:
        places = features.flatten(2).transpose(1, 2) if features.ndim == 4 else features
        return self.layers(places)[..., 0]


def bottleneck(network: nn.Module) -> nn.Module:
    """The block whose output the head reads: the middle one.

    Raises:
        ValueError: for a network without `mid_block` or `transformer_blocks`.
    """
    if isinstance(middle := getattr(network, "mid_block", None), nn.Module):
        return middle
    if isinstance(blocks := getattr(network, "transformer_blocks", None), nn.ModuleList):
        return blocks[len(blocks) // 2]
    raise ValueError("the adversarial stage reads a mid_block or transformer_blocks, and the fake score has neither")


@contextmanager
def features_of(network: nn.Module) -> Iterator[list[Tensor]]:
    """What the bottleneck gives in the calls inside, one entry for each; of several outputs the last, the sample's."""
    seen: list[Tensor] = []

    def keep(block: nn.Module, inputs: Any, output: Any) -> None:
        seen.append(output if isinstance(output, Tensor) else output[-1])

    handle = bottleneck(network).register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def frozen(network: nn.Module) -> Callable[..., Any]:
    """The network as a function: gradients reach what it is given, and none its weights."""
    weights = {name: value.detach() for name, value in network.named_parameters()}

    def call(*arguments: Any, **named: Any) -> Any:
        return functional_call(network, weights, arguments, named)

    return call
