"""How pleasant an image is, by a head on CLIP features."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..foreign_errors import reason_of
from . import git_lfs
from .base import Verifier
from .clip import CLIPVerifier


def load_head(file: str | Path) -> nn.Sequential:
    """Read an aesthetic head: LAION v1 (one linear layer), LAION v2 (a stack of linear layers), or ours.

    Neither of LAION's has a nonlinearity, and dropout does nothing at inference: both are a chain of linear layers.

    Args:
        file: a `.safetensors` file, or a `.pth` file that is read with `weights_only=True`.

    Raises:
        ValueError: where the file is missing, unreadable, or holds no such chain.
    """
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"no file {file}; give the weights of a LAION aesthetic head (.pth or .safetensors)")
    git_lfs.refuse_pointers([file])
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
        state = cast(dict[str, Tensor], state.get("state_dict", state))
        weights = sorted((name for name in state if name.endswith("weight")), key=_layer_number)
        layers = []
        for name in weights:
            weight = state[name].float()
            layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
            bias = state[name.removesuffix("weight") + "bias"].float()
            layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
            layers.append(layer)
        fits = [a.out_features == b.in_features for a, b in itertools.pairwise(layers)]
        if not layers or not all(fits) or layers[-1].out_features != 1:
            raise ValueError("its layers do not chain to one score")
    except Exception as error:
        raise ValueError(f"{file} is no aesthetic head in LAION's v1 or v2 layout: {reason_of(error)}") from error
    return nn.Sequential(*layers).requires_grad_(False)


def _layer_number(name: str) -> int:
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else 0


class AestheticVerifier(Verifier):
    """A head on normalised CLIP image features; the prompt plays no part.

    Range: about 1 to 10 for LAION's heads (trained on ratings), about 0 to 10 for emoji-aesthetic. Differentiable.
    Licence: that of the weights (MIT for LAION's, Apache-2.0 for emoji-aesthetic).

    Args:
        clip: the CLIP model that the head was trained on.
        head: a module from features to one score.
        name: of its scores.

    Raises:
        ValueError: where the head expects features of another width than the CLIP model's.
    """

    differentiable = True
    reads_prompt = False
    takes_pictures = True
    scale = 6.0

    def __init__(self, clip: CLIPVerifier, head: nn.Sequential, name: str = "aesthetic"):
        width = clip.text_features([""]).shape[-1]
        if head[0].in_features != width:
            raise ValueError(
                f"the aesthetic head expects features of width {head[0].in_features} but {clip.name} gives {width}; "
                "load the CLIP model that the head was trained on"
            )
        self.clip = clip
        self.head = head.to(clip.device).eval()
        self.name = name

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        return self.head(self.clip.image_features(images)).squeeze(-1).cpu()

    def to(self, device: Any) -> AestheticVerifier:
        self.clip.to(device)
        self.head.to(device)
        return self
