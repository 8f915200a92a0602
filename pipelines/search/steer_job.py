"""A steered search as its user describes it: a search job whose defaults steer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from .job import AUTO, SearchJob

BUDGET: Final = 500
STEPS: Final = 10
SCHEDULER: Final = "stochastic"


@dataclass(frozen=True)
class SteerJob(SearchJob):
    """A search that chooses from step to step: what `samplesmith steer` reads, and what `steer` runs.

    The budget and the number of steps are those of rollover budget forcing (Kim et al., arXiv 2503.19385); the
    scheduler makes the steps of any flow or diffusion draw noise, by the transition "precise" where none is named.

    Attributes:
        strategy: that chooses from step to step, such as "rbf:warm_up=8", "smc" or "halving".
        budget: NFEs per prompt; 500 where neither it nor `candidates` is given.
        candidates: in its place, as many model calls as that number of whole runs makes.
        steps: of each path; None is 10.
        scheduler: name and settings; None is "stochastic", which keeps one of ours that draws noise already.
        preview: what clean predictions are shown by where they are scored: "full", the pipeline's own decode; "latent",
            the linear fit of the model's folder, or "latent:file=..."; "tiny:model=...", a tiny autoencoder.

    Raises:
        ValueError: as for a `SearchJob`.
    """

    command_name: ClassVar[str] = "steer"
    maker: ClassVar[str] = "steer"

    strategy: str = "rbf"
    steps: int | Literal["auto"] | None = STEPS
    scheduler: str | None = SCHEDULER
    preview: str = "full"

    def __post_init__(self) -> None:
        defaults = {"steps": STEPS, "scheduler": SCHEDULER}
        if self.candidates is None:
            defaults["budget"] = BUDGET
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()

    @property
    def scoring(self) -> dict[str, Any]:
        """More arguments of what makes the search."""
        return {} if self.preview == "full" else {"preview": self.preview}

    def check(self) -> None:
        """Refuse what cannot be, as far as it can be said before anything is loaded.

        Raises:
            ValueError: in one sentence.
        """
        super().check()
        from ...samplers.strategies import make_strategy
        from ..quick_previews import check_preview
        from .steering import check_steers

        check_steers(make_strategy(self.strategy))
        if not isinstance(self.preview, str):
            raise ValueError(f"preview is {self.preview!r}; give a text")
        check_preview(self.preview)
        if self.steps == AUTO:
            raise ValueError("steps 'auto' are planned for whole runs, and steering makes none; give a number of steps")
        if self.stop_at is not None:
            raise ValueError("steering scores candidates before they are finished; leave stop_at out")
        if self.budget is not None and self.steps is not None and self.budget < self.steps:
            raise ValueError(
                f"budget is {self.budget} NFEs, and a path of {self.steps} steps makes as many model calls; give at "
                f"least {self.steps}, twice as many with guidance, or fewer steps"
            )
