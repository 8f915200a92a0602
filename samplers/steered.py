"""SteeredScheduler: a strategy over nodes, run in an unmodified pipeline's own loop.

A pipeline calls its model once for each of its scheduler's `timesteps`, at the latents that the last `step` returned.
Both are ours to choose: `step` forms the clean prediction there, has it scored, tells the strategy, and returns the
latents of the node that is proposed next, whose time it writes into the live `timesteps`. So the pipeline's
`num_inference_steps` are the model calls that a search may make, and its own bar counts them. The nodes, their ids and
their noises are those that windows drive (`strategies/base.py`); only the latents of seeds' noises must be told.

Seam: the scheduler. Cost: one host sync per iteration in which a node is scored, as its score decides what comes next.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

from . import compat
from .clean_prediction import clean_prediction, known_path
from .noise import InitialNoise, drawn_noise, step_seed
from .row_state import row_state, run_tables
from .steered_lane import Lane, Standing, Visited
from .strategies import Need, Strategy, make_strategy
from .wrapped import LiveTimes, Wrapped

Score = Callable[[Tensor, Sequence[int]], Sequence[float] | Tensor]
"""Scores of clean predictions, (rows, ...) in the form of the pipeline's latents, and which rows of its batch they are;
one number per row, higher is better, -inf where one is lost."""

SEEDS_PER_ROW = 100_000
"""Row k of the batch begins at seed + k * SEEDS_PER_ROW, so that rows do not share noises."""

_SERVED = frozenset({Need.PAUSES, Need.RUNNING_SCORES, Need.STOCHASTIC_STEPS})


class SteeredScheduler(LiveTimes):
    """
    A strategy that chooses from step to step, in the pipeline's own loop.

    The child is of the class `child_class`; ours is an instance of that class too, with its settings, state and
    methods. Its steps must keep no history, and call the model once each.

    ```python
    pipe.scheduler = FlowSDEScheduler.from_scheduler(pipe.scheduler, diffusion="square", norm=3.0)
    score = LatentScore(pipe, verifier, "a cat")
    pipe.scheduler = SteeredScheduler.from_scheduler(pipe.scheduler, "rbf", score, steps=10)
    image = pipe("a cat", num_inference_steps=500, generator=torch.Generator().manual_seed(0)).images[0]
    ```

    Each row of the batch is a search of its own, with as many model calls as the pipeline makes iterations. Where the
    rows' searches come to stand at different times, the networks need a time for each row: `apply_per_sample_time(pipe,
    pipe.scheduler)`. A row whose search is done returns its best clean prediction in all iterations that follow; the
    last iteration returns each row's, and the pipeline decodes it.

    Args:
        steps (`int`, defaults to 10):
            Denoising steps of each path.
        child_class (`str`, defaults to `"DDIMScheduler"`):
            Class of the child, of diffusers or of samplesmith.

    Raises:
        ValueError: for less than one step, or a child whose path is not known.
    """

    child_setting: ClassVar[str] = "child_class"

    def __init__(self, steps: int = 10, child_class: str = "DDIMScheduler"):
        self.begin_new(steps=steps)

    @classmethod
    def from_scheduler(
        cls,
        scheduler: SchedulerMixin,
        strategy: Strategy | str | None = None,
        score: Score | None = None,
        *,
        seed: int = 0,
        noise: InitialNoise = drawn_noise,
        **settings: Any,
    ) -> SteeredScheduler:
        """
        Wrap a pipeline's scheduler: its settings and state are taken over, however it came to have them.

        Args:
            scheduler: of a flow or a diffusion.
            strategy: as `steer_by` takes it; None where it is told later.
            score, seed, noise: as `steer_by` takes them.
            settings: of this class; `child_class` for another child, and settings of that.

        Raises:
            ValueError: for a scheduler that is neither a flow's nor a diffusion's, and what `steer_by` refuses.
        """
        made: SteeredScheduler = super().from_scheduler(scheduler, **settings)
        if strategy is not None:
            if score is None:
                raise ValueError(
                    "a strategy chooses by scores; give score=, such as LatentScore(pipe, verifier, prompt)"
                )
            made.steer_by(strategy, score, seed, noise)
        return made

    def begin(self, **settings: Any) -> None:
        """Take up the work around a child's state."""
        self.__strategy: Strategy | None = None
        self.__score: Score | None = None
        self.__seed = 0
        self.__noise: InitialNoise = drawn_noise
        self.__lanes: list[Lane] = []
        self.__tables: frozenset[str] = frozenset()
        self.row_times: Tensor | None = None
        self.per_sample = False
        super().begin(**settings)

    def check(self) -> None:
        """Check the settings, and whether the child fits.

        Raises:
            ValueError: with the reason.
        """
        if self.config.steps < 1:
            raise ValueError(f"steps is {self.config.steps}; give at least 1")
        child, name = self.child, self.child_kind.__name__
        if isinstance(child, Wrapped):
            raise ValueError(f"{name} chooses the times of its run itself; give its child to SteeredScheduler")
        try:
            known_path(child)
        except ValueError as error:
            raise ValueError(f"{name} is neither a flow's scheduler nor a diffusion's: {error}") from None
        if compat.scales_input(child) or getattr(child, "order", 1) != 1:
            raise ValueError(
                f"{name} scales the model's input or calls the model more than once per step, which a run of nodes "
                "cannot; use NoiseSearch, which drives the same strategies in windows"
            )

    def steer_by(
        self, strategy: Strategy | str, score: Score, seed: int = 0, noise: InitialNoise = drawn_noise
    ) -> None:
        """
        Choose what the runs that follow are steered by.

        Args:
            strategy: a name with settings, such as "rbf:warm_up=3", or a `Strategy`.
            score: called with clean predictions, (rows, ...), and the numbers of their rows in the pipeline's batch.
            seed: of the first row's first candidate, at least 0; that of each row begins with the latents that the
                pipeline itself prepared, so give the pipeline the generator of this seed.
            noise: gives the latents of a seed's noise, for the candidates that begin later.

        Raises:
            ValueError: for a negative seed, an unknown strategy, one that needs what a pipeline's own loop does not
                have, and one that chooses among noises where the child draws none.
        """
        if seed < 0:
            raise ValueError(f"seed is {seed}; give at least 0")
        made = make_strategy(strategy)
        if more := made.needs - _SERVED:
            raise ValueError(
                f"{made.name} needs {', '.join(need.value for need in more)}, which a pipeline's own loop does not "
                "have; use NoiseSearch"
            )
        if Need.STOCHASTIC_STEPS in made.needs and not getattr(self.child, "is_stochastic", True):
            raise ValueError(_draws_none(made.name, self.child_kind.__name__))
        self.__strategy, self.__score, self.__seed, self.__noise = made, score, seed, noise

    @property
    def done(self) -> bool:
        """Whether all rows' searches are; a callback may end the pipeline's loop then (`pipe._interrupt = True`)."""
        return bool(self.__lanes) and all(lane.done for lane in self.__lanes)

    @property
    def visited(self) -> list[list[Visited]]:
        """What the run has evaluated so far, in its order, for each row."""
        return [list(lane.visited) for lane in self.__lanes]

    @property
    def best(self) -> list[Visited]:
        """Each row's best so far: of those that stand at the latest step, the highest score; the first of equals."""
        return [lane.best for lane in self.__lanes]

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """
        Begin a run; arguments are the child's.

        Args:
            args, kwargs: `num_inference_steps`, or the length of `sigmas`, is the number of model calls of each row.

        Raises:
            ValueError: for sigmas or timesteps of the user's own, fewer model calls than a path has steps, or a child
                that makes another number of calls than steps.
        """
        call = self.arguments("set_timesteps", args, kwargs)
        given, steps = call.arguments, self.config.steps
        sigmas, calls = given.get("sigmas"), given.get("num_inference_steps")
        if given.get("timesteps") is not None or not _is_even(sigmas):
            raise ValueError(
                "sigmas or timesteps are given, and the strategy chooses the times of the run; leave them out"
            )
        calls = calls if sigmas is None else len(sigmas)
        if calls is None or calls < steps:
            raise ValueError(
                f"num_inference_steps is {calls}, the model calls of the search, and one path of {steps} steps makes "
                f"{steps}; give at least {steps}, or fewer steps="
            )
        if sigmas is None:
            given["num_inference_steps"] = steps
        else:  # a pipeline's own even list, for as many steps as a path has
            given["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        before = dict(vars(self))
        self.child_kind.set_timesteps(*call.args, **call.kwargs)
        child = self.child
        if len(child.timesteps) != steps:
            raise ValueError(
                f"{self.child_kind.__name__} makes {len(child.timesteps)} model calls for {steps} steps; use a "
                "scheduler of one call per step"
            )
        self.__tables = run_tables(child, before) | {"row_times", "_LiveTimes__live"}
        self.show(child.timesteps[:1].repeat(calls))
        self.__lanes, self.row_times = [], None

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """
        Score where the rows stand, and go to what their strategies propose next.

        Args:
            args, kwargs: the child's, of which `model_output` and `sample` are `(batch, ...)`.

        Returns:
            [`SchedulerOutput`] or a tuple: the latents of the next iteration, in the last one those of the best.

        Raises:
            ValueError: without a strategy; for scores that are not one number per row; for a child that keeps a history
                or draws no noise; and for rows at different times where the networks take one time.
        """
        call = self.arguments("step", args, kwargs)
        if self.__strategy is None or self.live is None:
            raise ValueError("no strategy or no timesteps are set; call steer_by, and set_timesteps before each run")
        outputs, samples = call.arguments["model_output"], call.arguments["sample"]
        if self.calls is None:
            self._begin_lanes(call, len(samples))
        if len(samples) != len(self.__lanes):
            raise ValueError(f"the run has {len(self.__lanes)} rows and this step {len(samples)}; keep the batch whole")
        for k, lane in enumerate(self.__lanes):
            if not lane.done:
                lane.stand(Standing(outputs[k : k + 1], samples[k : k + 1]))
        self._score(call)
        self.calls = 1 + (self.calls or 0)
        last = self.calls == len(self.live)
        following = [self._next(call, lane, last) for lane in self.__lanes]
        if not last:
            self._write_times()
        latents = torch.cat(following).to(samples.dtype)
        if call.arguments.get("return_dict", True) is False:
            return (latents,)
        return SchedulerOutput(prev_sample=latents)

    def _begin_lanes(self, call: inspect.BoundArguments, rows: int) -> None:
        """Start a search for each row, once it is known that the child's steps serve it."""
        strategy = self.__strategy
        assert strategy is not None
        assert self.live is not None
        out, sample = (call.arguments[name][:1] for name in ("model_output", "sample"))
        tried = [self._move(call, Standing(out, sample), 0, seed) for seed in (0, 1)]
        if row_state(self.child, self.__tables):
            raise ValueError(
                f"{self.child_kind.__name__} keeps a history of its steps, so that no node can be gone on from alone; "
                "use NoiseSearch, which drives the same strategies in windows"
            )
        known = hasattr(self.child, "is_stochastic")  # then asked before the run
        if Need.STOCHASTIC_STEPS in strategy.needs and not known and torch.equal(*tried):
            raise ValueError(_draws_none(strategy.name, self.child_kind.__name__))
        budget, steps, seed = len(self.live), self.config.steps, self.__seed
        self.__lanes = [Lane(strategy, seed + k * SEEDS_PER_ROW, budget, steps) for k in range(rows)]

    def _score(self, call: inspect.BoundArguments) -> None:
        """Score the rows whose nodes are made, together, and tell their strategies."""
        rows = [k for k, lane in enumerate(self.__lanes) if not lane.done and lane.is_made]
        if not rows:
            return
        clean = torch.cat([self._clean(call, self.__lanes[k]) for k in rows])
        for k, score, latents in zip(rows, self._checked_scores(clean, rows), clean.split(1), strict=True):
            self.__lanes[k].observe(score, latents)

    def _checked_scores(self, clean: Tensor, rows: Sequence[int]) -> list[float]:
        assert self.__score is not None
        scores = torch.as_tensor(self.__score(clean, rows), dtype=torch.float64).detach().cpu()
        if scores.shape != (len(rows),):
            raise ValueError(
                f"the score gave shape {tuple(scores.shape)} for {len(rows)} rows; give one number for each row"
            )
        values: list[float] = scores.tolist()
        if any(value != value or value == float("inf") for value in values):
            raise ValueError(f"the score gave {values}; give numbers, or -inf for what is lost")
        return values

    def _clean(self, call: inspect.BoundArguments, lane: Lane) -> Tensor:
        """What a node is scored by: its clean prediction, or the finished latents, (1, ...)."""
        standing = lane.standing
        if lane.node.finished:
            return self._move(call, standing, lane.call, step_seed(lane.node.seed, lane.node.noise_key, lane.call + 1))
        time = self.child.timesteps[lane.call]
        return clean_prediction(self.child, standing.model_output, time, standing.sample, index=lane.call)

    def _next(self, call: inspect.BoundArguments, lane: Lane, last: bool) -> Tensor:
        """Latents of a row's next model call, (1, ...); those of its best where there is none."""
        if last or lane.done:
            return lane.best_latents
        if lane.is_made:
            node = lane.propose()
            if node is None:
                return lane.best_latents
            if node.goes_back or node.turns:
                raise ValueError(
                    f"{lane.search.name} moves a noise or goes back to a noisier step, which a pipeline's own loop "
                    "does not; use NoiseSearch"
                )
            if node.parent is None:
                return self.__noise(node.seed, call.arguments["sample"][:1])
            lane.go_on_from(node.parent)
        node, made = lane.node, lane.call
        return self._move(call, lane.standing, made - 1, step_seed(node.seed, node.noise_key, made))

    def _move(self, call: inspect.BoundArguments, standing: Standing, index: int, seed: int) -> Tensor:
        """The child's step behind a model call, with the noise of a seed, (1, ...)."""
        own = inspect.BoundArguments(call.signature, call.arguments.copy())
        child = self.child
        compat.count_step(child, index - 1)
        own.arguments["self"] = child
        own.arguments |= {
            "model_output": standing.model_output,
            "timestep": child.timesteps[index],
            "sample": standing.sample,
            "return_dict": False,
        }
        if "generator" in call.signature.parameters:
            own.arguments["generator"] = [torch.Generator().manual_seed(seed)]
        after: Tensor = self.child_kind.step(*own.args, **own.kwargs)[0]
        return after

    def _write_times(self) -> None:
        """Write the time of the next iteration, one per row where they differ."""
        assert self.live is not None
        assert self.calls is not None
        under_way = [lane.call for lane in self.__lanes if not lane.done]
        if not under_way:
            return
        calls = [under_way[0] if lane.done else lane.call for lane in self.__lanes]
        times = self.child.timesteps
        self.live[self.calls] = times[calls[0]]
        self.row_times = None
        if len(set(calls)) > 1:
            if not self.per_sample:
                raise ValueError(
                    "the searches of the rows stand at different times; give the networks a time for each row by "
                    "apply_per_sample_time(pipe, pipe.scheduler), or make one image per call"
                )
            self.row_times = times[calls]


def _draws_none(strategy: str, scheduler: str) -> str:
    return (
        f"{strategy} chooses among the noises of steps, and {scheduler} draws none; use a stochastic scheduler, such "
        "as FlowSDEScheduler"
    )


def _is_even(sigmas: Any) -> bool:
    """Whether sigmas are none, or the even list that FLUX's pipelines make where the user gives none."""
    if sigmas is None:
        return True
    count = len(sigmas)
    return count > 0 and np.allclose(np.asarray(sigmas, float), np.linspace(1.0, 1 / count, count), rtol=0, atol=1e-6)
