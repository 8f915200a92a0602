"""A search as its user describes it: one value behind the command line, the page, programs and files.

`NoiseSearch` takes objects, a job names them. Its fields are the options of `samplesmith search`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from ...named_settings import parse_settings, write_settings
from ...valid_json import to_json
from ..numbers import check_numbers
from ..shipped import call_arguments, check_model, check_vocabulary, default_guide

if TYPE_CHECKING:
    from ...verifiers import Verifier
    from .engine import BatchReport
    from .noise_search import NoiseSearch
    from .result import SearchResult

AUTO: Final = "auto"


@dataclass(frozen=True)
class SearchJob:
    """A search of one or several prompts for their best images.

    Attributes:
        prompts: what to draw; class labels as texts.
        model: a shipped one, a folder, a .safetensors file or a hub id; None for a pipeline in hand.
        verifiers: names of the guides; several choose by their mean rank. None given: the model's own.
        judge: name of a held-out verifier, which measures and does not choose.
        strategy: name and settings, such as "zero-order:neighbours=4".
        budget: NFEs per prompt.
        candidates: candidates per prompt, in place of the budget; 8 where neither is given.
        seed: of the first candidate.
        batch_size: candidates in one call of the pipeline.
        steps: inference steps; "auto" leaves them to the calibration, None to the model.
        stop_at: a score that ends a prompt's search.
        scheduler: name and settings, such as "flow-sde:diffusion=square,norm=3"; None for the pipeline's own.
        hooks: names and settings of what is put on the pipeline's networks.
        arguments: of the pipeline's call, over the model's call defaults: texts, numbers, booleans, None, lists, maps.
        calibration: file; None with steps "auto" for the model's own.
        output: folder for records and images.
        dtype, device, offload: where the pipeline runs.

    Raises:
        ValueError: for a field of a wrong form, such as an argument that no JSON holds.
    """

    command_name: ClassVar[str] = "search"
    """Of the command line that reads it."""
    maker: ClassVar[str] = "NoiseSearch"
    """What makes the search in a program, by its name in `samplesmith.pipelines`."""

    prompts: tuple[str, ...]
    model: str | None = "emoji-sd3"
    verifiers: tuple[str, ...] = ()
    judge: str | None = None
    strategy: str = "random"
    budget: int | None = None
    candidates: int | None = None
    seed: int = 0
    batch_size: int = 8
    steps: int | Literal["auto"] | None = None
    stop_at: float | None = None
    scheduler: str | None = None
    hooks: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    calibration: str | None = None
    output: str | None = None
    dtype: str = "float32"
    device: str | None = None
    offload: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.prompts, str):
            raise ValueError("prompts is one text; give a list of them")
        keep = object.__setattr__  # the one way to set a field of a frozen dataclass
        keep(self, "prompts", tuple(str(one) if isinstance(one, int) else one for one in self.prompts))
        for name in ("verifiers", "hooks"):
            keep(self, name, tuple(getattr(self, name)))
        for name in ("calibration", "output"):
            keep(self, name, None if getattr(self, name) is None else str(getattr(self, name)))
        if not isinstance(self.arguments, Mapping):
            raise ValueError("arguments is no map; give them by name")
        # As JSON and the command line give them back: tuples are lists.
        arguments = parse_settings(write_settings(self.arguments))
        keep(self, "arguments", dict(sorted(arguments.items())))
        if self.budget is None and self.candidates is None:
            keep(self, "candidates", 8)

    @property
    def guides(self) -> tuple[str, ...]:
        """Names of the verifiers that choose."""
        return self.verifiers or (default_guide(self._named_model),)

    @property
    def _named_model(self) -> str:
        if self.model is None:
            raise ValueError("this job has no model by name, but a pipeline that is an object in a program")
        return self.model

    @property
    def call_arguments(self) -> dict[str, Any]:
        """Arguments of the pipeline's call: the model's call defaults, and what the job says over them."""
        return {**call_arguments(self.model, {"num_inference_steps": self.steps}), **self.arguments}

    @property
    def search_arguments(self) -> dict[str, Any]:
        """Arguments of a `NoiseSearch`'s call beside the prompts; what is left out has its default there."""
        size = {"budget": self.budget} if self.candidates is None else {"num_candidates": self.candidates}
        more = {"stop_at": self.stop_at, "output_dir": self.output}
        given = {name: value for name, value in more.items() if value is not None}
        return {**size, "seed": self.seed, "batch_size": self.batch_size, **given, **self.call_arguments}

    def check(self) -> None:
        """Refuse what cannot be, as far as it can be said before anything is loaded.

        Raises:
            ValueError: in one sentence.
        """
        self._check_texts()
        if (self.budget is None) == (self.candidates is None):
            raise ValueError("give just one of budget (NFEs per prompt) and candidates (candidates per prompt)")
        numbers = ("budget", "candidates", "seed", "batch_size", "stop_at")
        check_numbers(**{name: getattr(self, name) for name in numbers})
        check_numbers(steps=None if self.steps == AUTO else self.steps)
        check_numbers(**{name: self.arguments.get(name) for name in ("height", "width", "guidance_scale")})
        if "num_inference_steps" in self.arguments:
            raise ValueError("num_inference_steps is among the arguments; give it as steps")
        if self.model is not None:
            check_model(self.model)
        judges = () if self.judge is None else (self.judge,)
        check_vocabulary(self.prompts, self.model, [*self.guides, *judges])
        # What follows imports torch.
        from ...samplers.by_name import check_hook, check_scheduler
        from ...samplers.strategies import make_strategy

        make_strategy(self.strategy)
        if self.scheduler is not None:
            check_scheduler(self.scheduler)
        for hook in self.hooks:
            check_hook(hook)

    def _check_texts(self) -> None:
        for name in ("prompts", "verifiers", "hooks"):
            if any(not isinstance(one, str) for one in getattr(self, name)):
                raise ValueError(f"{name} holds what is no text")
        for name in ("model", "judge", "strategy", "scheduler", "dtype", "device"):
            optional = name not in ("strategy", "dtype")
            value = getattr(self, name)
            if not (isinstance(value, str) or (optional and value is None)):
                raise ValueError(f"{name} is {value!r}; give a text")
        if not self.prompts or any(not prompt.strip() for prompt in self.prompts):
            raise ValueError("the prompt is empty; say what to draw")

    def run(
        self,
        pipe: Any = None,
        *,
        load: Callable[[str], Verifier] | None = None,
        progress: bool = True,
        on_batch: Callable[[BatchReport], bool | None] | None = None,
    ) -> SearchResult:
        """Search.

        Args:
            pipe: a pipeline in hand, in place of the one that the job names; it is left as it was.
            load: gives a verifier by its name, in place of `load_verifier`.
            progress: show a bar.
            on_batch: as `NoiseSearch` takes it.

        Raises:
            ValueError: in one sentence, for a job that cannot be run: cheap reasons before anything is loaded.
        """
        self.check()
        from ...samplers.by_name import set_up
        from ..on_device import check_device, load_on_device

        if pipe is None:
            check_device(self.device, self.offload)
        guide, judge = self.load_verifiers(load)
        if pipe is None:
            pipe = load_on_device(self._named_model, self.dtype, self.device, self.offload)
        with set_up(pipe, self.scheduler, self.hooks):
            search = self.search(pipe, guide, judge)
            return search(list(self.prompts), progress=progress, on_batch=on_batch, **self.search_arguments)

    def load_verifiers(self, load: Callable[[str], Verifier] | None = None) -> tuple[Verifier, Verifier | None]:
        """Guide and judge.

        Args:
            load: gives a verifier by its name, in place of `load_verifier`.
        """
        from ...verifiers import RankEnsemble, load_verifier

        load = load or load_verifier
        guides = [load(name) for name in self.guides]
        guide = guides[0] if len(guides) == 1 else RankEnsemble(guides)
        return guide, None if self.judge is None else load(self.judge)

    def search(self, pipe: Any, guide: Verifier, judge: Verifier | None) -> NoiseSearch:
        """The search of this job on a pipeline, not yet begun.

        Args:
            pipe: with the job's scheduler and hooks.
            guide, judge: as `load_verifiers` gives them.
        """
        from .auto_steps import shipped_calibration
        from .noise_search import NoiseSearch

        calibration: str | Path | None = self.calibration
        if calibration is None and self.steps == AUTO and self.model is not None:
            calibration = shipped_calibration(self.model, guide.name)
        search = NoiseSearch(pipe, guide, self.strategy, judge=judge, calibration=calibration)
        search.job = self
        return search

    def to_json(self) -> str:
        """The job as JSON, all fields by name."""
        return to_json(self.as_dict(), indent=2)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The job that `to_json` wrote; what is left out has its default.

        Raises:
            ValueError: for a text that is no job.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"the job is no JSON: {error}") from None
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The job of fields by name, such as `job` in the `run.json` of a search; what is left out has its default.

        Raises:
            ValueError: for what is no job.
        """
        if not isinstance(values, dict) or "prompts" not in values:
            raise ValueError("the job is no JSON object with prompts")
        known = [one.name for one in fields(cls)]
        if unknown := [name for name in values if name not in known]:
            raise ValueError(f"a job has no {unknown[0]!r}; known: {', '.join(known)}")
        return cls(**values)

    def command(self) -> str:
        """The command line of this job, quoted for a shell.

        Raises:
            ValueError: for a pipeline in hand, which no command line can name.
        """
        from .job_command import command_of

        if self.model is None:
            raise ValueError("the pipeline is an object in a program, which no command line can name")
        return command_of(self)

    def python(self, in_hand: Collection[str] = ()) -> str:
        """A Python program that makes the same search.

        Args:
            in_hand: names of verifiers that are objects in the reader's program.
        """
        from .job_program import program_of

        return program_of(self, in_hand)
