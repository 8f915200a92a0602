"""What `superposition.py` makes: pairs of emoji captions, and the images of each arm as jobs.

A pair has two objects, a background, and two captions that exclude each other. "with a cat" says nothing of what else
is there, so that AND, OR and NOT have a truth, which the judge reads off.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from samplesmith.pipelines import SuperposeJob
from samplesmith.pipelines.superposition.rivals import joint_prompt
from samplesmith.samplers.superposition import INTEGRATORS, And, Formula, Not, Or, Prompt
from samplesmith.scenes import BACKGROUNDS, OBJECTS, Both, Either, Group, Scene, is_held_out, parse
from samplesmith.scenes import Not as Without
from samplesmith.scenes.conditions import Condition

TEMPERATURES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Of OR and formulas, in the sweep."""

DEFAULT_INTEGRATOR = "ancestral"

SETS = ("and", "and-paper", "mean", "joint prompt", "first alone", "second alone")
"""Arms that are held against "both of the pair"."""


@dataclass(frozen=True)
class Pair:
    """Two objects that may stand together, a background to be avoided, and two captions that exclude each other."""

    first: Prompt
    second: Prompt
    unwanted: Prompt
    one: Prompt
    other: Prompt


@dataclass(frozen=True)
class Cell:
    """The images of one arm for one pair.

    Attributes:
        task: "sets", "not", "three", "weighted", "either", "classifier" or "sweep"; "A and B" or "A" of integrators.
        arm: within the task.
        pair: its number.
        job: makes the images.
        asked: what they are held against.
    """

    task: str
    arm: str
    pair: int
    job: SuperposeJob
    asked: Formula

    @property
    def name(self) -> str:
        """Of its file: another job has another name, and arms of the same job share one."""
        return f"{self.pair:02d}-{hashlib.sha256(self.job.to_json().encode()).hexdigest()[:16]}"


def draw_pairs(count: int, seed: int) -> list[Pair]:
    """Pairs of different objects, as often as there are; those of other seeds are others."""
    rng = np.random.default_rng(seed)
    pairs = []
    while len(pairs) < count:
        names = rng.permutation(len(OBJECTS))
        for a, b in names[: len(names) // 2 * 2].reshape(-1, 2):
            pairs.append(_pair(rng, OBJECTS[a], OBJECTS[b]))
    return pairs[:count]


def _pair(rng: np.random.Generator, first: str, second: str) -> Pair:
    while True:
        here, there, unwanted = rng.choice(list(BACKGROUNDS), 3, replace=False).tolist()
        scenes = [Scene((Group(1, first),), here), Scene((Group(1, second),), there)]
        if not any(map(is_held_out, scenes)):
            break
    opened = [Scene((Group(1, name),), None, open=True) for name in (first, second)]
    captions = [*opened, Scene((), unwanted, open=True), *scenes]
    return Pair(*(Prompt(scene.caption) for scene in captions))


def condition(formula: Formula) -> Condition:
    """The scenes of which a formula is true."""
    match formula:
        case Prompt(text):
            return parse(text)
        case And(parts):
            return Both(tuple(map(condition, parts)))
        case Or(parts):
            return Either(tuple(map(condition, parts)))
        case Not(part):
            return Without(condition(part))
    raise ValueError(f"{formula!r} is no formula")


@dataclass(frozen=True)
class Jobs:
    """Makes cells of a model: the steps, the seeds, and how many images."""

    model: str
    steps: int
    images: int

    def _job(self, pair: int, images: int | None = None, **what: object) -> SuperposeJob:
        count = images or self.images
        return SuperposeJob(model=self.model, steps=self.steps, num_images=count, seed=1000 * pair, alone=True, **what)

    def sweep(self, pairs: list[Pair]) -> Iterator[Cell]:
        """OR, and a formula of three, at each temperature."""
        for number, pair in enumerate(pairs):
            either, three = pair.one | pair.other, pair.first & pair.second & ~pair.unwanted
            for temperature in TEMPERATURES:
                settings = {"temperature": temperature}
                for arm, asked in {"or": either, "three": three}.items():
                    job = self._job(100 + number, formula=str(asked), settings=settings)
                    yield Cell("sweep", f"{arm} {temperature:g}", number, job, asked)

    def sets(self, pairs: list[Pair], temperature: float) -> Iterator[Cell]:
        """Both of two objects; one without a background; both without it."""
        settings = {"temperature": temperature}
        for number, pair in enumerate(pairs):
            both, texts = pair.first & pair.second, (pair.first.text, pair.second.text)
            joint = joint_prompt(both, "emoji-sd3")
            jobs = {name: {"prompts": texts, "operator": name} for name in ("and", "and-paper", "mean")}
            alone = {"joint prompt": joint, "first alone": texts[0], "second alone": texts[1]}
            jobs |= {name: {"prompts": (prompt,), "operator": "mean"} for name, prompt in alone.items()}
            for arm in SETS:
                yield Cell("sets", arm, number, self._job(number, **jobs[arm]), both)
            without = pair.first & ~pair.unwanted
            job = self._job(number, formula=str(without), settings=settings)
            yield Cell("not", "formula", number, job, without)
            yield Cell("not", "first alone", number, self._job(number, **jobs["first alone"]), without)
            three = both & ~pair.unwanted
            yield Cell("three", "formula", number, self._job(number, formula=str(three), settings=settings), three)
            yield Cell("three", "joint prompt", number, self._job(number, **jobs["joint prompt"]), three)

    def weighted(self, pairs: list[Pair], temperature: float) -> Iterator[Cell]:
        """Both of two objects by a formula: images alike, and as particles with Feynman-Kac weights."""
        for number, pair in enumerate(pairs):
            both = pair.first & pair.second
            for arm, settings in {"images alike": {}, "by weights": {"correct": "fkc"}}.items():
                what = {"formula": str(both), "settings": {"temperature": temperature, **settings}}
                yield Cell("weighted", arm, number, self._job(number, **what), both)

    def integrators(self, pairs: list[Pair], steps: Sequence[int]) -> Iterator[Cell]:
        """Both of two objects, and one alone, by each integrator at some numbers of steps."""
        for number, pair in enumerate(pairs):
            both = (pair.first.text, pair.second.text)
            tasks = {"A and B": (both, "and", pair.first & pair.second), "A": (both[:1], "mean", pair.first)}
            for (task, (prompts, operator, asked)), integrator, count in product(tasks.items(), INTEGRATORS, steps):
                # The default is left out, as other arms leave it: their files serve here too.
                settings = {} if integrator == DEFAULT_INTEGRATOR else {"integrator": integrator}
                what = {"prompts": prompts, "operator": operator, "settings": settings}
                job = replace(self, steps=count)._job(number, **what)
                yield Cell(task, f"{integrator}, {count} steps", number, job, asked)

    def either(self, pairs: list[Pair], temperature: float) -> Iterator[Cell]:
        """OR of two captions of which one at most is true."""
        for number, pair in enumerate(pairs):
            for arm, settings in {"temperature 1": {}, "chosen": {"temperature": temperature}}.items():
                what = {"prompts": (pair.one.text, pair.other.text), "operator": "or", "settings": settings}
                yield Cell("either", arm, number, self._job(number, **what), pair.one | pair.other)

    def classifier(self, pairs: list[Pair]) -> Iterator[Cell]:
        """Images of one of two captions, with the densities of both: half as many of each."""
        for number, pair in enumerate(pairs):
            for estimator in ("rne", "ito"):
                for k, source in enumerate((pair.one, pair.other)):
                    weights = (1.0 - k, float(k))
                    what = {"prompts": (pair.one.text, pair.other.text), "operator": weights}
                    job = self._job(number, max(1, self.images // 2), settings={"estimator": estimator}, **what)
                    yield Cell("classifier", f"{estimator} {k}", number, job, source)
