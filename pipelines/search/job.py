"""A search as its user describes it: one value behind the command line, the page, programs and files.

`NoiseSearch` takes objects, a job names them. Its fields are the options of `samplesmith search`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from ..job import Job
from ..numbers import check_numbers
from ..shipped import check_vocabulary, default_guide

if TYPE_CHECKING:
    from ...verifiers import Verifier
    from .engine import BatchReport
    from .noise_search import NoiseSearch
    from .result import SearchResult

AUTO: Final = "auto"


@dataclass(frozen=True)
class SearchJob(Job):
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
    lists: ClassVar[tuple[str, ...]] = ("prompts", "verifiers", "hooks")
    texts: ClassVar[tuple[str, ...]] = ("strategy", "dtype")
    optional_texts: ClassVar[tuple[str, ...]] = ("model", "judge", "scheduler", "device")
    paths: ClassVar[tuple[str, ...]] = ("calibration", "output")

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
        self.settle()
        if self.budget is None and self.candidates is None:
            self.keep("candidates", 8)

    @property
    def guides(self) -> tuple[str, ...]:
        """Names of the verifiers that choose."""
        return self.verifiers or (default_guide(self.named_model),)

    @property
    def search_arguments(self) -> dict[str, Any]:
        """Arguments of a `NoiseSearch`'s call beside the prompts; what is left out has its default there."""
        size = {"budget": self.budget} if self.candidates is None else {"num_candidates": self.candidates}
        more = {"stop_at": self.stop_at, "output_dir": self.output}
        given = {name: value for name, value in more.items() if value is not None}
        return {**size, "seed": self.seed, "batch_size": self.batch_size, **given, **self.call_arguments}

    @property
    def scoring(self) -> dict[str, Any]:
        """More arguments of what makes the search."""
        return {}

    def check(self) -> None:
        """Refuse what cannot be, as far as it can be said before anything is loaded.

        Raises:
            ValueError: in one sentence.
        """
        self.check_texts()
        if not self.prompts:
            raise ValueError("the prompt is empty; say what to draw")
        if (self.budget is None) == (self.candidates is None):
            raise ValueError("give just one of budget (NFEs per prompt) and candidates (candidates per prompt)")
        check_numbers(**{name: getattr(self, name) for name in ("budget", "candidates", "batch_size", "stop_at")})
        check_numbers(steps=None if self.steps == AUTO else self.steps)
        self.check_call()
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
            pipe = load_on_device(self.named_model, self.dtype, self.device, self.offload)
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
        search = NoiseSearch(pipe, guide, self.strategy, judge, calibration, **self.scoring)
        search.job = self
        return search

    def python(self, in_hand: Collection[str] = ()) -> str:
        """A Python program that makes the same search.

        Args:
            in_hand: names of verifiers that are objects in the reader's program.
        """
        from .job_program import program_of

        return program_of(self, in_hand)
