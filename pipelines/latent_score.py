"""What clean predictions are worth to a verifier, as `SteeredScheduler` asks for it from within a pipeline's loop.

Seam: the scoring callable of the scheduler. Cost: a decode (none with a linear preview) and a verifier call for each
clean prediction; no NFE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..verifiers import Verifier
from .decoding import decode
from .outputs import as_pixels
from .quick_previews import FULL, QuickPreview, make_preview


class LatentScore:
    """Decodes clean predictions as the pipeline's autoencoder does, to 8 bits, and has them scored.

    Args:
        pipe: a pipeline with an image autoencoder, or one whose latents are pixels.
        verifier: of one score per image.
        prompts: of all rows of the pipeline's batch, or one for each, in its order.
        height, width: of the pictures, for packed latents (FLUX); None for the pipeline's default.
        preview: shows clean predictions in place of the autoencoder's decode, as `NoiseSearch` takes it. The images of
            finished nodes are then scored by it too.

    Raises:
        ValueError: for a verifier that compares with previews or ranks whole pools.
    """

    def __init__(
        self,
        pipe: Any,
        verifier: Verifier,
        prompts: str | Sequence[str],
        height: int | None = None,
        width: int | None = None,
        preview: str | QuickPreview = FULL,
    ):
        if verifier.needs_previews or verifier.needs_pool:
            raise ValueError(
                f"{verifier.name} needs earlier previews or a whole pool, and a clean prediction is scored alone; give "
                "another verifier"
            )
        self.pipe, self.verifier, self.prompts = pipe, verifier, prompts
        self.height, self.width, self.preview = height, width, make_preview(preview, pipe)

    @torch.no_grad()
    def __call__(self, latents: Tensor, rows: Sequence[int]) -> Tensor:
        """Scores, (rows,), float32; NaN where the verifier gives NaN or the picture has some.

        Args:
            latents: clean predictions, (rows, ...), in the form of the pipeline's steps.
            rows: numbers of the rows in the pipeline's batch.

        Raises:
            ValueError: for latents that are no image's, a batch that prompts were not given for, and a verifier that
                does not give one number per image.
        """
        if not isinstance(self.prompts, str) and max(rows) >= len(self.prompts):
            raise ValueError(f"the batch has {max(rows) + 1} rows and {len(self.prompts)} prompts; give one for each")
        prompts = [self.prompts if isinstance(self.prompts, str) else self.prompts[row] for row in rows]
        shown = (self.preview or decode)(self.pipe, latents, self.height, self.width)
        pixels, usable = as_pixels(shown.permute(0, 2, 3, 1).cpu().numpy())
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        return torch.where(torch.tensor(usable), self.verifier(images, prompts), torch.nan)
