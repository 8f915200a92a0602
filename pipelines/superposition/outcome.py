"""What a job of superposition gives back: images, those of rivals from the same noises, and the judge's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ...valid_json import to_json
from ..clip import Clip
from ..search.contact_sheet import contact_sheet
from .judged import Judgement
from .result import SuperpositionResult

OWN = "superposed"
"""Name of the job's own images among those of its rivals."""


@dataclass(frozen=True, eq=False)
class SuperposeOutcome:
    """Superposed images and what they are compared with.

    Attributes:
        result: the superposition.
        rivals: images of the mean of the scores, of one joint prompt, or of one prompt alone, by name: from the same
            noises, initial and of the steps.
        judge: name of the verifier that measured; None without.
        judgements: what it says of each image, by the rival's name, or `OWN`, held against what was asked for.
    """

    result: SuperpositionResult
    rivals: Mapping[str, SuperpositionResult] = field(default_factory=dict)
    judge: str | None = None
    judgements: Mapping[str, list[Judgement]] = field(default_factory=dict)

    @property
    def arms(self) -> dict[str, SuperpositionResult]:
        """All images, by `OWN` or the rival's name."""
        return {OWN: self.result, **self.rivals}

    @property
    def nfe(self) -> int:
        """Function evaluations of all arms."""
        return sum(one.nfe for one in self.arms.values())

    def title(self, arm: str) -> str:
        """How an arm is called on a sheet."""
        result = self.arms[arm]
        operator = result.operator
        if arm != OWN:
            return arm if len(result.prompts) > 1 else f"{arm}: {result.prompts[0]}"
        if isinstance(operator, str) and set("\"'") & set(operator):
            return operator
        weights = operator if isinstance(operator, str) else ", ".join(format(one, "g") for one in operator)
        return f"{weights}: {', '.join(map(str, result.prompts))}"

    def files(self, arm: str) -> list[Path]:
        """Where `save` writes the images of an arm, in its folder."""
        place = Path() if arm == OWN else Path(arm.replace(" ", "_"))
        return [place / f"{number:03d}.png" for number in range(len(self.arms[arm].images))]

    def contact_sheet(self, side: int = 192) -> Image.Image:
        """A row for each arm, a column for each seed; right images have a green frame, wrong ones a red one.

        Args:
            side: of a picture's place, in pixels.
        """
        images: list[Image.Image] = []
        captions: list[str] = []
        marked: list[int] = []
        disputed: list[int] = []
        for arm, result in self.arms.items():
            said = self.judgements.get(arm, [])
            for k, (seed, image) in enumerate(zip(result.seeds, result.images, strict=True)):
                lines = [self.title(arm), f"seed {seed}"]
                if said:
                    lines.append(str(said[k]))
                    marked += [len(images)] * (said[k].right is True)
                    disputed += [len(images)] * (said[k].right is False)
                images.append(image.middle if isinstance(image, Clip) else image)
                captions.append("\n".join(lines))
        return contact_sheet(images, captions, len(self.result.images), marked, disputed, side=side)

    def save(self, folder: str | Path) -> Path:
        """Write the images (those of rivals in folders of their names), `contact_sheet.png` and `superposition.json`.

        Args:
            folder: is made where it is not there.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for arm, result in self.arms.items():
            for image, file in zip(result.images, self.files(arm), strict=True):
                (folder / file).parent.mkdir(exist_ok=True)
                image.save(folder / file)
        self.contact_sheet().save(folder / "contact_sheet.png")
        (folder / "superposition.json").write_text(to_json(self.record(), indent=1))
        return folder

    def record(self) -> dict[str, Any]:
        """All but the images, as JSON holds it."""
        return {
            **self.result.record(),
            "judge": self.judge,
            "judged": _judged(self.judgements.get(OWN, [])),
            "rivals": {
                name: {
                    "prompts": rival.prompts,
                    "operator": rival.operator,
                    "nfe": rival.nfe,
                    "judged": _judged(self.judgements.get(name, [])),
                }
                for name, rival in self.rivals.items()
            },
        }


def _judged(judgements: list[Judgement]) -> list[dict[str, Any]]:
    return [{"right": one.right, "scores": one.scores, "words": str(one)} for one in judgements]
