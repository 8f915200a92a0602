"""Candidates that stop at a step of an unmodified pipeline's run, are looked at there, and go on, some of them.

Seams: the scheduler, in windows (`WindowedScheduler`), `latents=`, and `generator=`, the same objects in each window. A
row goes on from its latents, its history in the solver and its generators, alone or beside rows of other batches; the
last window's image is the plain run's. Cost: a decode where a clean prediction is looked at; no NFEs.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..samplers import TimeShiftScheduler, WindowedScheduler
from ..samplers.clean_prediction import innermost, known_path
from .call import PipelineCall, as_pixels, finished_pixels
from .previews import decode, record_previews
from .shadow import shadowed
from .step_noise import step_generators, step_noise

_ON_SOME_STEPS = {"start", "end", "stop", "interval", "schedule", "trunc", "truncation", "cutoff", "layers", "callback"}
"""Parts of the names of arguments such as control_guidance_end, cfg_trunc_ratio and skip_guidance_layers."""


def check_pauses(pipe: Any) -> None:
    """Whether a pipeline's runs can be stopped at a step and resumed there.

    Raises:
        ValueError: where they cannot, with the reason.
    """
    name, kind = type(pipe).__name__, type(pipe)
    prepare = getattr(kind, "prepare_latents", None)
    if prepare is not None and {"image", "timestep"} & set(inspect.signature(prepare).parameters):
        raise ValueError(
            f"{name} starts from a noised picture, and only runs from noise can be resumed; use the random strategy"
        )
    parameters = inspect.signature(kind.__call__).parameters
    if missing := [key for key in ("latents", "output_type") if key not in parameters]:
        raise ValueError(f"{name} takes no {missing[0]}=, so its runs cannot be resumed; use the random strategy")
    if not _gives_latents(kind):
        raise ValueError(
            f'{name} does not give its latents by output_type="latent", so its runs cannot be resumed; use the random '
            "strategy"
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

    Raises:
        ValueError: for an argument that acts on some of the steps, or is told their number.
    """
    parameters = inspect.signature(type(pipe).__call__).parameters
    for name, value in arguments.items():
        default = parameters[name].default
        if _ON_SOME_STEPS & set(name.split("_")) and value is not default and not bool(np.all(value == default)):
            raise ValueError(
                f"{name} goes by the number of the step, and a run that is resumed counts its steps anew; leave it "
                "out, or use the random strategy"
            )


def _gives_latents(kind: type) -> bool:
    """Whether the class that defines the call knows the output type; it is said nowhere but in its source."""
    owner = next(one for one in kind.__mro__ if "__call__" in vars(one))
    try:
        return '"latent"' in inspect.getsource(owner)
    except (OSError, TypeError):  # typed in a session: the run itself will tell
        return True


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
    """A batch that stands at a step: what it takes to go on."""

    scheduler: WindowedScheduler
    latents: Tensor
    generators: list[torch.Generator]
    step_generators: list[torch.Generator]


class _Asked(Exception):
    """Ends a pipeline's call where it has told its scheduler the steps."""


class PausedRows:
    """Runs one prompt's candidates from step to step, and keeps where each stands.

    Args:
        call: of the pipeline, whose scheduler is put back after each call.
    """

    def __init__(self, call: PipelineCall):
        self.call = call
        self._standing: dict[int, tuple[_Paused, int]] = {}

    def clear(self) -> None:
        """Forget where the candidates stand."""
        self._standing.clear()

    def run_length(self, prompt: str | int) -> RunLength:
        """The length of a run, as the pipeline itself asks for it: its call ends there, before any NFE."""
        scheduler = WindowedScheduler.from_scheduler(self.call.pipe.scheduler)

        def asked(set_timesteps: Any, *args: Any, **kwargs: Any) -> None:
            set_timesteps(*args, **kwargs)
            raise _Asked

        pipe = self.call.pipe
        with _scheduled(pipe, scheduler), shadowed(scheduler, "set_timesteps", asked), suppress(_Asked):
            self._run(prompt, [torch.Generator().manual_seed(0)], None, "latent")
        child = innermost(scheduler)
        return RunLength(scheduler.num_steps, child.num_inference_steps, scheduler.order, len(scheduler.timesteps))

    def advance(
        self, prompt: str | int, seeds: Sequence[int], start: int, stop: int | None
    ) -> tuple[np.ndarray, list[bool]]:
        """Run candidates through steps [start, stop).

        Args:
            prompt: of all of them.
            seeds: one a row; above step 0, of rows that stand at `start`.
            start: step, 0 for a run from noise.
            stop: the step before which they are paused; None for the end of the run.

        Returns:
            uint8 images (batch, height, width, 3), of the clean predictions or, at the end of the run, of the finished
            images; and whether each is usable, as `PipelineCall` says.

        Raises:
            ValueError: for a pipeline that gives its latents in another form than it takes them, or draws more from the
                generators than the noise.
        """
        if start:
            paused = self._gathered(seeds)
            scheduler, generators, latents = paused.scheduler, paused.generators, paused.latents
            own = paused.step_generators
        else:
            scheduler = WindowedScheduler.from_scheduler(self.call.pipe.scheduler)
            generators, latents = [torch.Generator().manual_seed(seed) for seed in seeds], None
            own = step_generators(seeds)
        scheduler.set_window(start, stop)
        resumed = _no_draws_expected(self.call.pipe, scheduler, generators) if start else nullcontext()
        pipe = self.call.pipe
        with _scheduled(pipe, scheduler), resumed, step_noise(pipe, own) as steps, ExitStack() as stack:
            previews = None if stop is None else stack.enter_context(record_previews(pipe))
            out = self._run(prompt, generators, latents, "np" if stop is None else "latent")
        self.call.gives_step_noise |= steps.given
        if previews is None:
            return finished_pixels(out)
        latents = out.images
        early = previews.latents[max(previews.latents)]
        if not isinstance(latents, Tensor) or latents.shape != early.shape:
            raise ValueError(
                f"{type(self.call.pipe).__name__} gives its latents in another form than its steps have, so its runs "
                "cannot be resumed; use the random strategy"
            )
        standing = _Paused(scheduler, latents, generators, own)
        self._standing |= {seed: (standing, row) for row, seed in enumerate(seeds)}
        return self.pictures(early)

    def pictures(self, latents: Tensor) -> tuple[np.ndarray, list[bool]]:
        """Latents as uint8 images (batch, height, width, 3), and whether each is free of NaN."""
        pipe, arguments = self.call.pipe, self.call.arguments
        images = decode(pipe, latents, arguments.get("height"), arguments.get("width"))
        pipe.maybe_free_model_hooks()  # else an offloaded autoencoder stays on the device
        return as_pixels(images.permute(0, 2, 3, 1).cpu().numpy())

    def _run(self, prompt: str | int, generators: list[torch.Generator], latents: Tensor | None, output: str) -> Any:
        arguments = self.call.row_arguments(prompt, len(generators))
        return self.call.pipe(**arguments, generator=generators, latents=latents, output_type=output)

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
        generators = [copy.deepcopy(source.generators[row]) for source, row in standing]
        own = [copy.deepcopy(source.step_generators[row]) for source, row in standing]
        return _Paused(scheduler, latents, generators, own)


@contextmanager
def _no_draws_expected(pipe: Any, scheduler: WindowedScheduler, generators: list[torch.Generator]) -> Iterator[None]:
    """Let the first step of a resumed run see whether its generators stand where the run was paused."""
    paused: list[Tensor] | None = [generator.get_state() for generator in generators]

    def checked_step(step: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal paused
        if paused is not None and not all(map(torch.equal, paused, [g.get_state() for g in generators])):
            raise ValueError(
                f"{type(pipe).__name__} draws more from its generators than the noise (a picture's encoding, for one), "
                "so its runs cannot be resumed; use the random strategy"
            )
        paused = None
        return step(*args, **kwargs)

    with shadowed(scheduler, "step", checked_step):
        yield


@contextmanager
def _scheduled(pipe: Any, scheduler: Any) -> Iterator[None]:
    before = pipe.scheduler
    pipe.scheduler = scheduler
    try:
        yield
    finally:
        pipe.scheduler = before
