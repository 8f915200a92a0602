"""What strategies need, checked: each need knows how to tell whether a pipeline and a verifier serve it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ...samplers.strategies import Need, Strategy
from ...verifiers import Verifier
from ..call import PipelineCall
from ..moved_noise import check_moves_noise
from ..pause_checks import check_pauses, check_steps_alike
from ..step_noise import draws_in_steps, schedulers


class NeedCheck:
    """How one need is checked; each method raises ValueError with one sentence."""

    def pipeline(self, pipe: Any, strategy: Strategy) -> None:
        """What the pipeline tells by itself."""

    def verifiers(self, guide: Verifier, judge: Verifier | None, strategy: Strategy) -> None:
        """What the verifiers tell."""

    def arguments(self, pipe: Any, arguments: Mapping[str, Any]) -> None:
        """What the arguments of its calls tell."""

    def call(self, call: PipelineCall, prompt: str | int | None) -> None:
        """What a call of the pipeline tells, up to its first model call: no NFE is spent."""


class _MovedNoise(NeedCheck):
    def call(self, call: PipelineCall, prompt: str | int | None) -> None:
        check_moves_noise(call.pipe, call.row_arguments([prompt]))


class _Pauses(NeedCheck):
    def pipeline(self, pipe: Any, strategy: Strategy) -> None:
        check_pauses(pipe)

    def verifiers(self, guide: Verifier, judge: Verifier | None, strategy: Strategy) -> None:
        for verifier in (guide, judge):
            if verifier is not None and verifier.needs_previews:
                raise ValueError(
                    f"{verifier.name} compares finished images with previews, and {strategy.name} scores "
                    "previews alone; use the random strategy"
                )

    def arguments(self, pipe: Any, arguments: Mapping[str, Any]) -> None:
        check_steps_alike(pipe, arguments)


class _RunningScores(NeedCheck):
    def verifiers(self, guide: Verifier, judge: Verifier | None, strategy: Strategy) -> None:
        if guide.needs_pool:
            raise ValueError(
                f"{guide.name} ranks whole pools, and {strategy.name} search needs a score for each candidate "
                "as it comes; guide it by one verifier or a weighted sum"
            )


class _StochasticSteps(NeedCheck):
    def pipeline(self, pipe: Any, strategy: Strategy) -> None:
        if not any(draws_in_steps(scheduler) for scheduler in schedulers(pipe)):
            raise ValueError(
                f"{strategy.name} chooses among the noises of steps, and the scheduler of {type(pipe).__name__} draws "
                "none; use a stochastic one, such as FlowSDEScheduler"
            )

    def arguments(self, pipe: Any, arguments: Mapping[str, Any]) -> None:
        parameters = inspect.signature(type(pipe).__call__).parameters
        eta = arguments.get("eta", parameters["eta"].default) if "eta" in parameters else None
        if not any(draws_in_steps(scheduler, eta) for scheduler in schedulers(pipe)):
            raise ValueError(
                f"the steps of {type(pipe.scheduler).__name__} draw no noise at eta={eta}, among which the strategy "
                "chooses; give eta=1, or use another scheduler"
            )


CHECKS: dict[Need, NeedCheck] = {
    Need.PAUSES: _Pauses(),
    Need.MOVED_NOISE: _MovedNoise(),
    Need.RUNNING_SCORES: _RunningScores(),
    Need.STOCHASTIC_STEPS: _StochasticSteps(),
}
"""In the order in which they are checked."""


def checks_of(strategy: Strategy) -> Sequence[NeedCheck]:
    """The checks of a strategy's needs."""
    return [check for need, check in CHECKS.items() if need in strategy.needs]
