"""Scores of a batch of candidates by a guide and a judge.

A guide's failure loses the candidate that it befalls. A judge only measures: its failure loses that measurement.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...verifiers import Verifier, VerifierUnavailable, told_apart

Scores = dict[str, float | None]

UNUSABLE = "the image has NaN or was blacked"
"""The reason of a candidate that no verifier can save."""


@dataclass
class Scored:
    """What a candidate is worth.

    Attributes:
        scores: by name; None where there is none. All of the guide's are None for a lost candidate.
        reason: why the candidate is lost; None where it is not.
        missing: why the judge gave no score, by the name of that score.
    """

    scores: Scores = field(default_factory=dict)
    reason: str | None = None
    missing: dict[str, str] = field(default_factory=dict)


def judge_names(guide: Verifier, judge: Verifier) -> list[str]:
    """Names of the judge's scores in a record, told apart from the guide's."""
    return list(told_apart([guide, judge])[1].values())


def judge_name(guide: Verifier, judge: Verifier) -> str:
    """Name of the judge's score, told apart from the guide's where both verifiers have one name."""
    return told_apart([guide, judge])[1].get(judge.name, judge.name)


def score_batch(
    guide: Verifier,
    images: np.ndarray,
    usable: Sequence[bool],
    prompt: str,
    previews: np.ndarray | None = None,
    judge: Verifier | None = None,
) -> list[Scored]:
    """Score images of one prompt.

    Args:
        guide: a candidate without its score is lost.
        images: uint8 (batch, height, width, 3).
        usable: False for an image with NaN or blacked by a safety checker: it is lost.
        prompt: of all of them.
        previews: earlier clean predictions, one per image, uint8 (batch, height, width, 3) of any size; read only by
            verifiers that need them.
        judge: measures beside the guide.

    Returns:
        one per image.

    Raises:
        ValueError: where a verifier needs previews and there are none.
        VerifierUnavailable: where no image can be scored at all.
    """
    for verifier in (guide, judge):
        if verifier is not None and previews is None and verifier.needs_previews:
            raise ValueError(f"{verifier.name} compares images with earlier previews of them, and none were recorded")
    batch = [Scored(row, reason) for row, reason in _checked_rows(guide, images, prompt, previews)]
    for one, good in zip(batch, usable, strict=True):
        one.reason = one.reason if good else UNUSABLE
        if one.reason is not None:
            one.scores = dict.fromkeys(one.scores)
            warnings.warn(f"candidate lost for {prompt!r}: {one.reason}", stacklevel=2)
    if judge is not None:
        measure(judge, guide, batch, images, prompt, previews)
    return batch


def measure(
    judge: Verifier,
    guide: Verifier,
    batch: Sequence[Scored],
    images: np.ndarray,
    prompt: str,
    previews: np.ndarray | None = None,
) -> None:
    """Add the judge's scores to the guide's, under names that are told apart; arguments as `score_batch`."""
    names = told_apart([guide, judge])[1]
    for one, (row, reason) in zip(batch, _checked_rows(judge, images, prompt, previews), strict=True):
        if one.reason == UNUSABLE:
            row, reason = dict.fromkeys(row), None
        one.scores |= {names.get(key, key): value for key, value in row.items()}
        if reason is not None:
            one.missing[names.get(judge.name, judge.name)] = reason
            warnings.warn(f"no score of the judge for an image of {prompt!r}: {reason}", stacklevel=3)


def measure_look(
    verifier: Verifier, name: str, rows: Sequence[Scored], images: np.ndarray, usable: Sequence[bool], prompt: str
) -> None:
    """Add a verifier's scores of early pictures to the others, under a name.

    Args:
        verifier: that looks.
        name: of its scores there.
        rows: one per picture.
        images: uint8 (batch, height, width, 3).
        usable: False for a picture with NaN: it has no score.
        prompt: of all of them.
    """
    looked = _checked_rows(verifier, images, prompt, None)
    for scored, (row, reason), good in zip(rows, looked, usable, strict=True):
        reason = reason if good else UNUSABLE
        scored.scores[name] = row.get(verifier.name) if reason is None else None
        if reason is not None:
            scored.missing[name] = reason
            warnings.warn(f"no early score for an image of {prompt!r}: {reason}", stacklevel=3)


def _checked_rows(
    verifier: Verifier, images: np.ndarray, prompt: str, previews: np.ndarray | None
) -> list[tuple[Scores, str | None]]:
    """A verifier's scores of each image, and why one has none; its names are the same for all images."""
    for one in _leaves(verifier):
        getattr(one, "unscored", []).clear()
    # Tensors of its own: a verifier may work in place.
    rows = _rows(verifier, _pixels(images), prompt, None if previews is None else _pixels(previews))
    names = next((list(row) for row, reason in rows if reason is None), verifier.score_names)
    checked: list[tuple[Scores, str | None]] = []
    for row, reason in rows:
        for name, value in row.items():
            if reason is None and not math.isfinite(value):
                said = _next_reason(verifier, name) if math.isnan(value) else ""
                reason = f"{name} gave {'NaN' if math.isnan(value) else value}{said and f': {said}'}"
        checked.append(({name: _finite(row.get(name)) for name in names}, reason))
    return checked


def _leaves(verifier: Verifier) -> Iterator[Verifier]:
    for part in getattr(verifier, "parts", ()):
        yield from _leaves(part[1] if isinstance(part, tuple) else part)
    if not hasattr(verifier, "parts"):
        yield verifier


def _next_reason(verifier: Verifier, name: str) -> str:
    """Why the next image has no score of that name, where a verifier keeps its reasons, as those that ask others do."""
    for one in _leaves(verifier):
        reasons = getattr(one, "unscored", None)
        if one.name == name and reasons:
            return reasons.popleft()
    return ""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _pixels(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).movedim(-1, -3).float() / 255


def _rows(
    verifier: Verifier, images: Tensor, prompt: str, previews: Tensor | None
) -> list[tuple[dict[str, float], str | None]]:
    prompts = [prompt] * len(images)
    try:
        if previews is not None and verifier.needs_previews:
            parts = verifier.evaluate(images.clone(), prompts, previews.clone())
        else:
            parts = verifier.evaluate(images.clone(), prompts)
        for name, values in parts.items():
            if tuple(values.shape) != (len(images),):
                raise ValueError(f"{name} gave scores of shape {tuple(values.shape)} for {len(images)} images")
        return [({name: float(values[k]) for name, values in parts.items()}, None) for k in range(len(images))]
    except VerifierUnavailable:
        raise
    except Exception as error:
        if len(images) == 1:
            return [({}, f"{verifier.name} raised {type(error).__name__}: {error}")]
        # One image must not lose the others: score them one by one.
        early = [None] * len(images) if previews is None else previews.split(1)
        return [row for k in range(len(images)) for row in _rows(verifier, images[k : k + 1], prompt, early[k])]
