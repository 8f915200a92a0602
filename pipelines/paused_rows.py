"""Candidates that stop at a step of an unmodified pipeline's run, are looked at there, and go on, some of them.

Seams: the scheduler, in windows (`WindowedScheduler`); `prepare_latents`, whose noise gives way to where a row stands,
in the form that the pipeline's own steps have; and `generator=`, the same objects in each window. A row goes on from
its latents, its history in the solver and its generators, alone or beside rows of other batches; the last window's
image is the plain run's. A window ends with its last step: nothing is decoded but what is looked at. Cost: a decode
where a clean prediction is looked at; no NFEs.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..samplers import TimeShiftScheduler, WindowedScheduler
from ..samplers.clean_prediction import innermost, known_path
from .call import PipelineCall
from .decode import Decoder, scheduled, started_from
from .dry_run import first_model_inputs, near, same_inputs
from .loop_schedulers import check_rows_are_candidates, check_scheduler_is_used
from .outputs import finished_pixels
from .previews import record_previews
from .shadow import shadowed
from .step_noise import step_generators, step_noise

_STEPS = {
    "start",
    "end",
    "stop",
    "interval",
    "schedule",
    "trunc",
    "truncation",
    "cutoff",
    "warmup",
    "cooldown",
    "iter",
    "callback",
}
"""Words in the names of arguments that say on which steps something acts, or are told their number."""


def check_pauses(pipe: Any) -> None:
    """Whether a pipeline's runs can be stopped at a step and resumed there, as far as it can be seen without a call.

    Raises:
        ValueError: where they cannot, with the reason.
    """
    name, kind = type(pipe).__name__, type(pipe)
    check_scheduler_is_used(pipe)
    check_rows_are_candidates(pipe)
    prepare = getattr(kind, "prepare_latents", None)
    if prepare is None:
        raise ValueError(f"{name} has no prepare_latents, so its runs cannot be resumed; use the random strategy")
    if "timestep" in inspect.signature(prepare).parameters or "strength" in inspect.signature(kind.__call__).parameters:
        raise ValueError(
            f"{name} starts from a noised picture, and only runs from noise can be resumed; use the random strategy"
        )
    if isinstance(pipe.scheduler, TimeShiftScheduler):
        raise ValueError(
            "a time shift fits its times to the candidates of one batch, so they cannot go on in another; use another "
            "scheduler, or the random strategy"
        )
    scheduler = innermost(pipe.scheduler)
    if hasattr(scheduler, "noise_sampler"):
        raise ValueError(
            f"{type(scheduler).__name__} draws the noise of a whole batch, so no candidate can go on alone; use "
            "another scheduler, or the random strategy"
        )
    known_path(scheduler)


def check_steps_alike(pipe: Any, arguments: Mapping[str, Any]) -> None:
    """Whether a call treats its steps alike, as far as its arguments tell: in each window the pipeline counts from 0.

    Such an argument says on which steps something acts (`control_guidance_end`), or is what another one of the
    signature says it of (`skip_guidance_layers`, of which `skip_layer_guidance_start` does).

    Raises:
        ValueError: for an argument that acts on some of the steps, or is told their number.
    """
    parameters = inspect.signature(type(pipe).__call__).parameters
    bounds = [_words(name) - _STEPS for name in parameters if _STEPS & _words(name)]
    for name, value in arguments.items():
        words, default = _words(name), parameters[name].default
        bounded = len(words) > 1 and any(words <= about for about in bounds)
        if (_STEPS & words or bounded) and value is not default and not bool(np.all(value == default)):
            raise ValueError(
                f"{name} goes by the number of the step, and a run that is resumed counts its steps anew; leave it "
                "out, or use the random strategy"
            )


def _words(name: str) -> set[str]:
    return {word.removesuffix("s") for word in name.split("_")} - {""}


@dataclass(frozen=True)
class RunLength:
    """How long a pipeline's run is.

    Attributes:
        steps: as windows count them.
        asked: as the scheduler was asked; another number for PNDM, whose windows count calls.
        order: model calls a step.
        calls: in the whole run.
    """

    steps: int
    asked: int
    order: int
    calls: int

    def calls_between(self, start: int, stop: int) -> int:
        """Model calls of steps [start, stop)."""
        return min(stop * self.order, self.calls) - start * self.order


@dataclass(frozen=True, eq=False)
class _Paused:
    """A batch that stands at a step: what it takes to go on; without latents, at its begin.

    Attributes:
        states: of the generators that the pipeline is given.
        step_generators: of the steps, where the pipeline gives those none.
    """

    scheduler: WindowedScheduler
    latents: Tensor | None
    states: list[Tensor]
    step_generators: list[torch.Generator]


class _Reached(Exception):
    """Ends a pipeline's call with the last step of a window."""


@dataclass
class _Window:
    """What the steps of a window show, and where they end.

    Attributes:
        begins: latents with which the loop begins, as `prepare_latents` gave them.
        latents: where the rows stand after the last step.
        stops: whether the call ends with the last step.
        steps: calls of `step` so far.
        begun: whether the scheduler was told the steps.
    """

    scheduler: WindowedScheduler
    begins: Tensor | None
    stops: bool
    latents: Tensor | None = None
    steps: int = field(default=0, init=False)
    begun: bool = field(default=False, init=False)

    def set_timesteps(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        self.begun = True
        return original(*args, **kwargs)

    def prepare_latents(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        self.begins = out[0] if isinstance(out, tuple) else out
        return out

    def step(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.steps:
            sample = inspect.signature(original).bind(*args, **kwargs).arguments["sample"]
            if sample.shape != self.begins.shape or not near(sample, self.begins.to(sample)):
                raise ValueError(
                    "the pipeline changes its latents between prepare_latents and its first step, so its runs cannot "
                    "be resumed; use the random strategy"
                )
        out = original(*args, **kwargs)
        self.steps += 1
        if self.steps == len(self.scheduler.timesteps) and self.stops:
            self.latents = out[0] if isinstance(out, tuple) else out.prev_sample
            raise _Reached
        return out


class PausedRows:
    """Runs one prompt's candidates from step to step, and keeps where each stands.

    Args:
        call: of the pipeline, whose scheduler is put back after each call.
    """

    def __init__(self, call: PipelineCall):
        self.call = call
        self.decoder = Decoder(call)
        self._standing: dict[int, tuple[_Paused, int]] = {}

    def clear(self) -> None:
        """Forget where the candidates stand."""
        self._standing.clear()

    def run_length(self, prompt: str | int) -> RunLength:
        """The length of a run, as the pipeline itself asks for it; and whether its runs can be resumed at all.

        The pipeline is called up to its first model call twice, and latents are decoded once: no NFE is spent.

        Raises:
            ValueError: where its latents cannot be put in the place of its noise, cannot be decoded, or where it draws
                more from its generators than the noise.
        """
        pipe = self.call.pipe
        scheduler = WindowedScheduler.from_scheduler(pipe.scheduler)
        generator = torch.Generator().manual_seed(0)
        plain, window = self._start(prompt, scheduler, generator)
        length = RunLength(
            scheduler.num_steps, innermost(scheduler).num_inference_steps, scheduler.order, len(scheduler.timesteps)
        )
        # What is drawn before the noise is drawn again in each window, and what is drawn after it may not be.
        paused = torch.Generator().manual_seed(1).get_state()
        resumed = torch.Generator().manual_seed(0)
        with started_from(pipe, window.begins, [resumed], [paused]):
            again, _ = self._start(prompt, WindowedScheduler.from_scheduler(pipe.scheduler), resumed)
        if not torch.equal(resumed.get_state(), paused):
            raise ValueError(
                f"{type(pipe).__name__} draws from its generators between the noise and its first step, so its runs "
                "cannot be resumed; use the random strategy"
            )
        if not same_inputs(plain, again):
            raise ValueError(
                f"{type(pipe).__name__} does not start from what its prepare_latents gives, so its runs cannot be "
                "resumed; use the random strategy"
            )
        self.decoder.check(prompt, window.begins)
        return length

    def _start(
        self, prompt: str | int, scheduler: WindowedScheduler, generator: torch.Generator
    ) -> tuple[list[Any], _Window]:
        """Call the pipeline up to its first model call: what that is given, and what the loop begins with."""
        pipe, window = self.call.pipe, _Window(scheduler, None, stops=False)
        arguments = {**self.call.row_arguments(prompt, 1), "generator": [generator]}
        with ExitStack() as stack:
            stack.enter_context(scheduled(pipe, scheduler))
            stack.enter_context(shadowed(pipe, "prepare_latents", window.prepare_latents))
            stack.enter_context(shadowed(scheduler, "set_timesteps", window.set_timesteps))
            own = stack.enter_context(step_noise(pipe, step_generators([0])))
            inputs = first_model_inputs(pipe, arguments)
        if own.given:
            raise ValueError(
                f"{type(pipe).__name__} prepares something with random numbers of no generator (a picture's encoding, "
                "for one), so its runs cannot be resumed; use the random strategy"
            )
        if not window.begun or window.begins is None:
            raise ValueError(
                f"{type(pipe).__name__} calls a network before the steps of its scheduler begin (a prior, for one), so "
                "its runs cannot be resumed; use the random strategy"
            )
        return inputs, window

    def advance(
        self, prompt: str | int, seeds: Sequence[int], start: int, stop: int | None
    ) -> tuple[np.ndarray, list[bool]]:
        """Run candidates through steps [start, stop).

        Args:
            prompt: of all of them.
            seeds: one per row; above step 0, of rows that stand at `start`.
            start: step, 0 for a run from noise.
            stop: the step before which they are paused; None for the end of the run.

        Returns:
            uint8 images (batch, height, width, 3), of the clean predictions or, at the end of the run, of the finished
            images; and whether each is usable, as `PipelineCall` says.

        Raises:
            ValueError: at the first step, for a pipeline that changes its latents before it.
        """
        if len(seeds) > 1 and not self.call.makes_rows(prompt):
            made = [self.advance(prompt, [seed], start, stop) for seed in seeds]
            return np.concatenate([pixels for pixels, _ in made]), [good for _, usable in made for good in usable]
        if start:
            paused = self._gathered(seeds)
        else:
            windowed = WindowedScheduler.from_scheduler(self.call.pipe.scheduler)
            paused = _Paused(windowed, None, [], step_generators(seeds))
        paused.scheduler.set_window(start, stop)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        window, early, out = self._run(prompt, paused, generators, stops=stop is not None)
        if not window.stops:
            return finished_pixels(out)
        pictures = self.decoder(prompt, early)  # if memory ends here, the rows still stand where they stood
        states = [generator.get_state() for generator in generators]
        standing = _Paused(paused.scheduler, window.latents, states, paused.step_generators)
        self._standing |= {seed: (standing, row) for row, seed in enumerate(seeds)}
        return pictures

    def _run(
        self, prompt: str | int, paused: _Paused, generators: list[torch.Generator], stops: bool
    ) -> tuple[_Window, Tensor | None, Any]:
        """Call the pipeline for a window: what it saw, the clean prediction of its last step, and the call's output."""
        pipe, scheduler, early, out = self.call.pipe, paused.scheduler, None, None
        arguments = {**self.call.row_arguments(prompt, len(generators)), "generator": generators}
        if "output_type" in self.call.parameters:
            arguments["output_type"] = "np"
        window = _Window(scheduler, None, stops)
        with ExitStack() as stack:
            stack.enter_context(scheduled(pipe, scheduler))
            if paused.latents is not None:
                stack.enter_context(started_from(pipe, paused.latents, generators, paused.states))
            stack.enter_context(shadowed(pipe, "prepare_latents", window.prepare_latents))
            steps = stack.enter_context(step_noise(pipe, paused.step_generators))
            previews = stack.enter_context(record_previews(pipe)) if stops else None
            stack.enter_context(shadowed(scheduler, "step", window.step))
            with suppress(_Reached):
                out = pipe(**arguments)
        self.call.gives_noise |= steps.given
        if previews is not None:
            early = previews.latents[max(previews.latents)]
            pipe.maybe_free_model_hooks()  # as the pipeline does at its end
        return window, early, out

    def _gathered(self, seeds: Sequence[int]) -> _Paused:
        """A batch of rows from where they stand; their batches are left as they are, so that it can be made again."""
        standing = [self._standing[seed] for seed in seeds]
        sources = list({id(source): source for source, _ in standing}.values())
        rows = [[row for source, row in standing if source is one] for one in sources]
        scheduler = WindowedScheduler.joined(list(zip([one.scheduler for one in sources], rows, strict=True)))
        # They come out by sources, and go on in the order of the seeds.
        by_source = [(source, row) for source, some in zip(sources, rows, strict=True) for row in some]
        scheduler.keep_rows([by_source.index(one) for one in standing])
        latents = torch.stack([source.latents[row] for source, row in standing])
        states = [source.states[row] for source, row in standing]
        own = [copy.deepcopy(source.step_generators[row]) for source, row in standing]
        return _Paused(scheduler, latents, states, own)
