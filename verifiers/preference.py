"""How much people would prefer an image for its prompt, by CLIP models that were trained on their choices.

ImageReward is not here: its package, last released in 2023, pins timm and fairscale and imports what transformers 5 no
longer has. Where it is installed and works, a function of two lines makes it a `CallableVerifier`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from .base import Verifier
from .clip import CLIPVerifier
from .transformers_clip import load_transformers_clip


class PreferenceVerifier(Verifier):
    """s * cosine similarity of image and prompt features, s = exp(logit scale): the logit of a choice.

    The softmax of the scores of several images of one prompt is the probability that each is chosen, by PickScore
    (arXiv 2305.01569) and HPSv2 (arXiv 2306.09341) alike.

    Range: [-s, s], s about 100 for models trained from CLIP; about 20 for a good image by PickScore. Differentiable.
    Licence: that of the weights. PickScore's model card and repository name none (the CLIP-H that it was trained from
    is MIT): ask before you build on it. HPSv2's is Apache-2.0.

    PickScore loads by `load`. HPSv2's checkpoint is open_clip's: `load_verifier("clip:ViT-H-14:FILE")` gives the score
    as published (the cosine), `PreferenceVerifier(CLIPVerifier.load("ViT-H-14", FILE))` the logit; both rank equally.

    Args:
        clip: the model, with its `logit_scale`.
        name: of its scores; the model's when None.
    """

    differentiable = True
    takes_pictures = True

    def __init__(self, clip: CLIPVerifier, name: str | None = None):
        self.clip = clip
        self.name = name or clip.name
        self.logit_scale = float(clip.model.logit_scale.exp())
        self.scale = 0.2 * self.logit_scale

    @classmethod
    def load(cls, source: str | Path, revision: str | None = None, name: str | None = None) -> PreferenceVerifier:
        """Load a folder or a hub id such as "yuvalkirstain/PickScore_v1"; see `load_transformers_clip`."""
        return cls(load_transformers_clip(source, revision, name))

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        return self.logit_scale * self.clip.score(images, prompts)

    def to(self, device: Any) -> PreferenceVerifier:
        self.clip.to(device)
        return self
