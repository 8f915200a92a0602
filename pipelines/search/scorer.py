"""Scores of a batch: the guide's, the judge's of finished images, and those of early looks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ...samplers.strategies import Node
from ...verifiers import Verifier
from ..clip import as_array
from ..counting import Counts, count_costs, count_verifier_calls
from .evaluator import Evaluator, Made
from .look import Look, steps_of
from .record import Record
from .records import load_picture, picture_file
from .scoring import Scored, judge_name, judge_names, measure, measure_look, score_batch


@dataclass(frozen=True)
class Worth:
    """Scores of a batch and what they cost.

    Attributes:
        scored: one per node.
        verifier_calls: images handed to verifiers.
        decodes: of clean predictions.
    """

    scored: list[Scored]
    verifier_calls: int
    decodes: int = 0


class Scorer:
    """Calls the verifiers of a search.

    Args:
        guide: chooses; where it fails, the candidate is lost.
        judge: measures finished images; where it fails, that measurement is lost.
        looks: measure on the way; where they fail, that measurement is lost.
    """

    def __init__(self, guide: Verifier, judge: Verifier | None = None, looks: Sequence[Look] = ()):
        self.guide, self.judge, self.looks = guide, judge, tuple(looks)
        self.judge_name = None if judge is None else judge_name(guide, judge)
        self.verifiers = [one for one in (guide, judge) if one is not None]

    @property
    def preview_at(self) -> float | None:
        """Share of the run at which verifiers want a preview; None where none does."""
        return next((one.preview_at for one in self.verifiers if one.needs_previews), None)

    @property
    def look_steps(self) -> Sequence[int] | None:
        """As `Evaluator` takes them."""
        return tuple(steps) if (steps := steps_of(self.looks)) is not None else None

    def score(self, prompt: str | int | None, node: Node, made: Made, evaluator: Evaluator) -> Worth:
        """Score a batch.

        Args:
            prompt: of the whole batch.
            node: any of the batch: the judge sees finished images only.
            made: the batch.
            evaluator: decodes clean predictions for early looks.
        """
        text, judge = "" if prompt is None else str(prompt), self._judge_of(node)
        everyone = [self.guide, judge, *(look.verifier for look in self.looks)]
        costs = count_costs(evaluator.call.pipe) if made.early else nullcontext(Counts())
        with count_verifier_calls(everyone) as counted, costs as decoded:
            rows = score_batch(self.guide, made.images, made.usable, text, made.previews, judge)
            for step, latents in sorted(made.early.items()):
                pictures, whole = evaluator.pictures(prompt, latents)
                for look in self.looks:
                    if look.steps is None or step in look.steps:
                        measure_look(look.verifier, look.name(step), rows, pictures, whole, text)
        return Worth(rows, counted.verifier_calls, decoded.decodes)

    def score_again(self, record: Record, made: Made | None, k: int, folder: Path) -> Worth:
        """Call again the verifier that gave no score: the guide, or the judge alone.

        Args:
            record: of the node.
            made: the batch, made again; None where the picture on disk is enough.
            k: the node's place in it.
            folder: of the pictures.
        """
        if made is None:
            images, previews = as_array(load_picture(picture_file(folder, record)))[None], None
        else:
            images, previews = made.images[k : k + 1], None if made.previews is None else made.previews[k : k + 1]
        judge, prompt = self._judge_of(record.node), "" if record.prompt is None else str(record.prompt)
        judged = {} if judge is None else {name: record.scores.get(name) for name in judge_names(self.guide, judge)}
        with count_verifier_calls(self.verifiers) as counted:
            if record.failed:
                (scored,) = score_batch(self.guide, images, [True], prompt, previews)
                early = {name: value for name, value in record.scores.items() if name not in scored.scores}
                scored.scores |= early | judged
            else:
                scored = Scored(dict(record.scores))
            scored.missing = {name: why for name, why in record.missing.items() if name not in judged}
            if judge is not None and None in judged.values():
                measure(judge, self.guide, [scored], images, prompt, previews)
        return Worth([scored], counted.verifier_calls)

    def _judge_of(self, node: Node) -> Verifier | None:
        return self.judge if node.finished else None
