"""One prompt guided in several ways from the same noises, as work of the page."""

from __future__ import annotations

import shlex
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .... import assets
from ....named_settings import write
from ....pipelines.shipped import call_arguments, check_vocabulary
from ..judged import Sight, sights
from ..limits import Limits, checked_prompt, one_of, optional, real, whole
from ..line import Turn
from ..model_calls import before_calls
from ..models import IN_HAND, Models
from ..on_the_way import shown_on_the_way
from ..pictures import save_pictures
from ..studio import Studio

MOST_IMAGES = 8


@dataclass(frozen=True)
class Way:
    """One way to guide.

    Attributes:
        title: what it is called.
        hook: by name, with settings; None is the pipeline's own guidance.
        says: what it does, in a few words.
    """

    title: str
    hook: str | None
    says: str


@dataclass(frozen=True)
class GuidanceRequest:
    """One comparison.

    Attributes:
        prompt: a prompt or a class.
        guidance_scale: of all ways; None for the model's own.
        steps: None for the model's own.
        scale: s of the slow way, which leads beyond the guided prediction where it is above 1.
        stop: where guidance on an interval ends, a share of the steps.
        images: how many; image k has the noise of `seed + k`.
    """

    model: str
    prompt: str
    guidance_scale: float | None
    steps: int | None
    scale: float
    stop: float
    images: int
    seed: int

    def check(self, models: Models, limits: Limits) -> GuidanceRequest:
        """The same request with numbers as Python has them.

        Raises:
            ValueError: for anything that is not offered or out of range, in one sentence.
        """
        one_of("model", self.model, models.pipelines)
        prompt = checked_prompt(self.prompt, limits)
        check_vocabulary([prompt], self.model, [])
        guidance = optional(real, "guidance scale", self.guidance_scale, 0, 100)
        if guidance is None and call_arguments(self.model, {}).get("guidance_scale", 7.5) <= 1:
            raise ValueError(f"{self.model} does not guide by default; give a guidance scale above 1")
        if guidance is not None and guidance <= 1:
            raise ValueError(f"the guidance scale is {guidance:g}, which guides nothing; give one above 1")
        return replace(
            self,
            prompt=prompt,
            guidance_scale=guidance,
            steps=optional(whole, "number of steps", self.steps, 2, limits.steps),
            scale=real("slow scale", self.scale, 0, 10),
            stop=real("interval", self.stop, 0, 1),
            images=whole("number of images", self.images, 1, MOST_IMAGES),
            seed=whole("seed", self.seed, 0, 2**31 - 1),
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the pipeline's call."""
        given = {"num_inference_steps": self.steps, "guidance_scale": self.guidance_scale}
        return call_arguments(self.model, given)

    @property
    def ways(self) -> list[Way]:
        """Those that the model can be guided in; fast and slow need a weak model that ships with it."""
        ways = [Way("Guidance", None, "two NFEs for each step")]
        if (weak := assets.weak_model(self.model)) is not None:
            fast, slow = {"strong_until": 0.0}, {"scale": self.scale, "strong_until": 1.0}
            ways += [
                Way("Fast", write("weak-to-strong", {"weak": weak, **fast}), "the weak model's guess: one NFE"),
                Way("Slow", write("weak-to-strong", {"weak": weak, **slow}), "beyond guidance, away from that guess"),
            ]
        return [
            *ways,
            Way("Interval", write("interval", {"stop": self.stop}), "guided in its first part alone"),
            Way("Zigzag", "zigzag", "each step made, inverted, made again"),
        ]

    def command(self) -> str:
        """A command line for each way."""
        return "\n".join(shlex.join(self._command(way)) for way in self.ways) + "\n"

    def _command(self, way: Way) -> list[str]:
        words = ["samplesmith", "sample", self.prompt, "--model", self.model, "--num-images", str(self.images)]
        words += [] if self.steps is None else ["--steps", str(self.steps)]
        words += [] if self.guidance_scale is None else ["--guidance-scale", f"{self.guidance_scale:g}"]
        words += ["--seed", str(self.seed)] * (self.seed != 0)
        words += [] if way.hook is None else ["--hook", way.hook]
        return [*words, "--output", f"outputs/{way.title.lower()}"]

    def python(self) -> str:
        """A program that makes them all."""
        hooks = {way.title.lower(): way.hook for way in self.ways}
        load = "pipe = ...  # your pipeline" if self.model == IN_HAND else f"pipe = samplesmith.load({self.model!r})"
        return (
            "import samplesmith\nimport torch\nfrom samplesmith.samplers.by_name import set_up\n\n"
            f"{load}\narguments = {self.arguments!r}\nhooks = {hooks!r}\n"
            f"for name, hook in hooks.items():\n"
            f"    noises = [torch.Generator().manual_seed(seed) for seed in range({self.seed}, "
            f"{self.seed + self.images})]\n"
            "    with set_up(pipe, hooks=[hook] if hook else []):\n"
            f"        images = pipe([{self.prompt!r}] * {self.images}, generator=noises, **arguments).images\n"
            "    for number, image in enumerate(images):\n"
            '        image.save(f"{name}_{number}.png")\n'
        )


@dataclass(frozen=True)
class CallMade:
    """A model call of a way was made.

    Attributes:
        way: its title.
        done: ways before it.
        ways: of all.
        call: of this one, from 1.
    """

    way: str
    done: int
    ways: int
    call: int


@dataclass(frozen=True)
class Made:
    """What a way made.

    Attributes:
        files: a picture for each noise; none where it was refused.
        nfe: for each picture.
        seconds: of the whole call.
        seen: what the judge sees in each; None without a judge that has words.
        refused: why it cannot guide this pipeline, in one sentence.
    """

    way: Way
    files: list[Path] = field(default_factory=list)
    nfe: float = 0.0
    seconds: float = 0.0
    seen: list[Sight] | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Comparison:
    """The end.

    Attributes:
        made: by each way, in their order.
        judge: who judged; None without one.
        notes: what the library warned of.
    """

    request: GuidanceRequest
    made: list[Made]
    judge: str | None
    notes: list[str] = field(default_factory=list)


def run_comparison(studio: Studio, request: GuidanceRequest, folder: Path, turn: Turn) -> Comparison:
    """Sample in each way; it reports `Loading`, `CallMade`, `OnTheWay` and `Made`.

    Args:
        studio: of the page.
        request: checked.
        folder: of this run alone.
        turn: of the visitor.
    """
    name = studio.models.default_judge(request.model)
    studio.models.announce([request.model, name], turn.report)
    pipe = studio.models.pipeline(request.model)
    judge = None if name is None else studio.models.judge_or_guide(name, request.model)
    made = []
    for number, way in enumerate(request.ways):
        calls = _Calls(turn, way.title, number, len(request.ways))
        on_the_way = nullcontext() if way.hook else shown_on_the_way(pipe, folder, turn.report)
        with turn.stops(pipe), before_calls(pipe, calls.count), on_the_way:
            made.append(_made(pipe, request, way, folder, judge))
        turn.report(made[-1])
    return Comparison(request, made, name, turn.notes)


def _made(pipe: Any, request: GuidanceRequest, way: Way, folder: Path, judge: Any) -> Made:
    from ....pipelines.call import PipelineCall, quiet
    from ....pipelines.counting import count_nfe
    from ....pipelines.row import Row
    from ....samplers.by_name import set_up

    rows = Row.draws(request.prompt, range(request.seed, request.seed + request.images))
    call = PipelineCall(pipe, request.arguments)
    try:
        with quiet(pipe), set_up(pipe, hooks=[] if way.hook is None else [way.hook]), count_nfe(pipe) as counts:
            started = time.monotonic()
            images, _ = call(rows)
            seconds = time.monotonic() - started
    except ValueError as error:
        return Made(way, refused=str(error))
    files = save_pictures(images, [folder / f"{way.title.lower()}_{k}.png" for k in range(len(images))])
    seen = None if judge is None else sights(judge, files, request.prompt)
    return Made(way, files, counts.nfe / len(rows), seconds, seen)


class _Calls:
    """Counts a way's model calls."""

    def __init__(self, turn: Turn, title: str, done: int, ways: int):
        self._turn, self._title, self._done, self._ways = turn, title, done, ways
        self._calls = 0

    def count(self) -> None:
        self._calls += 1
        self._turn.report(CallMade(self._title, self._done, self._ways, self._calls))
