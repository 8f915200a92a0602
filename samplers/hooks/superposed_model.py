"""SuperposedModel: N denoisers of one latent space behind one call, so that N models are superposed like N prompts.

Seam: the pipeline's denoiser, in whose place it is set. Each row of the batch goes through its own model. Cost: as many
evaluations as there are rows: N for each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from .routed_models import RoutedModels


class SuperposedModel(RoutedModels):
    """Routes row k of a batch to model k modulo N: the rows of `SuperposedScheduler`, one group after the other.

    ```python
    pipe.unet = SuperposedModel([pipe.unet, other.unet])
    superpose(pipe, ["a cat", "a cat"], operator="or")
    ```

    With an unconditional row before each group's prompts (`unconditional=True`; `superpose` sets it), that row goes
    through the first model. What a pipeline asks of its denoiser (config, dtype, methods) is the first model's.

    Args:
        models: N denoisers of one class, latent space and prediction type.
        unconditional: whether a group is [unconditional, model 1 ... model N].

    Raises:
        ValueError: for less than two models, models of different classes or sizes of latents, and within its call for
            rows that are no whole groups.
    """

    use = "superpose"

    def __init__(self, models: Sequence[nn.Module], unconditional: bool = False):
        super().__init__(models)
        self.unconditional = unconditional

    def routes(self, rows: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
        """Number of the model of each row of a call."""
        group = [0] * self.unconditional + list(range(len(self.models)))
        if rows % len(group):
            raise ValueError(f"{rows} rows are no groups of {len(group)}, one for each model")
        return group * (rows // len(group))
