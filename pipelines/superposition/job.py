"""A superposition as its user describes it: one value behind the command line, the page, programs and files.

`superpose` takes objects, a job names them. Its fields are the options of `samplesmith superpose`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ...named_settings import check_settings, parse_settings, write_value
from ..job import Job
from ..numbers import check_numbers
from ..shipped import check_vocabulary

if TYPE_CHECKING:
    from ...samplers.superposition import Formula
    from ...verifiers import Verifier
    from .outcome import SuperposeOutcome
    from .superpose import OnStep

STEPS = 50
"""Steps where none are given: the reverse SDE needs more than a model's own call, which solves the ODE."""

SAME_STEPS = ("integrator", "solver")
"""Settings that rivals have too, as these say what the steps' noise is."""


@dataclass(frozen=True)
class SuperposeJob(Job):
    """Images of several prompts at once, or of a formula over prompts.

    Attributes:
        prompts: what is superposed; class labels as texts.
        formula: in their place, such as '"with a cat" & ~"on blue"'.
        operator: of prompts: a name, "and" where none is given; or one weight per prompt, as text "[0.7,0.3]".
        model: a shipped one, a folder, a .safetensors file or a hub id; None for a pipeline in hand.
        num_images: with the seeds that follow each other.
        seed: of the first image.
        batch_size: images in one call of the pipeline; None for all.
        steps: inference steps.
        settings: of `SuperposedScheduler`, such as {"temperature": 0.3, "correct": "fkc"}.
        arguments: of the pipeline's call, over the model's call defaults: texts, numbers, booleans, None, lists, maps.
        judge: name of a verifier, which says of each image what holds.
        alone: make no images of rivals (mean, joint prompt) from the same noises.
        output: folder for the images and the record.
        dtype, device, offload: where the pipeline runs.

    Raises:
        ValueError: for a field of a wrong form, such as an argument that no JSON holds.
    """

    command_name: ClassVar[str] = "superpose"
    optional_texts: ClassVar[tuple[str, ...]] = ("formula", "operator", "model", "judge", "device")
    maps: ClassVar[tuple[str, ...]] = ("settings", "arguments")
    required: ClassVar[tuple[str, ...]] = ("prompts", "formula")

    prompts: tuple[str, ...] = ()
    formula: str | None = None
    operator: str | Sequence[float] | None = None
    model: str | None = "emoji-sd3"
    num_images: int = 1
    seed: int = 0
    batch_size: int | None = None
    steps: int = STEPS
    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    judge: str | None = None
    alone: bool = False
    output: str | None = None
    dtype: str = "float32"
    device: str | None = None
    offload: bool = False

    def __post_init__(self) -> None:
        self.settle()
        if self.operator is None and self.formula is None:
            self.keep("operator", "and")
        elif isinstance(self.operator, Sequence) and not isinstance(self.operator, str):
            self.keep("operator", write_value(list(self.operator)))

    @property
    def what(self) -> list[str | int] | str:
        """What `superpose` takes: the prompts, or the formula's text."""
        return list(self.prompts) if self.formula is None else self.formula

    @property
    def asked(self) -> Formula:
        """What an image is to fulfil."""
        from .judged import asked_for

        return asked_for(self.prompts, self.formula or self.weights_or_name)

    @property
    def weights_or_name(self) -> list[float] | str:
        """The operator of prompts as `superpose` takes it.

        Raises:
            ValueError: for a text that cannot be read as weights.
        """
        text = str(self.operator)
        if not text.lstrip().startswith("["):
            return text
        weights = parse_settings(f"operator={text}", "operator")["operator"]
        if not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in weights):
            raise ValueError(f"operator is {text}; give a name, or a list of weights such as [0.7,0.3]")
        return [float(one) for one in weights]

    @property
    def superpose_arguments(self) -> dict[str, Any]:
        """Arguments of `superpose` beside the prompts; what is left out has its default there."""
        operator = {} if self.formula is not None else {"operator": self.weights_or_name}
        return {**operator, **self._shared, **self.settings, **self.call_arguments}

    @property
    def _shared(self) -> dict[str, Any]:
        batch = {} if self.batch_size is None else {"batch_size": self.batch_size}
        return {"num_images": self.num_images, "seed": self.seed, **batch}

    def check(self) -> None:
        """Refuse what cannot be, as far as it can be said before anything is loaded.

        Raises:
            ValueError: in one sentence.
        """
        self.check_texts()
        if bool(self.prompts) == (self.formula is not None):
            raise ValueError("give just one of prompts and formula: what is to be superposed")
        if self.formula is not None and self.operator is not None:
            raise ValueError("a formula has its own operators; leave the operator out, or give the prompts as a list")
        check_numbers(num_images=self.num_images, batch_size=self.batch_size, steps=self.steps)
        self.check_call()
        # What follows imports torch.
        from ...samplers.superposed import SuperposedScheduler
        from ...samplers.superposition.operators import make_operator
        from .superpose import SETTINGS

        asked = self.asked
        judges = () if self.judge is None else (self.judge,)
        check_vocabulary(asked.prompts(), self.model, judges)
        if unknown := [name for name in self.settings if name not in SETTINGS]:
            raise ValueError(f"superposition has no setting {unknown[0]!r}; known: {', '.join(SETTINGS)}")
        check_settings("superposition", self.settings, SuperposedScheduler)
        count = len(self.prompts) or len(asked.prompts())
        make_operator(
            self.formula or self.weights_or_name,
            count,
            hardness=self.settings.get("temperature"),
            **{name: self.settings.get(name) for name in ("biases", "lift", "feedback", "kappa_range")},
        )

    def run(
        self,
        pipe: Any = None,
        *,
        load: Callable[[str], Verifier] | None = None,
        progress: bool = True,
        on_step: OnStep | None = None,
    ) -> SuperposeOutcome:
        """Make the images and those of the rivals, and have them judged.

        Args:
            pipe: a pipeline in hand, in place of the one that the job names; it is left as it was.
            load: gives a verifier by its name, in place of `load_verifier`.
            progress: show a bar.
            on_step: told the steps made, and all of them, those of the rivals included.

        Raises:
            ValueError: in one sentence, for a job that cannot be run: cheap reasons before anything is loaded.
        """
        self.check()
        from ...verifiers import load_verifier
        from ..call import quiet
        from ..on_device import check_device, load_on_device
        from .judged import judged
        from .outcome import OWN, SuperposeOutcome
        from .rivals import rivals
        from .superpose import superpose

        if pipe is None:
            check_device(self.device, self.offload)
        judge = None if self.judge is None else (load or load_verifier)(self.judge)
        if pipe is None:
            pipe = load_on_device(self.named_model, self.dtype, self.device, self.offload)
        others = {} if self.alone or self.operator == "mean" else rivals(self.asked, self.model)
        found = {}
        with quiet(pipe), _told(progress, on_step, 1 + len(others)) as told:
            found[OWN] = superpose(pipe, self.what, on_step=told(0), **self.superpose_arguments)
            for number, (name, prompts) in enumerate(others.items(), 1):
                same = {key: self.settings[key] for key in SAME_STEPS if key in self.settings}
                arguments = {**self._shared, **same, **self.call_arguments}
                found[name] = superpose(pipe, prompts, "mean", on_step=told(number), **arguments)
        said = {} if judge is None else {name: judged(one, judge, self.asked) for name, one in found.items()}
        return SuperposeOutcome(found.pop(OWN), found, None if judge is None else judge.name, said)

    def python(self, in_hand: Collection[str] = ()) -> str:
        """A Python program that makes the same images.

        Args:
            in_hand: names of verifiers that are objects in the reader's program.
        """
        from .job_program import program_of

        return program_of(self, in_hand)


@contextmanager
def _told(progress: bool, on_step: OnStep | None, arms: int) -> Iterator[Callable[[int], OnStep]]:
    """A bar over the steps of all arms; gives what is to be told of each arm's steps."""
    from rich.progress import Progress

    with Progress(disable=not progress, transient=True) as bar:
        task = bar.add_task("superposing", total=None)

        def of(arm: int) -> OnStep:
            def told(made: int, steps: int) -> None:
                bar.update(task, completed=arm * steps + made, total=arms * steps)
                if on_step is not None:
                    on_step(arm * steps + made, arms * steps)

            return told

        yield of
