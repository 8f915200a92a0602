"""Scores of a batch of candidates by one or more verifiers; a failure costs only the candidate that it befalls."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..verifiers import Verifier, VerifierUnavailable

Scores = dict[str, float]


def score_batch(
    verifiers: Sequence[Verifier],
    images: np.ndarray,
    usable: Sequence[bool],
    prompt: str,
    previews: np.ndarray | None = None,
) -> tuple[list[Scores], list[str | None]]:
    """Score images of one prompt.

    Args:
        verifiers: each scores every image.
        images: uint8 (batch, height, width, 3).
        usable: False for an image with NaN or blacked by a safety checker.
        prompt: of all of them.
        previews: earlier clean predictions, one an image, uint8 (batch, height, width, 3) of any size; read only by
            verifiers that need them.

    Returns:
        scores by name, -inf where the candidate failed; and the reason of each failure, None where there was none.

    Raises:
        ValueError: where a verifier needs previews and there are none.
        VerifierUnavailable: where no image can be scored at all.
    """
    for verifier in verifiers:
        if previews is None and verifier.needs_previews:
            raise ValueError(f"{verifier.name} compares images with earlier previews of them, and none were recorded")
    pixels, early = _pixels(images), None if previews is None else _pixels(previews)
    scores: list[Scores] = [{} for _ in images]
    reasons: list[str | None] = [None if good else "the image has NaN or was blacked" for good in usable]
    for verifier in verifiers:
        for k, (row, reason) in enumerate(_rows(verifier, pixels, prompt, early)):
            if reason is None and any(np.isnan(value) for value in row.values()):
                reason = f"{verifier.name} gave NaN"
            scores[k] |= row
            reasons[k] = reasons[k] or reason
    for k, reason in enumerate(reasons):
        if reason is not None:
            scores[k] = dict.fromkeys(scores[k], float("-inf"))
            warnings.warn(f"candidate lost for {prompt!r}: {reason}", stacklevel=2)
    return scores, reasons


def _pixels(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def _rows(verifier: Verifier, images: Tensor, prompt: str, previews: Tensor | None) -> list[tuple[Scores, str | None]]:
    prompts = [prompt] * len(images)
    try:
        if verifier.needs_previews:
            parts = verifier.evaluate(images, prompts, previews)
        else:
            parts = verifier.evaluate(images, prompts)
        return [({name: float(values[k]) for name, values in parts.items()}, None) for k in range(len(images))]
    except VerifierUnavailable:
        raise
    except Exception as error:
        if len(images) == 1:
            return [({verifier.name: float("-inf")}, f"{verifier.name} raised {type(error).__name__}: {error}")]
        # One image must not lose the others: score them one by one.
        early = [None] * len(images) if previews is None else previews.split(1)
        return [row for k in range(len(images)) for row in _rows(verifier, images[k : k + 1], prompt, early[k])]
