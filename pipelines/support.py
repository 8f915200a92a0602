"""What a pipeline can do with the methods of this package, said before anything runs.

No opinion of its own: each answer comes from building the method for the pipeline, as its user would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..samplers import FlowSDEScheduler, TimeShiftScheduler, apply_weak_to_strong
from ..samplers.by_name import make_scheduler, set_up
from ..verifiers import CallableVerifier
from .loop_schedulers import check_scheduler_is_used
from .pause_checks import check_pauses
from .search.noise_search import NoiseSearch
from .superposition.superpose import check_superposition


@dataclass(frozen=True)
class Support:
    """What a pipeline can do.

    Attributes:
        pipeline: its class.
        scheduler: the class of its scheduler; None without one.
        refusals: by method, why it is refused; None where it is not.
    """

    pipeline: str
    scheduler: str | None
    refusals: dict[str, str | None]

    def __getitem__(self, method: str) -> bool:
        """Whether a method can be had."""
        return self.refusals[method] is None

    def as_dict(self) -> dict[str, Any]:
        return {"pipeline": self.pipeline, "scheduler": self.scheduler, "methods": dict(self.refusals)}

    def __str__(self) -> str:
        width = max(map(len, self.refusals))
        lines = [f"{method:<{width}}  {_answer(why)}" for method, why in self.refusals.items()]
        return "\n".join([f"{self.pipeline}, {self.scheduler or 'without a scheduler of its own'}", *lines])

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table("method", "can it be had", title=f"{self.pipeline}, {self.scheduler or 'no scheduler'}")
        for method, why in self.refusals.items():
            table.add_row(method, Text(_answer(why)))
        return table


def _answer(why: str | None) -> str:
    return "yes" if why is None else f"no: {why}"


def support(pipe: Any, **arguments: Any) -> Support:
    """Say what can be done with a pipeline; nothing runs.

    Args:
        pipe: any diffusers pipeline.
        arguments: of the call that is planned, such as `image=`: what a search does with them is checked too.

    Returns:
        an answer for each method; print it, or ask `support(pipe)["halving"]`.
    """
    scheduler = getattr(pipe, "scheduler", None)
    name = None if scheduler is None else type(scheduler).__name__
    checks = METHODS.items()
    return Support(type(pipe).__name__, name, {method: _refusal(check, pipe, arguments) for method, check in checks})


def _refusal(check: Callable[[Any, dict[str, Any]], Any], pipe: Any, arguments: dict[str, Any]) -> str | None:
    try:
        check(pipe, arguments)
    except ValueError as error:
        return str(error)
    return None


def _search(strategy: str) -> Callable[[Any, dict[str, Any]], None]:
    nothing = CallableVerifier(lambda images, prompts: torch.zeros(len(images)), name="nothing")

    def check(pipe: Any, arguments: dict[str, Any]) -> None:
        NoiseSearch(pipe, nothing, strategy=strategy).check(arguments)

    return check


def _flow_sde(pipe: Any, arguments: dict[str, Any]) -> None:
    check_scheduler_is_used(pipe)
    FlowSDEScheduler.from_scheduler(pipe.scheduler, diffusion="square")


def _time_shift(pipe: Any, arguments: dict[str, Any]) -> None:
    check_scheduler_is_used(pipe)
    # The least settings: what they must be depends on the number of training times.
    TimeShiftScheduler.from_scheduler(pipe.scheduler, window=1, cutoff=0)


def _steering(pipe: Any, arguments: dict[str, Any]) -> None:
    check_scheduler_is_used(pipe)
    make_scheduler("stochastic", pipe.scheduler)
    check_pauses(pipe)  # before the scheduler is another than that of the pipelines that this one is combined of
    with set_up(pipe, "stochastic"):
        _search("svdd")(pipe, arguments)


def _weak_to_strong(pipe: Any, arguments: dict[str, Any]) -> None:
    apply_weak_to_strong(pipe).remove()


METHODS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "flow SDE": _flow_sde,
    "time shift": _time_shift,
    "random search": _search("random"),
    "zero-order search": _search("zero-order"),
    "halving": _search("halving"),
    "superposition": check_superposition,
    "steering": _steering,
    "weak-to-strong": _weak_to_strong,
}
"""Each builds the method for a pipeline, and raises ValueError in one sentence where it cannot."""
