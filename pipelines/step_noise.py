"""Noise that a pipeline draws without a generator: from each row's own stream, never from the global generator.

Seams: `step` of each scheduler, shadowed while a batch runs, and `torch.randn` before the first model call. A pipeline
that hands its generators on is left to itself: they stand where its own draws left them. One that does not would let a
stochastic scheduler, or the encoding of a picture, draw from torch's global generator; there each row gets a generator
of its own, which is seeded anew before each step: the noise is a function of the row's seed and key and of the step,
never of what was drawn before. So it is for the schedulers of ours too, whatever they are handed. Cost: some
microseconds per operation of a step, and per row.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..samplers.noise import step_seed
from .counting import denoisers
from .shadow import shadowed


class GlobalNoise(ValueError):
    """A scheduler or a pipeline draws noise that no seed of a candidate decides."""

    def __init__(self, name: str, kind: str = "scheduler"):
        super().__init__(
            f"{name} draws its noise from torch's global generator or for a whole batch at once, so no candidate could "
            f"be made again; use another {kind}"
        )


class StepNoise:
    """What a call drew.

    Attributes:
        given: whether something was drawn from the generators of `step_noise`, which the plain pipeline does not have.
    """

    def __init__(self) -> None:
        self.given = False


def schedulers(pipe: Any) -> list[Any]:
    """The schedulers of a pipeline and of the pipelines that it is combined of, each once."""
    stages = [pipe, *(part for part in vars(pipe).values() if isinstance(part, DiffusionPipeline))]
    parts = [part for stage in stages for part in vars(stage).values()]
    return list({id(part): part for part in parts if hasattr(part, "step") and hasattr(part, "set_timesteps")}.values())


@contextmanager
def step_noise(
    pipe: Any,
    seeds: Sequence[int],
    keys: Sequence[int] | None = None,
    calls_before: int = 0,
    steps_alone: bool = False,
) -> Iterator[StepNoise]:
    """Let each row draw from its own generator while the context is open, where the pipeline gives it none.

    Args:
        pipe: a diffusers pipeline; its schedulers are as they were afterwards.
        seeds: one per row.
        keys: of each row's noise; None for 0.
        calls_before: calls of `step` in the run before this part of it.
        steps_alone: whether nothing of the pipeline's call but its steps is made while the context is open.

    Raises:
        GlobalNoise: within the pipeline's call, for a draw from the global generator that cannot be replaced so.
    """
    noise, rows = StepNoise(), list(zip(seeds, keys or [0] * len(seeds), strict=True))
    first = _Stream(rows, noise, -1)  # its only call stands for what is drawn before the steps
    with ExitStack() as stack:
        for place, scheduler in enumerate(schedulers(pipe)):
            stream = _Stream(rows, noise, place * _CALLS + calls_before)
            if hasattr(scheduler, "set_generators"):
                stack.callback(scheduler.set_generators, None)
                stack.enter_context(shadowed(scheduler, "step", partial(_own_step, scheduler, stream)))
            else:
                stack.enter_context(shadowed(scheduler, "step", _Step(scheduler, stream)))
        if not steps_alone:
            first.next_call()
            stack.enter_context(before_first_model_call(pipe, _OwnDraws(pipe, first.generators)))
        yield noise
        first.see()


_CALLS = 2**20
"""More calls of `step` than a run makes; those of several schedulers have numbers of their own."""


class _Stream:
    """The generators of a batch's rows, seeded anew for each call of `step`."""

    def __init__(self, rows: Sequence[tuple[int, int]], noise: StepNoise, calls_before: int):
        self.rows, self.noise, self.call = rows, noise, calls_before
        self.generators = [torch.Generator() for _ in rows]
        self.states: list[torch.Tensor] | None = None

    def next_call(self) -> None:
        """Seed the generators for the next call."""
        self.call += 1
        for generator, (seed, key) in zip(self.generators, self.rows, strict=True):
            generator.manual_seed(step_seed(seed, key, self.call))
        self.states = None if self.noise.given else [generator.get_state() for generator in self.generators]

    def see(self) -> None:
        """Note whether something was drawn since the last seed."""
        if self.states is not None and not self.noise.given:
            now = [generator.get_state() for generator in self.generators]
            self.noise.given = not all(map(torch.equal, self.states, now))


def _own_step(scheduler: Any, stream: _Stream, step: Any, *args: Any, **kwargs: Any) -> Any:
    """In place of the `step` of a scheduler that has generators of its own; they stand for those that are handed on."""
    stream.next_call()
    if kwargs.get("generator") is not None:
        kwargs["generator"] = None
    scheduler.set_generators(stream.generators)
    out = step(*args, **kwargs)
    stream.see()
    return out


class _Step:
    """In place of a scheduler's `step`: the same, with generators where it takes them and is given none."""

    def __init__(self, scheduler: Any, stream: _Stream):
        self.name, self.stream, self.generators = type(scheduler).__name__, stream, stream.generators
        self.signature = inspect.signature(scheduler.step)
        self.halves: bool | None = None

    def __call__(self, step: Any, *args: Any, **kwargs: Any) -> Any:
        self.stream.next_call()
        if "generator" in self.signature.parameters:
            call = self.signature.bind(*args, **kwargs)
            if call.arguments.get("generator") is None:
                call.arguments["generator"] = self._for(call.arguments.get("sample"))
                args, kwargs = call.args, call.kwargs
        with _Watch(self.name):
            out = step(*args, **kwargs)
        self.stream.see()
        return out

    def _for(self, sample: Any) -> list[torch.Generator] | None:
        """A generator for each row of a sample, which may hold several of each candidate; None where it cannot."""
        rows = len(self.generators)
        times, rest = divmod(len(sample), rows) if isinstance(sample, torch.Tensor) else (1, 0)
        if rest or not times:
            return None
        if times == 1 or rows == 1:
            return self.generators * times
        if self.halves is None:  # once in a run: guided pairs are two halves of the batch, frames stand side by side
            self.halves = torch.equal(sample[:rows], sample[rows : 2 * rows])
        return self.generators * times if self.halves else [g for g in self.generators for _ in range(times)]


_OTHER_DRAWS = (
    *(torch.rand, torch.rand_like, torch.randint, torch.randint_like, torch.randperm, torch.normal, torch.bernoulli),
    *(torch.multinomial, torch.Tensor.multinomial, torch.Tensor.bernoulli, torch.Tensor.bernoulli_),
    *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.exponential_, torch.Tensor.random_),
)


class _OwnDraws(TorchFunctionMode):
    """While it is entered, a normal draw without a generator is made from the rows' own; others are refused."""

    def __init__(self, pipe: Any, generators: list[torch.Generator]):
        super().__init__()
        self.name, self.generators = type(pipe).__name__, generators

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is not None or func not in (torch.randn, torch.randn_like, *_OTHER_DRAWS):
            return func(*args, **kwargs)
        if func is torch.randn:
            size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
            like = torch.empty(tuple(size), dtype=kwargs.get("dtype"), device=kwargs.get("device"))
        elif func is torch.randn_like:
            like = torch.empty_like(args[0], **kwargs)
        else:
            raise GlobalNoise(self.name, "pipeline")
        times, rest = divmod(len(like), len(self.generators)) if like.ndim else (0, 1)
        if rest:
            raise GlobalNoise(self.name, "pipeline")
        # Several rows of each candidate are halves of guidance, as pictures are doubled before they are encoded.
        return randn_tensor(like.shape, self.generators * times, like.device, like.dtype)


@contextmanager
def before_first_model_call(pipe: Any, mode: TorchFunctionMode) -> Iterator[None]:
    """Enter a mode until the pipeline first calls a denoiser, so that the models run without it."""
    with ExitStack() as stack:
        entered = stack.enter_context(ExitStack())
        entered.enter_context(mode)
        for model in denoisers(pipe):
            handle = model.register_forward_pre_hook(lambda *_: entered.close())
            stack.callback(handle.remove)
        yield


class _Watch(TorchDispatchMode):
    """Sees every operation that draws random numbers, and lets none draw from the global generator."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.drew = name, False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            if kwargs.get("generator") is None:
                raise GlobalNoise(self.name)
            self.drew = True
        return func(*args, **kwargs)


def draws_in_steps(scheduler: Any, eta: float | None = 1.0) -> bool:
    """Whether a scheduler's steps draw noise, by steps of a copy on a sample of two equal rows; no NFE is spent.

    False too for one that cannot be tried so, such as those of tokens: `step_noise` then tells within the run.

    Args:
        scheduler: of any kind.
        eta: what its steps are given, where they take it; None for the scheduler's own default.

    Raises:
        GlobalNoise: for one that draws from the global generator, or one noise for a whole batch.
    """
    if hasattr(scheduler, "set_generators"):
        return bool(getattr(scheduler, "is_stochastic", True))
    name = type(scheduler).__name__
    watch = _Watch(name)
    try:
        tried = copy.deepcopy(scheduler)
        _set_timesteps(tried)
        generators = [torch.Generator().manual_seed(1) for _ in range(2)]
        takes = inspect.signature(tried.step).parameters
        offered = {"generator": generators} | ({} if eta is None else {"eta": eta})
        given = {key: value for key, value in offered.items() if key in takes}
        sample = torch.linspace(-1, 1, 4 * 8 * 8).sin().view(1, 4, 8, 8).repeat(2, 1, 1, 1)
        with watch:
            for t in tried.timesteps:
                scaled = tried.scale_model_input(sample, t) if hasattr(tried, "scale_model_input") else sample
                sample = tried.step(0.5 * scaled, t, sample, **given, return_dict=False)[0]
    except GlobalNoise:
        raise
    except Exception:  # it wants another form of sample or other arguments
        return watch.drew
    if not torch.allclose(sample[0], sample[1], equal_nan=True):
        raise GlobalNoise(name)
    return watch.drew


def _set_timesteps(scheduler: Any) -> None:
    """Some steps, as the scheduler takes them: those that shift by the picture's size need `mu`, SCM makes just two."""
    for steps, given in ((4, {}), (4, {"mu": 1.0})):
        with suppress(ValueError, TypeError):
            return scheduler.set_timesteps(steps, **given)
    return scheduler.set_timesteps(2)


def check_step_noise(pipe: Any) -> None:
    """Whether what a pipeline's schedulers draw in their steps can come from the candidates' seeds.

    Raises:
        GlobalNoise: where it cannot.
    """
    for scheduler in schedulers(pipe):
        draws_in_steps(scheduler)
