"""Candidates that stop at a step of an unmodified pipeline's run, are looked at there, and go on, some of them.

Seams: the scheduler, in windows (`WindowedScheduler`); `prepare_latents`, whose noise is replaced by the latents at
which a row stands, in the form that the pipeline's own steps have; and `generator=`, the same objects in each window. A
row goes on from its latents, its history in the solver and its generators, alone or beside rows of other batches; the
last window's image is the plain run's. A window ends with its last model call: the clean prediction that is formed
there is looked at, and the step that follows is made by whoever goes on, with noise of its own (`PendingStep`), so that
several children of one row share the call. Where the pipeline can, it ends its call with the clean prediction in place
of the step's sample, and so decodes it. Cost: a decode where a clean prediction is looked at; no NFEs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..samplers import WindowedScheduler
from ..samplers.noise import step_seed
from ..samplers.renoise import renoised_to
from ..samplers.strategies.node import Node, Noise, Renoise
from ..samplers.wrapped import innermost
from .call import PipelineCall
from .decoding import Decoder, scheduled
from .dry_run import first_model_inputs, near, same_inputs
from .joined_run import joined_run
from .moved_noise import moved_noise
from .outputs import as_pixels, finished_pixels
from .pending_step import PendingStep
from .previews import Previews, record_previews, step_output
from .quick_previews import QuickPreview
from .shadow import shadowed
from .started_from import started_from
from .step_noise import step_noise


@dataclass(frozen=True)
class RunLength:
    """How long a pipeline's run is.

    Attributes:
        steps: as windows count them.
        num_inference_steps: as the scheduler was told; another number for PNDM, whose windows count calls.
        order: model calls per step.
        calls: in the whole run.
    """

    steps: int
    num_inference_steps: int
    order: int
    calls: int

    def calls_between(self, start: int, stop: int | None) -> int:
        """Model calls of steps [start, stop); None for the end of the run."""
        return min((self.steps if stop is None else stop) * self.order, self.calls) - start * self.order


@dataclass(frozen=True, eq=False)
class _Paused:
    """A batch that stands after a model call: what it takes to go on.

    Attributes:
        scheduler: whose run stands there.
        step: that follows.
        nodes: that the rows are.
        states: of the generators that the pipeline is given.
        own_noise: whether noise was drawn so far that the plain pipeline would not draw.
    """

    scheduler: WindowedScheduler
    step: PendingStep
    nodes: Sequence[Node]
    states: list[Tensor]
    own_noise: bool


@dataclass(frozen=True, eq=False)
class _Begun:
    """A batch before the first model call of a window that goes on.

    Attributes:
        latents: (batch, ...), in the form of the pipeline's steps.
        scheduler, states, own_noise: as of `_Paused`.
    """

    scheduler: WindowedScheduler
    latents: Tensor
    states: list[Tensor]
    own_noise: bool


@dataclass(frozen=True, eq=False)
class Advanced:
    """Nodes as their last legs leave them.

    Attributes:
        images: uint8 (batch, height, width, 3), of the clean predictions or, at the end of the run, of the finished
            images.
        usable: whether each is, as `PipelineCall` says.
        own_noise: whether noise was drawn on their paths that the plain pipeline would not draw.
    """

    images: np.ndarray
    usable: list[bool]
    own_noise: bool


class _Reached(Exception):
    """Ends a pipeline's call with the last model call of a window."""


@dataclass
class _Window:
    """What the steps of a window show, and where they end.

    Attributes:
        begins: latents with which the loop begins, as `prepare_latents` gave them; None before.
        stops: whether the run stands after the last model call.
        shows: whether the pipeline then ends its call with the clean prediction, as if that were its finished sample.
        previews: told of that call, whose step is not made; None where nobody looks.
        pending: the step after it; None before, and where the call goes on to its own end.
        steps: calls of `step` so far.
        begun: whether the scheduler was told the steps.
    """

    scheduler: WindowedScheduler
    begins: Tensor | None
    stops: bool
    shows: bool = False
    previews: Previews | None = field(default=None, init=False)
    pending: PendingStep | None = field(default=None, init=False)
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
        call, begins = inspect.signature(original).bind(*args, **kwargs), self.begins
        if not self.steps:
            sample = call.arguments["sample"]
            if sample is not begins and (
                begins is None or sample.shape != begins.shape or not near(sample, begins.to(sample))
            ):
                raise ValueError(
                    "the pipeline changes its latents between prepare_latents and its first step, so its runs cannot "
                    "be resumed; use the random strategy"
                )
        self.steps += 1
        if self.steps < len(self.scheduler.timesteps) or not self.stops:
            return original(*args, **kwargs)
        self.pending = PendingStep(call)
        if self.previews is not None:
            self.previews.see(*(call.arguments[name] for name in ("model_output", "timestep", "sample")))
            if self.shows:
                # Kandinsky 5 writes what its step returns into the sample that it gave.
                call.arguments["sample"] = call.arguments["sample"].clone()
                return step_output(call.arguments, self.previews.last)
        raise _Reached


class PausedRows:
    """Runs one prompt's candidates from step to step, and keeps where each stands.

    Args:
        call: of the pipeline, whose scheduler is put back after each call.
        preview: shows clean predictions in place of the pipeline's own decode; finished images are the pipeline's.
    """

    def __init__(self, call: PipelineCall, preview: QuickPreview | None = None):
        self.call, self.preview = call, preview
        self.decoder = Decoder(call)
        self._standing: dict[str, tuple[_Paused, int]] = {}

    def clear(self) -> None:
        """Forget where the nodes stand."""
        self._standing.clear()

    def keep(self, needed: Callable[[Node], bool]) -> None:
        """Forget where those stand that are not needed; a batch's memory is free when none of its rows is."""
        self._standing = {key: (one, row) for key, (one, row) in self._standing.items() if needed(one.nodes[row])}

    def holds(self, node: Node) -> bool:
        """Whether it is known where a node stands, so that another can go on from it."""
        return node.id in self._standing

    def run_length(self, prompt: str | int | None) -> RunLength:
        """The length of a run, as the pipeline itself asks for it; and whether its runs can be resumed at all.

        The pipeline is called up to its first model call twice, and latents are decoded once: no NFE is spent.

        Raises:
            ValueError: where its latents cannot be put in the place of its noise, cannot be decoded, or where it draws
                more from its generators than the noise.
        """
        pipe = self.call.pipe
        scheduler = WindowedScheduler.from_scheduler(pipe.scheduler)
        generator = torch.Generator().manual_seed(0)
        plain, begins = self._start(prompt, scheduler, generator)
        length = RunLength(
            scheduler.num_steps, innermost(scheduler).num_inference_steps, scheduler.order, len(scheduler.timesteps)
        )
        # What is drawn before the noise is drawn again in each window, and what is drawn after it may not be.
        paused = torch.Generator().manual_seed(1).get_state()
        resumed = torch.Generator().manual_seed(0)
        with started_from(pipe, begins, [resumed], [paused]):
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
        self.decoder.check([prompt], begins)
        return length

    def _start(
        self, prompt: str | int | None, scheduler: WindowedScheduler, generator: torch.Generator
    ) -> tuple[list[Any], Tensor]:
        """Call the pipeline up to its first model call: what that is given, and what the loop begins with."""
        pipe, window = self.call.pipe, _Window(scheduler, None, stops=False)
        arguments = {**self.call.row_arguments([prompt]), "generator": [generator]}
        with ExitStack() as stack:
            stack.enter_context(scheduled(pipe, scheduler))
            stack.enter_context(shadowed(pipe, "prepare_latents", window.prepare_latents))
            stack.enter_context(shadowed(scheduler, "set_timesteps", window.set_timesteps))
            own = stack.enter_context(step_noise(pipe, [0]))
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
        return inputs, window.begins

    def advance(self, prompt: str | int | None, nodes: Sequence[Node]) -> Advanced:
        """Make the last leg of each node.

        Args:
            prompt: of all of them.
            nodes: one per row, whose last legs have the same steps; the parents stand (`holds`).

        Raises:
            ValueError: at the first step, for a pipeline that changes its latents before it.
        """
        if len(nodes) > 1 and not self.call.makes_rows([prompt] * len(nodes)):
            made = [self.advance(prompt, [node]) for node in nodes]
            images = np.concatenate([one.images for one in made])
            return Advanced(images, [good for one in made for good in one.usable], any(one.own_noise for one in made))
        begins = self._gathered(nodes)
        scheduler = WindowedScheduler.from_scheduler(self.call.pipe.scheduler) if begins is None else begins.scheduler
        goes_on = begins is None or not nodes[0].goes_back
        (scheduler.set_window if goes_on else scheduler.begin_anew)(nodes[0].start, nodes[0].stop)
        generators = [torch.Generator().manual_seed(node.seed) for node in nodes]
        window = _Window(scheduler, None, nodes[0].stop is not None, self.preview is None and self.decoder.by_the_call)
        early, out, drew = self._run(prompt, nodes, window, begins, generators)
        own_noise = drew or (begins is not None and begins.own_noise)
        if early is None or window.pending is None:
            return Advanced(*finished_pixels(out), own_noise)
        # If memory ends here, the rows still stand where they did.
        pictures = self._shown(prompt, early) if out is None else finished_pixels(out)
        if len(pictures[0]) != len(nodes):
            raise ValueError(f"{type(self.call.pipe).__name__} made {len(pictures[0])} pictures of {len(nodes)} rows")
        states = [generator.get_state() for generator in generators]
        standing = _Paused(scheduler, window.pending, nodes, states, own_noise)
        self._standing |= {node.id: (standing, row) for row, node in enumerate(nodes)}
        return Advanced(*pictures, own_noise)

    def _shown(self, prompt: str | int | None, latents: Tensor) -> tuple[np.ndarray, list[bool]]:
        """Pictures of clean predictions, and whether each is usable."""
        if self.preview is None:
            return self.decoder([prompt] * len(latents), latents)
        arguments = self.call.arguments
        images = self.preview(self.call.pipe, latents, arguments.get("height"), arguments.get("width"))
        return as_pixels(images.permute(0, 2, 3, 1).cpu().numpy())

    def _run(
        self,
        prompt: str | int | None,
        nodes: Sequence[Node],
        window: _Window,
        begins: _Begun | None,
        generators: list[torch.Generator],
    ) -> tuple[Tensor | None, Any, bool]:
        """Call the pipeline for a window, from where the rows stand or from their noises.

        Returns:
            the clean prediction of the window's last model call, where the run stands there; the call's output, where
            it made one; and whether noise was drawn that the plain pipeline would not draw.
        """
        pipe, scheduler, out = self.call.pipe, window.scheduler, None
        arguments = {**self.call.row_arguments([prompt] * len(nodes)), "generator": generators}
        if "output_type" in self.call.parameters:
            arguments["output_type"] = "np"
        seeds, keys = [node.seed for node in nodes], [node.noise_key for node in nodes]
        with ExitStack() as stack:
            stack.enter_context(scheduled(pipe, scheduler))
            stack.enter_context(moved_noise(pipe, generators, [node.turns for node in nodes if node.parent is None]))
            if begins is not None:
                stack.enter_context(started_from(pipe, begins.latents, generators, begins.states))
            stack.enter_context(shadowed(pipe, "prepare_latents", window.prepare_latents))
            steps = stack.enter_context(step_noise(pipe, seeds, keys, nodes[0].start * scheduler.order))
            window.previews = stack.enter_context(record_previews(pipe)) if window.stops else None
            stack.enter_context(shadowed(scheduler, "step", window.step))
            with suppress(_Reached):
                out = pipe(**arguments)
        self.call.gives_noise |= steps.given
        if window.previews is None:
            return None, out, steps.given
        if out is None:
            pipe.maybe_free_model_hooks()  # as the pipeline does at its end
        return window.previews.last, out, steps.given

    def _gathered(self, nodes: Sequence[Node]) -> _Begun | None:
        """A batch of rows from where their parents stand, as the nodes' moves leave them; None where none has a parent.

        The parents' batches stay as they are, so that this batch can be made again.
        """
        parents = [parent for node in nodes if (parent := node.parent) is not None]
        if not parents:
            return None
        standing = [self._standing[parent.id] for parent in parents]
        made = parents[0].stop * standing[0][0].scheduler.order - 1  # calls of step so far
        scheduler = joined_run([(source.scheduler, row) for source, row in standing], made)
        keys = [_next_key(*pair) for pair in zip(nodes, parents, strict=True)]
        states = [source.states[row] for source, row in standing]
        generators = [torch.Generator() for _ in nodes]
        for generator, state, node, key in zip(generators, states, nodes, keys, strict=True):
            if key is None:
                generator.set_state(state)
            else:
                generator.manual_seed(step_seed(node.seed, key, made + 1))
        streams = [parent.noise_key if key is None else key for parent, key in zip(parents, keys, strict=True)]
        step = PendingStep.gathered([(source.step, row) for source, row in standing])
        pipe, seeds = self.call.pipe, [node.seed for node in nodes]
        with scheduled(pipe, scheduler), step_noise(pipe, seeds, streams, made, True) as drawn, torch.no_grad():
            rows = step.make(scheduler, generators)
        begun = zip(nodes, parents, rows, strict=True)
        latents = torch.stack([self._moved(node, parent, latent, scheduler) for node, parent, latent in begun])
        for generator, node, key in zip(generators, nodes, keys, strict=True):
            if any(isinstance(move, Noise) for move in node.moves) and key is None:  # after a step back
                generator.manual_seed(step_seed(node.seed, node.noise_key, node.start * scheduler.order))
        own_noise = drawn.given or any(source.own_noise for source, _ in standing)
        return _Begun(scheduler, latents, [generator.get_state() for generator in generators], own_noise)

    def _moved(self, node: Node, parent: Node, latent: Tensor, scheduler: WindowedScheduler) -> Tensor:
        """A row's latents, where the parent stands, after the moves of the node that goes on from there."""
        order, at = scheduler.order, scheduler.num_steps if parent.stop is None else parent.stop
        for move in node.moves:
            if isinstance(move, Renoise):
                generator = torch.Generator().manual_seed(step_seed(node.seed, move.key, _RENOISE + move.to_step))
                noise = randn_tensor(latent.shape, generator, latent.device, torch.float32)
                call, to_call = at * order, move.to_step * order
                latent = renoised_to(scheduler, latent[None], noise[None], call, to_call)[0]
                at = move.to_step
        return latent


_RENOISE = 2**30
"""Above the numbers of all calls of `step`: the noise of a move is none of a step's."""


def _next_key(node: Node, parent: Node) -> int | None:
    """Key of the noise in the step that the parent left; None where it is the parent's: no other was chosen there."""
    before = takewhile(lambda move: not isinstance(move, Renoise), node.moves)
    keys = [move.key for move in before if isinstance(move, Noise)]
    return keys[-1] if keys else None
