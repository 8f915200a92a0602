"""What a candidate is worth: the `Verifier` protocol, and composites of verifiers."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .identity import constructor_settings, told_apart
from .images import Images, Pictures, are_clips, image_batches, read_images

UNLIKE_SCALES = 3.0
"""A sum of verifiers whose scales differ by more than this factor warns: the larger one alone would decide."""


class VerifierUnavailable(ConnectionError):
    """No image at all can be scored now (a refused key, a host that is down): a search stops."""


class Verifier(ABC):
    """Scores images, higher is better.

    The score of an image depends on that image and its prompt alone, never on the rest of the batch.

    Attributes:
        name: key of its scores in records.
        scale: typical size of a score; tells a weighted sum of unlike verifiers from a sensible one.
        differentiable: whether gradients flow from the scores to a tensor of images.
        needs_previews: whether it compares each image with an earlier clean prediction of it.
        preview_at: the share of a run's steps after which that prediction is formed, in (0, 1).
        reads_prompt: whether its score depends on the prompt.
        batch_size: images per forward.
        takes_pictures: whether `score` also takes RGB pictures of any sizes, and resizes them itself, one at a time;
            otherwise `score` gets tensors, each of pictures of one size.
        takes_clips: whether `score` takes clips, (batch, frames, 3, height, width), and nothing else. Otherwise the
            score of a clip is the mean over its frames.
        num_frames: frames per clip that a verifier of images scores, spread evenly from the first to the last; None:
            all of them.
    """

    name: str = "verifier"
    scale: float = 1.0
    differentiable: bool = False
    needs_previews: bool = False
    preview_at: float = 0.7
    reads_prompt: bool = True
    batch_size: int = 32
    takes_pictures: bool = False
    takes_clips: bool = False
    num_frames: int | None = 8

    @abstractmethod
    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        """Score one batch: images (batch, 3, height, width) in [0, 1]; returns (batch,).

        The images are a copy that may be changed; see `takes_pictures` and `takes_clips` for other forms.
        """

    def __call__(self, images: Images, prompts: Sequence[str] | str, previews: Images | None = None) -> Tensor:
        """Score any number of images or clips.

        Args:
            images: float tensor (batch, 3, height, width) in [0, 1]; or a list of PIL images or of files, of any sizes,
                read as a viewer shows them (`images.as_shown`). Files are read one at a time. Clips are a tensor
                (batch, frames, 3, height, width), or a list of pictures for each.
            prompts: one per image or clip, or one for all.
            previews: clean predictions at an earlier step, one per image, for verifiers that compare; the same form as
                `images`, of any size.

        Returns:
            float32 (batch,) on the CPU; NaN or -inf where an image is lost.

        Raises:
            ValueError: for images of another form, where prompts or previews and images differ in number, where
                previews are needed and missing, or where `score` does not return one number below +inf per image.
        """
        given = read_images(images)
        prompts = [prompts] * len(given) if isinstance(prompts, str) else list(prompts)
        if len(prompts) != len(given):
            raise ValueError(
                f"{len(given)} images but {len(prompts)} prompts; give one prompt per image, or one for all"
            )
        if previews is None and self.needs_previews:
            raise ValueError(f"{self.name} compares images with earlier clean predictions of them; give previews=")
        early = read_images(previews) if previews is not None and self.needs_previews else None
        if early is not None and len(early) != len(given):
            raise ValueError(f"{len(given)} images but {len(early)} previews; give one preview per image")
        if early is not None and are_clips(early) != are_clips(given):
            raise ValueError("images and previews must both be clips, or neither")
        if are_clips(given) and not self.takes_clips:
            return self._mean_over_frames(given, prompts, early)
        if self.takes_clips and len(given) and not are_clips(given):
            raise ValueError(
                f"{self.name} scores clips; give (batch, frames, 3, height, width) or a list of pictures each"
            )
        follows = isinstance(given, Tensor) and given.requires_grad
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.differentiable and follows):
            scores = [
                checked_scores(self.name, self.score(batch, prompts[start:stop], before), stop - start)
                for start, stop, batch, before in image_batches(given, early, self.batch_size, self.takes_pictures)
            ]
        return torch.cat(scores) if scores else torch.zeros(0)

    def _mean_over_frames(
        self, clips: Tensor | list[Pictures], prompts: list[str], previews: Tensor | Pictures | list[Pictures] | None
    ) -> Tensor:
        scores = []
        for k, (clip, prompt) in enumerate(zip(clips, prompts, strict=True)):
            count = len(clip) if self.num_frames is None else min(self.num_frames, len(clip))
            early = None if previews is None else _spread(previews[k], count)
            scores.append(self(_spread(clip, count), prompt, early).mean())
        return torch.stack(scores) if scores else torch.zeros(0)

    @property
    def needs_pool(self) -> bool:
        """Whether choosing needs the whole pool of a prompt's candidates (ranks)."""
        return False

    def evaluate(
        self, images: Images, prompts: Sequence[str] | str, previews: Images | None = None
    ) -> dict[str, Tensor]:
        """Scores by name: that of the verifier itself and, for a composite, those of its parts."""
        return {self.name: self(images, prompts, previews)}

    def select(self, scores: dict[str, Tensor]) -> Tensor:
        """The values by which the best of a pool is chosen, from what `evaluate` gave for the pool."""
        return scores[self.name]

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores that `evaluate` gives; that of the verifier itself comes first where it has one."""
        return (self.name,)

    def settings(self) -> dict[str, Any]:
        """All that decides what an image scores, as JSON; models are in it by a hash of their weights.

        By default: the attributes that are named as arguments of the constructor. Override this where others decide.
        """
        return constructor_settings(self)

    def identity(self) -> dict[str, Any]:
        """What it is, as JSON: its name, its class and its settings with hashes of weights.

        Two verifiers that give the same scores have equal identities, whatever device they are on; a name alone says
        nothing. Each call computes it again: about one second per GB of weights.
        """
        kind = type(self)
        return {
            "name": self.name,
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "num_frames": self.num_frames,
            "settings": self.settings(),
        }

    def to(self, device: Any) -> Verifier:
        """Move its models; returns itself."""
        return self

    def __add__(self, other: Verifier) -> WeightedSum:
        return WeightedSum([*_weighted(self), *_weighted(other)])

    def __mul__(self, weight: float) -> WeightedSum:
        return WeightedSum([(weight * factor, part) for factor, part in _weighted(self)])

    __rmul__ = __mul__


def checked_scores(name: str, returned: Any, count: int) -> Tensor:
    """What a verifier returned, as float32 (count,) on the CPU, with its gradient. NaN and -inf mean a lost image.

    Args:
        name: what messages call the verifier.
        returned: a tensor, an array or a list.
        count: images that were scored.

    Raises:
        ValueError: where it is not one number per image, or holds +inf, which would always win.
    """
    try:
        scores = torch.as_tensor(returned).float().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} returned {type(returned).__name__}, which is no list of numbers") from error
    if scores.shape != (count,):
        raise ValueError(
            f"{name} returned shape {tuple(scores.shape)} for {count} images; return one number per image, "
            f"shape ({count},)"
        )
    if scores.isposinf().any():
        raise ValueError(f"{name} returned +inf, which would always win; return finite scores")
    return scores


def _spread(frames: Any, count: int) -> Any:
    """`count` frames of a clip, spread evenly from the first to the last; a count of 1 gives the middle frame."""
    last = len(frames) - 1
    which = [round(last * (k / (count - 1) if count > 1 else 0.5)) for k in range(count)]
    return frames[which] if isinstance(frames, Tensor) else Pictures([frames.given[k] for k in which])


def _take_previews(composite: Verifier, parts: Sequence[Verifier]) -> None:
    """Set what a composite needs of previews to what its parts need."""
    shares = sorted({part.preview_at for part in parts if part.needs_previews})
    if len(shares) > 1:
        raise ValueError(
            f"the parts of {composite.name} need previews at {', '.join(f'{share:g}' for share in shares)} of the run; "
            "give them one preview_at"
        )
    composite.needs_previews = bool(shares)
    if shares:
        composite.preview_at = shares[0]


def _weighted(verifier: Verifier) -> list[tuple[float, Verifier]]:
    return list(verifier.parts) if isinstance(verifier, WeightedSum) else [(1.0, verifier)]


def _evaluate_parts(
    parts: Sequence[Verifier], images: Images, prompts: Sequence[str] | str, previews: Images | None
) -> dict[str, Tensor]:
    """Scores of all parts, by distinct names."""
    scores: dict[str, Tensor] = {}
    for part, names in zip(parts, told_apart(parts), strict=True):
        for name, values in part.evaluate(images, prompts, previews).items():
            scores[names.get(name, name)] = values
    return scores


class WeightedSum(Verifier):
    """sum_i w_i V_i, made by `a + 0.5 * b`.

    Parts with the same name are called "name", "name#2", ... in the name of the sum and in `evaluate`.

    Args:
        parts: pairs of weight and verifier.

    Raises:
        ValueError: for a part that needs a pool, such as `RankEnsemble`.
    """

    def __init__(self, parts: Sequence[tuple[float, Verifier]]):
        for _, part in parts:
            if part.needs_pool:
                raise ValueError(f"{part.name} ranks a pool and has no score of its own; rank its parts instead")
        self.parts = tuple((float(weight), part) for weight, part in parts)
        self.name = " + ".join(
            name if weight == 1 and len(self.parts) > 1 else f"{weight:g} * {name}"
            for (weight, _), name in zip(self.parts, self._part_names(), strict=True)
        )
        self.scale = sum(abs(weight) * part.scale for weight, part in self.parts)
        self.differentiable = all(part.differentiable for _, part in self.parts)
        self.reads_prompt = any(part.reads_prompt for part in self._verifiers)
        _take_previews(self, self._verifiers)
        sizes = [abs(weight) * part.scale for weight, part in self.parts if weight]
        if len(sizes) > 1 and max(sizes) > UNLIKE_SCALES * min(sizes):
            warnings.warn(
                f"the parts of {self.name} have unlike scales ({', '.join(f'{size:g}' for size in sizes)}): the "
                "largest decides; weight them, or use RankEnsemble",
                stacklevel=3,
            )

    @property
    def _verifiers(self) -> list[Verifier]:
        return [part for _, part in self.parts]

    def _part_names(self) -> list[str]:
        """The name under which the score of each part stands."""
        distinct = told_apart(self._verifiers)
        return [names[part.name] for names, part in zip(distinct, self._verifiers, strict=True)]

    @property
    def score_names(self) -> tuple[str, ...]:
        return (self.name, *(new for names in told_apart(self._verifiers) for new in names.values()))

    def settings(self) -> dict[str, Any]:
        return {"parts": [{"weight": weight, "verifier": part.identity()} for weight, part in self.parts]}

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        return self(images, prompts, previews)

    def __call__(self, images: Images, prompts: Sequence[str] | str, previews: Images | None = None) -> Tensor:
        return self.evaluate(images, prompts, previews)[self.name]

    def evaluate(
        self, images: Images, prompts: Sequence[str] | str, previews: Images | None = None
    ) -> dict[str, Tensor]:
        scores = _evaluate_parts(self._verifiers, images, prompts, previews)
        weights = [weight for weight, _ in self.parts]
        pairs = zip(weights, self._part_names(), strict=True)
        total = sum((weight * scores[name] for weight, name in pairs), torch.zeros(()))
        return {self.name: total, **scores}

    def to(self, device: Any) -> WeightedSum:
        for part in self._verifiers:
            part.to(device)
        return self


class RankEnsemble(Verifier):
    """Chooses by the weighted mean of the ranks that each part gives within a prompt's pool (1 is the worst).

    It resists the hacking of a single verifier. Ranks belong to a pool, so there is no score for one image: the parts
    are scored and recorded, and the choice is made when the pool is complete. Parts with the same name are called
    "name", "name#2", ... in the name of the ensemble and in `evaluate`.

    Args:
        parts: verifiers.
        weights: of the ranks; equal when None.
    """

    def __init__(self, parts: Sequence[Verifier], weights: Sequence[float] | None = None):
        if len(parts) < 2:
            raise ValueError("RankEnsemble needs at least two verifiers; with one, use it directly")
        for part in parts:
            if part.needs_pool:
                raise ValueError(f"{part.name} ranks a pool and has no score of its own; rank its parts instead")
        self.parts = tuple(parts)
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(parts)
        if len(self.weights) != len(self.parts):
            raise ValueError(f"{len(self.parts)} verifiers but {len(self.weights)} weights; give one per verifier")
        self.name = f"rank({', '.join(self._part_names())})"
        self.reads_prompt = any(part.reads_prompt for part in self.parts)
        _take_previews(self, self.parts)

    @property
    def needs_pool(self) -> bool:
        return True

    def _part_names(self) -> list[str]:
        """The name under which the score of each part stands."""
        return [names[part.name] for names, part in zip(told_apart(self.parts), self.parts, strict=True)]

    @property
    def score_names(self) -> tuple[str, ...]:
        return tuple(new for names in told_apart(self.parts) for new in names.values())

    def settings(self) -> dict[str, Any]:
        pairs = zip(self.weights, self.parts, strict=True)
        return {"parts": [{"weight": weight, "verifier": part.identity()} for weight, part in pairs]}

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        raise self._no_score()

    def __call__(self, images: Images, prompts: Sequence[str] | str, previews: Images | None = None) -> Tensor:
        raise self._no_score()

    def _no_score(self) -> ValueError:
        return ValueError(
            f"{self.name} ranks a prompt's whole pool and has no score for one image; call evaluate, then select"
        )

    def evaluate(
        self, images: Images, prompts: Sequence[str] | str, previews: Images | None = None
    ) -> dict[str, Tensor]:
        return _evaluate_parts(self.parts, images, prompts, previews)

    def select(self, scores: dict[str, Tensor]) -> Tensor:
        total = sum(self.weights)
        pairs = zip(self.weights, self._part_names(), strict=True)
        return sum((weight / total * _ranks(scores[name]) for weight, name in pairs), torch.zeros(()))

    def to(self, device: Any) -> RankEnsemble:
        for part in self.parts:
            part.to(device)
        return self


def _ranks(scores: Tensor) -> Tensor:
    """Ranks from 1 (worst); equal scores share their mean rank."""
    below = (scores[None] < scores[:, None]).sum(1)
    equal = (scores[None] == scores[:, None]).sum(1)
    return below + (equal + 1) / 2
