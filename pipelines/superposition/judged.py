"""What a judge says of superposed images: of each prompt, and whether all that was asked for holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ...samplers.superposition import And, Formula, Or, Prompt, parse_formula
from ...verifiers import Verifier
from ..clip import Clip
from .result import SuperpositionResult


@dataclass(frozen=True)
class Judgement:
    """Of one image.

    Attributes:
        scores: the judge's, by prompt.
        words: what it sees, by prompt; empty for a judge that only scores.
        right: whether what was asked for holds and nothing is malformed; None for a judge that only scores.
    """

    scores: dict[str, float]
    words: dict[str, str]
    right: bool | None

    @property
    def least(self) -> float:
        """The score of the prompt that is met worst: SuperDiff's min-CLIP, where CLIP is the judge."""
        return min(self.scores.values())

    def __str__(self) -> str:
        if self.right is None:
            return ", ".join(f"{prompt}: {score:.3f}" for prompt, score in self.scores.items())
        seen = "; ".join(dict.fromkeys(part for words in self.words.values() for part in words.split("; ")))
        return f"{'right' if self.right else 'wrong'}: {seen}"


def asked_for(prompts: Sequence[str | int], operator: str | Sequence[float]) -> Formula:
    """The formula that an image is to fulfil: an operator's own, OR of the prompts, or else all of them.

    Args:
        prompts: of a superposition.
        operator: a name, weights, or a formula's text, as `SuperpositionResult` has it.
    """
    if isinstance(operator, str) and set("\"'") & set(operator):
        return parse_formula(operator)
    parts = [Prompt(str(prompt)) for prompt in dict.fromkeys(prompts)]
    return (Or if operator == "or" else And).of(*parts)


def judged(result: SuperpositionResult, judge: Verifier, asked: Formula | None = None) -> list[Judgement]:
    """What a judge says of each image of a superposition.

    Args:
        result: of `superpose`.
        judge: any verifier; one with `verdicts`, as the judge of emoji scenes, also says whether a prompt is true.
        asked: what the images are held against; None for what the superposition is of.
    """
    return judgements(result.images, asked or asked_for(result.prompts, result.operator), judge)


def judgements(images: Sequence[Image.Image | Clip], asked: Formula, judge: Verifier) -> list[Judgement]:
    """What a judge says of images that are to fulfil a formula; `judged` has the arguments."""
    prompts = asked.prompts()
    shown: Any = [image.frames if isinstance(image, Clip) else image for image in images]
    scores = {prompt: judge(shown, prompt).tolist() for prompt in prompts}
    verdicts: dict[str, list[Any]] = {}
    if hasattr(judge, "verdicts"):
        verdicts = {prompt: judge.verdicts(shown, [prompt] * len(shown)) for prompt in prompts}
    return [
        Judgement(
            {prompt: scores[prompt][k] for prompt in prompts},
            {prompt: str(of[k]) for prompt, of in verdicts.items()},
            _right(asked, {prompt: of[k] for prompt, of in verdicts.items()}),
        )
        for k in range(len(images))
    ]


def _right(asked: Formula, verdicts: dict[str, Any]) -> bool | None:
    """What is malformed is no cat, and no reason to say that there is none."""
    if not verdicts:
        return None
    holds = asked.holds({prompt: one.says_right for prompt, one in verdicts.items()})
    return holds and not any(one.sighting.malformed for one in verdicts.values())
