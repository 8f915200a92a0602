"""What the recipes of denoisers have in common: optimiser, learning rate, average, and the weights of noise errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..averages import rising_decay
from ..loop_settings import LoopSettings
from ..schedules import Progress, linear_decay, warm_up

BATCH = 64
WARM_UP_IMAGES, DECAY_SHARE = 19_200, 0.4
EMA_DECAY = 0.9995
LOG_EVERY = 50
MAX_SNR = 5.0


def optimizer_of(networks: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """AdamW with a second moment that forgets sooner than by default."""
    return torch.optim.AdamW(networks.parameters(), lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True)


def schedule(progress: Progress) -> float:
    """A warm-up, a constant rate, and a linear decay over the last `DECAY_SHARE` of the run."""
    return warm_up(progress, WARM_UP_IMAGES) * linear_decay(progress, DECAY_SHARE, least=1e-3)


def denoiser_settings(
    total_images: int,
    seed: int,
    evaluate_every: int,
    first_weights: int,
    about: Mapping[str, Any],
    bf16: bool = True,
) -> LoopSettings:
    """The settings of a denoiser's run.

    Args:
        total_images: where the run ends.
        seed: of the run.
        evaluate_every: steps.
        first_weights: how much the first weights count in the average: as if it had seen that many updates before.
        about: what tells the run from others.
        bf16: whether it computes in bfloat16.
    """
    return LoopSettings(
        total_images,
        BATCH,
        seed,
        schedule,
        average_decay=lambda update: rising_decay(update, EMA_DECAY, first_weights, first_weights + 10),
        gradient_norm=1.0,
        bf16=bf16,
        cpu=True,
        log_every=LOG_EVERY,
        evaluate_every=evaluate_every,
        about=about,
    )


def snr_weights(alphas_cumprod: Tensor) -> Tensor:
    """min(SNR, 5) / SNR of noise errors (Hang et al., arXiv 2303.09556, eq. 5); of alpha bars (batch,), (batch,)."""
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return snr.clamp(max=MAX_SNR) / snr


def without_flash_attention() -> None:
    """The CPU's flash kernel is slow at 64 to 80 tokens; these switches of torch's rule the CPU too."""
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
