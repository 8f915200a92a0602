"""The record of an evaluated node: how it was made, what it cost, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from ...samplers.strategies import Node
from .scoring import UNUSABLE, Scored

Status = Literal["finished", "preview", "failed"]


@dataclass(frozen=True)
class Record:
    """One evaluated node.

    Attributes:
        prompt, prompt_index: the condition, and its number in the list.
        index: of the node among those of its prompt.
        batch: number of the batch that it was made in, among those of its prompt.
        strategy: name.
        node: what it is; with the prompt it can be made again from this alone.
        nfe, decodes, verifier_calls: its share of what the batch cost.
        nfe_so_far: of its prompt, up to and with it.
        file: its picture, within the folder; None without one.
        status: finished, or a preview (the clean prediction of a step), or failed: of a failed one, `reason` says why.
        score: of the guide; None where it failed, or where only whole pools are ranked.
        scores: by verifier; None where a verifier gave none.
        reason: why it failed; None where it did not.
        missing: why a judge gave no score, by the score's name.
        own_noise: whether it holds noise that the plain pipeline would not draw.
        steps_done, steps: how far its run was made; None where the search does not pause runs.
    """

    prompt: str | int | None
    prompt_index: int
    index: int
    batch: int
    strategy: str
    node: Node
    nfe: int
    nfe_so_far: int
    decodes: int = 0
    verifier_calls: int = 0
    file: str | None = None
    status: Status = "finished"
    score: float | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    reason: str | None = None
    missing: dict[str, str] = field(default_factory=dict)
    own_noise: bool = False
    steps_done: int | None = None
    steps: int | None = None

    @property
    def seed(self) -> int:
        return self.node.seed

    @property
    def failed(self) -> bool:
        return self.status == "failed"

    @property
    def may_recover(self) -> bool:
        """Whether a verifier failed on it: it may give a score when it is called again."""
        return bool(self.missing) or (self.failed and self.reason != UNUSABLE)

    def scored(self, scored: Scored, guide: str, extra_calls: int = 0) -> Record:
        """The same record with what it is worth.

        Args:
            scored: by the verifiers.
            guide: name of the score that chooses.
            extra_calls: images that verifiers were handed for it, beside those on record.
        """
        status: Status = "finished" if self.node.finished else "preview"
        return replace(
            self,
            status=status if scored.reason is None else "failed",
            score=scored.scores.get(guide),
            scores=scored.scores,
            reason=scored.reason,
            missing=scored.missing,
            verifier_calls=self.verifier_calls + extra_calls,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON value; what does not apply is left out (`reason` where none failed, `steps` without pauses)."""
        values = asdict(self) | {"id": self.node.id, "seed": self.node.seed, "legs": self.node.legs_json()}
        del values["node"]
        optional: dict[str, Any] = {
            "reason": None,
            "missing": {},
            "own_noise": False,
            "steps_done": None,
            "steps": None,
        }
        return {key: values[key] for key in _ORDER if key not in optional or values[key] != optional[key]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Record:
        """The inverse of `to_json`.

        Raises:
            ValueError: for what is no record.
        """
        try:
            node = Node.from_json(values["seed"], values["legs"])
            own = {key: value for key, value in values.items() if key not in ("id", "seed", "legs")}
            record = cls(node=node, **own)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no record: {error}") from error
        if values["id"] != node.id:
            raise ValueError(f"the record says {values['id']}, but its path is that of {node.id}")
        return record


_NAMES = [one.name for one in fields(Record)]
_ORDER = [name for key in _NAMES for name in (("id", "seed", "legs") if key == "node" else (key,))]
