"""What a search gives back: the best image of each prompt, every candidate's record, and the cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ...valid_json import to_json
from ...verifiers import Verifier
from ..call import PipelineCall
from ..candidate_rows import condition
from ..clip import Clip, as_picture
from ..moved_noise import Lineage
from ..plain_start import plain_start
from ..quick_previews import QuickPreview
from ..row import Row
from .allocation import Allocation
from .contact_sheet import contact_sheet
from .evaluator import Evaluator
from .ledger import Ledger
from .record import Record
from .records import load_picture, write_atomically


@dataclass(frozen=True)
class Candidate:
    """A scored candidate that can be made again; of one that was scored before its end, the finished image is made.

    Attributes:
        record: as in `records.jsonl`.
        score: that the choice went by; -inf where it failed, NaN where only the pool as a whole is ranked.
        arguments: of the pipeline's call, beside the condition and the generator.
        labelled: whether the condition is a class label and not a prompt.
        source: the picture or clip, or its file; None for a failed candidate.
        preview: that showed it where it was scored on the way; None for the pipeline's own decode.
    """

    record: Record
    score: float
    arguments: Mapping[str, Any] = field(repr=False)
    labelled: bool = field(default=False, repr=False)
    source: Image.Image | Clip | Path | None = field(default=None, repr=False)
    preview: QuickPreview | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        record: Record,
        call: PipelineCall,
        source: Image.Image | Clip | Path | None,
        preview: QuickPreview | None = None,
    ) -> Candidate:
        """The candidate of a record, with its picture or the file of it."""
        score = record.score
        if score is None:
            score = -math.inf if record.failed else math.nan
        return cls(record, score, call.arguments, call.takes_labels, None if record.failed else source, preview)

    @property
    def image(self) -> Image.Image | None:
        """What was scored, of a clip its middle frame; read from the output folder where there is one.

        Raises:
            RecordsError: where the file is missing or corrupt.
        """
        picture = self.picture
        return picture.middle if isinstance(picture, Clip) else picture

    @property
    def picture(self) -> Image.Image | Clip | None:
        """What was scored: a picture, or a clip with its frames.

        Raises:
            RecordsError: where the file is missing or corrupt.
        """
        return load_picture(self.source) if isinstance(self.source, Path) else self.source

    @property
    def prompt(self) -> str | int | None:
        return self.record.prompt

    @property
    def seed(self) -> int:
        return self.record.seed

    @property
    def scores(self) -> dict[str, float | None]:
        """By name; None where a verifier gave none."""
        return self.record.scores

    @property
    def reason(self) -> str | None:
        """Why it failed; None where it did not."""
        return self.record.reason

    @property
    def finished(self) -> bool:
        """Whether its image is a finished one; False for the clean prediction of a step, which halving looks at."""
        return self.record.node.finished

    @property
    def lineage(self) -> Lineage:
        """Turns of its noise, away from the seed's own; empty for a plain draw."""
        return self.record.node.turns

    def pipeline_kwargs(self, pipe: Any = None) -> dict[str, Any]:
        """Arguments with which the plain pipeline makes this image again; each call gives a fresh generator.

        Args:
            pipe: the pipeline; needed where the noise is not the seed's own (zero-order search), to make `latents=`.

        Raises:
            ValueError: where the pipeline is needed and not given, or cannot be started so from a moved noise; and
                where noise was drawn that the plain pipeline does not take from `generator=`. `reproduce` makes the
                image again there.
        """
        if not self.record.node.is_plain:
            raise ValueError(
                "this candidate went back to a noisier step, or drew another noise on its way; make the image again "
                "with reproduce(pipe)"
            )
        if self.record.own_noise:
            raise ValueError(
                "noise was drawn for which the pipeline hands on no generator (its scheduler's, or of a picture's "
                "encoding); make the image again with reproduce(pipe)"
            )
        again = {**condition(self.prompt, self.arguments, self.labelled), **self.arguments}
        if self.lineage:
            if pipe is None:
                raise ValueError("this candidate's noise was moved; give the pipeline: pipeline_kwargs(pipe)")
            return {**again, **plain_start(pipe, self.seed, self.lineage, again)}
        return {**again, "generator": torch.Generator().manual_seed(self.seed)}

    def reproduce(self, pipe: Any) -> Image.Image | Clip:
        """Make the image, or the clip, again with a pipeline; of a candidate that was looked at on the way, its end."""
        call, node = PipelineCall(pipe, self.arguments), self.record.node.whole()
        if node.is_plain:
            images, _ = call([Row(self.prompt, node.seed, node.turns)])
        else:
            images = Evaluator(call).make(self.prompt, [node]).images
        return as_picture(images[0])

    def scored_again(self, pipe: Any) -> Image.Image | Clip:
        """Make again what was scored: the finished image, or the clean prediction where it was looked at on the way.

        Its path is made again too; no ledger counts that.
        """
        evaluator = Evaluator(PipelineCall(pipe, self.arguments), preview=self.preview)
        made = evaluator.make(self.prompt, [self.record.node])
        return as_picture(made.images[0])


def chosen_by(guide: Verifier, pool: Sequence[Candidate]) -> Candidate:
    """The best of candidates that did not fail, with the value that the choice went by; the first of equals."""
    known = [name for name in pool[0].scores if all(one.scores.get(name) is not None for one in pool)]
    values = guide.select({name: torch.tensor([one.scores[name] for one in pool]) for name in known})
    k = int(values.argmax())
    return replace(pool[k], score=float(values[k]))


def furthest(pool: Sequence[Candidate]) -> list[Candidate]:
    """The finished candidates of a pool; where halving was stopped before there were any, those of its last rung."""
    most = max(map(_progress, pool))
    return [candidate for candidate in pool if _progress(candidate) == most]


def _progress(candidate: Candidate) -> float:
    """The step at which it stands."""
    stop = candidate.record.node.stop
    return math.inf if stop is None else stop


@dataclass
class SearchResult:
    """The outcome of a search.

    Attributes:
        best: the chosen candidate of each prompt, in their order.
        candidates: those that were finished, a list per prompt; without halving, all candidates.
        ledger: the cost.
        verifier: name of the score that the choice went by.
        judge: name of a held-out score beside it; None without one.
        evaluated: all that were scored, prompt by prompt, in the order in which they were; by halving once for each
            rung that they ran in.
        allocation: what steps "auto" have chosen; None where the caller did.
        whole: whether all prompts are in it; False for the share of one process of several.
    """

    best: list[Candidate]
    candidates: list[list[Candidate]]
    ledger: Ledger
    verifier: str
    judge: str | None = None
    evaluated: list[Candidate] = field(default_factory=list, repr=False)
    allocation: Allocation | None = None
    whole: bool = True

    @property
    def images(self) -> list[Image.Image | None]:
        """The best image of each prompt."""
        return [candidate.image for candidate in self.best]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of all that were scored, as JSON: the same as the lines of `records.jsonl`."""
        return [candidate.record.to_json() for candidate in self.evaluated]

    def path(self, index: int, prompt_index: int = 0) -> list[Candidate]:
        """What was scored on the way to a node, from the noise on, and the node itself, last.

        Args:
            index: of the node among those of its prompt, as in its record.
            prompt_index: of the prompt.

        Raises:
            ValueError: for a node that the result does not have.
        """
        own = {one.record.index: one for one in self.evaluated if one.record.prompt_index == prompt_index}
        if index not in own:
            raise ValueError(f"prompt {prompt_index} has no node {index} here; it has {len(own)}")
        by_id = {one.record.node.id: one for one in own.values()}
        path, before = [own[index]], own[index].record.node.parent
        while before is not None:
            path += [by_id[before.id]] if before.id in by_id else []
            before = before.parent
        return path[::-1]

    @property
    def failed(self) -> bool:
        """Whether not one candidate could be scored."""
        return all(candidate.source is None for candidate in self.best)

    def contact_sheet(self, most: int = 64) -> Image.Image:
        """All candidates of one prompt, or the best of each of several, scores underneath, the chosen ones framed."""
        single = len(self.best) == 1
        shown = [c for c in (self.candidates[0] if single else self.best) if c.source is not None][:most]
        captions = []
        for candidate in shown:
            lines = [f"seed {candidate.seed}: {candidate.score:.3f}"]
            if not candidate.finished:
                lines.append(f"step {candidate.record.steps_done} of {candidate.record.steps}")
            judged = None if self.judge is None else candidate.scores.get(self.judge)
            if judged is not None:
                lines.append(f"{self.judge}: {judged:g}")
            if not single:
                lines.insert(0, str(candidate.prompt)[:32])
            captions.append("\n".join(lines))
        marked = [i for i, candidate in enumerate(shown) if single and candidate.record is self.best[0].record]
        title = f"{self.best[0].prompt}, by {self.verifier}" if single else f"best of each prompt, by {self.verifier}"
        images = [image for candidate in shown if (image := candidate.image) is not None]
        return contact_sheet(images, captions, marked=marked, title=title)

    def save(self, folder: str | Path) -> Path:
        """Write `contact_sheet.png`, the best images, `records.jsonl` and `ledger.json` into a folder; returns it.

        Raises:
            ValueError: for the share of one process of several: the whole is the result of the last to end.
        """
        if not self.whole:
            raise ValueError("this result is the share of one process; save that of the last to end, which is whole")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(to_json(record) + "\n" for record in self.records)
        if not (folder / "records.jsonl").exists() or (folder / "records.jsonl").read_text() != lines:
            write_atomically(folder / "records.jsonl", lines)
        write_atomically(folder / "ledger.json", to_json(self.ledger.as_dict(), indent=2) + "\n")
        if not self.failed:
            self.contact_sheet().save(folder / "contact_sheet.png")
        for i, candidate in enumerate(self.best):  # one at a time: there may be thousands
            if (picture := candidate.picture) is not None:
                picture.save(folder / ("best.png" if len(self.best) == 1 else f"best_{i:04d}.png"))
        return folder
