"""How little an image changed after its last, low-noise steps: a verifier that needs no text (arXiv 2501.09732)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Verifier


class SelfSupervisedVerifier(Verifier):
    """cos(f(x0-hat), f(x)): features f of the clean prediction at a low noise level, and of the final image.

    The self-supervised verifier of Ma et al. (arXiv 2501.09732), which they find to go with quality for
    class-conditional models. It rewards samples that settled early, and knows nothing of the prompt.

    A search that it guides records the clean prediction of each candidate: per candidate one more decode and one more
    forward of `features`, and the memory of one more batch of latents and pictures; no NFEs.

    Range: [-1, 1], near 1 at low noise. Differentiable where `features` is. Licence: that of the features' weights.

    Args:
        features: a module or any function from images (batch, 3, height, width) in [0, 1], of any size, to features
            (batch, ...), such as `CLIPVerifier.image_features` or `FashionClassifier.features` of a loaded model.
            A module, or that of a bound method, is put in eval mode and frozen.
        name: of its scores.
        differentiable: whether gradients flow through `features`.
        preview_at: the share of a run's steps after which x0-hat is formed, in (0, 1). The default is the paper's noise
            level, sigma / alpha = 0.4, on an even grid of rectified flow.

    Raises:
        ValueError: for a share outside of its range.
    """

    needs_previews = True
    reads_prompt = False

    def __init__(
        self,
        features: Callable[[Tensor], Tensor],
        name: str = "self-supervised",
        differentiable: bool = True,
        preview_at: float = 0.7,
    ):
        if not 0 < preview_at < 1:
            raise ValueError(
                f"preview_at is {preview_at}; give a share of the run's steps, more than 0 and less than 1"
            )
        self.features = features
        self.name = name
        self.differentiable = differentiable
        self.preview_at = float(preview_at)
        self.device: torch.device | None = None
        # `clip.image_features` is a method of what has to move and to be frozen.
        self._owner = getattr(features, "__self__", features)
        if isinstance(self._owner, nn.Module):
            self._owner.eval().requires_grad_(False)

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        """Cosine of images (batch, 3, height, width) and previews (batch, 3, any height, any width); (batch,)."""
        if previews is None:
            raise ValueError(f"{self.name} compares images with earlier clean predictions of them; give previews=")
        final, early = (self.features(x.to(self.device)).flatten(1).float() for x in (images, previews))
        return F.cosine_similarity(final, early).cpu()

    def to(self, device: Any) -> SelfSupervisedVerifier:
        if hasattr(self._owner, "to"):
            self._owner.to(device)
            self.device = torch.device(device)
        return self
