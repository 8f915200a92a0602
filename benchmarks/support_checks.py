"""What `support_matrix.py` runs for each cell: a method on a toy, against the plain pipeline and a count of its own.

Each check returns None where everything held, and raises else: `Fault` where something ran and was wrong, the package's
own ValueError where it refuses. The count and the times are seen from within the networks' own `forward`, patched on
their classes, so that they know nothing of the package's hooks.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import toys
from diffusers import DiffusionPipeline
from samplesmith import FlowSDEScheduler, TimeShiftScheduler
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.loop_schedulers import check_scheduler_is_used
from samplesmith.pipelines.outputs import makes_clips
from samplesmith.pipelines.support import METHODS, support
from samplesmith.samplers.strategies import Halving, ZeroOrder
from samplesmith.verifiers import CallableVerifier

PACKAGE = Path(inspect.getfile(importlib.import_module("samplesmith"))).parent
CANDIDATES = 4
LEVELS = 1
"""8-bit levels by which a picture may differ where it was made in a batch of another size."""


class Fault(Exception):
    """Something ran and was wrong."""


class Stock(Exception):
    """What the plain pipeline of diffusers cannot do either."""


@dataclass
class Seen:
    """What the networks were called with.

    Attributes:
        evaluations: rows of all forwards of denoisers; ControlNets are part of the evaluation that takes their output.
        times: of each forward of a network that takes a time, by the network's class: one for each row.
    """

    evaluations: int = 0
    times: dict[str, list[list[float]]] = field(default_factory=dict)


_TIME_NAMES = ("timestep", "timesteps", "t", "r", "timestep_ratio")


def _networks(pipe: Any) -> list[torch.nn.Module]:
    """Components that are called with the time: by where diffusers defines their classes."""
    places = ("models.transformers", "models.unets", "models.controlnets", "wuerstchen")
    modules = [one for one in pipe.components.values() if isinstance(one, torch.nn.Module)]
    return [one for one in modules if any(place in type(one).__module__ for place in places) and _time_name(type(one))]


def _time_name(kind: type) -> str | None:
    names = inspect.signature(kind.forward).parameters
    return next((name for name in _TIME_NAMES if name in names), None)


@contextmanager
def watched(pipe: Any) -> Iterator[Seen]:
    """See every forward of a pipeline's networks while the context is open."""
    seen = Seen()
    kinds = {type(one) for one in _networks(pipe)}
    before = {kind: vars(kind).get("forward") for kind in kinds}
    for kind in kinds:
        kind.forward = _telling(kind, kind.forward, seen)
    try:
        yield seen
    finally:
        for kind, forward in before.items():
            if forward is None:
                del kind.forward
            else:
                kind.forward = forward


def _telling(kind: type, forward: Callable, seen: Seen) -> Callable:
    signature, time = inspect.signature(forward), _time_name(kind)
    counts = "controlnet" not in kind.__module__

    @functools.wraps(forward)
    def tell(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        sample = list(given.values())[1]
        if counts:
            seen.evaluations += len(sample)
        values = torch.as_tensor(given[time]).detach().double().reshape(len(torch.as_tensor(given[time]).reshape(-1)))
        if len(values) > len(sample):  # a time for each token or frame of a row
            values = values.reshape(len(sample), -1).amax(1)
        # A pipeline may pass fewer times than rows (PRX: one for each half of a guided batch).
        times = values.expand(len(sample)) if len(values) == 1 else values
        seen.times.setdefault(kind.__name__, []).append(times.tolist())
        return forward(*args, **kwargs)

    return tell


def pictures(out: Any) -> np.ndarray:
    """What a pipeline made, as float pixels; a clip's frames are one more axis."""
    made = next(getattr(out, name) for name in ("images", "image", "frames", "rgb") if hasattr(out, name))
    return np.nan_to_num(np.asarray(made, dtype=np.float64))


def verifier(clips: bool = False) -> CallableVerifier:
    """Prefers light on one side: any two pictures of different noise differ in it.

    Args:
        clips: whether it scores whole clips; else a clip's score is the mean of its frames'.
    """

    def score(images: torch.Tensor, prompts: list[str]) -> torch.Tensor:
        if images.ndim != (5 if clips else 4) or images.shape[-3] != 3 or len(images) != len(prompts):
            raise Fault(f"the verifier was shown {tuple(images.shape)} for {len(prompts)} prompts")
        ramp = torch.linspace(0.0, 1.0, images.shape[-1]).to(images)
        return (images * ramp).flatten(1).mean(1)

    return CallableVerifier(score, name="light", takes_clips=clips)


class Toy:
    """One row of the matrix: a fresh pipeline for each check, and calls of it."""

    def __init__(self, row: str):
        self.row = row
        self.recipe = toys.TOYS[row]

    def build(self, scheduler: Callable[[Any], Any] | None = None) -> Any:
        pipe = toys.build(self.row)
        return pipe if scheduler is None else scheduled(pipe, scheduler)

    def at_least(self, steps: int) -> dict[str, int]:
        """An argument that makes the run so long, where the pipeline takes one."""
        own = self.recipe.arguments.get("num_inference_steps")
        return {} if own is None else {"num_inference_steps": max(own, steps)}

    def condition(self, pipe: Any) -> dict[str, Any]:
        names = inspect.signature(type(pipe).__call__).parameters
        prompt = self.recipe.prompt
        if "prompt" in names:
            return {"prompt": prompt}
        return {"class_labels": [prompt]} if "class_labels" in names else {}

    def call(self, pipe: Any, seed: int = 0, **changes: Any) -> np.ndarray:
        """One row, by a plain call of the pipeline."""
        arguments = {**self.condition(pipe), **self.recipe.arguments, "output_type": "np", **changes}
        return pictures(pipe(**arguments, generator=torch.Generator().manual_seed(seed)))

    def search(self, pipe: Any, batch_size: int, strategy: Any = "random", candidates: int = CANDIDATES, **changes):
        clips = strategy == "random" and makes_clips(pipe)  # of clips, the other strategies score frames
        finder = NoiseSearch(pipe, verifier(clips), strategy=strategy)
        arguments = {**self.recipe.arguments, **changes}
        return finder(self.recipe.prompt, num_candidates=candidates, batch_size=batch_size, progress=False, **arguments)


def scheduled(pipe: Any, make: Callable[[Any], Any]) -> Any:
    """A pipeline with another scheduler, in the pipelines that it is combined of too."""
    check_scheduler_is_used(pipe)
    stock = pipe.scheduler
    pipe.scheduler = made = make(stock)
    for inner in vars(pipe).values():
        if isinstance(inner, DiffusionPipeline) and getattr(inner, "scheduler", None) is stock:
            inner.scheduler = made
    return pipe


def flow(**settings: Any) -> Callable[[Any], Any]:
    return lambda stock: FlowSDEScheduler.from_scheduler(stock, **settings)


def shift(**settings: Any) -> Callable[[Any], Any]:
    return lambda stock: TimeShiftScheduler.from_scheduler(stock, **settings)


def shifting(stock: Any) -> Any:
    """A time shift whose windows are three tenths of the training times wide."""
    times = stock.config.get("num_train_timesteps", 1000)
    return TimeShiftScheduler.from_scheduler(stock, window=max(1, times * 3 // 10), cutoff=times // 10)


STOCHASTIC = {"diffusion": "square", "norm": 1.0}


def flow_ode(toy: Toy) -> None:
    """FlowSDE as an ODE is the stock scheduler, bit for bit."""
    stock = toy.build().scheduler if hasattr(toy.build(), "scheduler") else None
    if getattr(stock.config if stock is not None else None, "solver_order", 1) > 1:
        toy.call(toy.build(flow()))
        raise Stock("its own scheduler is a solver of a higher order, which Euler steps cannot equal")
    _same_as_stock(toy, flow())


def shift_zero(toy: Toy) -> None:
    """TimeShift with a window of 0 is the stock scheduler, bit for bit."""
    _same_as_stock(toy, shift(window=0))


def _same_as_stock(toy: Toy, scheduler: Callable[[Any], Any]) -> None:
    ours = toy.build(scheduler)
    with torch.random.fork_rng():  # stock noise of the global generator, where a scheduler has no other
        torch.manual_seed(1)
        expected = toy.call(toy.build())
        torch.manual_seed(1)
        got = toy.call(ours)
    if not np.array_equal(got, expected):
        raise Fault(f"differs from stock by {np.abs(got - expected).max() * 255:.3g} levels")


def flow_sde(toy: Toy) -> None:
    """The same call gives the same pictures whatever the global generator; the noise acts."""
    pipe = toy.build(flow(**STOCHASTIC))
    made = []
    for state in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(state)
            before = torch.get_rng_state()
            made.append(toy.call(pipe))
            if not torch.equal(before, torch.get_rng_state()):
                _not_by_itself(toy)
                raise Fault("draws from the global generator")
    if not np.array_equal(*made):
        raise Fault("the same call gives other pictures")
    if not np.isfinite(made[0]).all() or np.array_equal(made[0], toy.call(toy.build())):
        raise Fault("the noise has no effect")


def _not_by_itself(toy: Toy) -> None:
    plain = toy.build()
    with torch.random.fork_rng():
        before = torch.get_rng_state()
        toy.call(plain)
        if not torch.equal(before, torch.get_rng_state()):
            raise Stock("the plain pipeline draws from the global generator itself, whatever its scheduler")


def row_times(toy: Toy) -> None:
    """In a batch of a search each row has the time that it would have alone, in the network's own unit."""
    pipe, steps = toy.build(shifting), toy.at_least(4)
    with watched(pipe) as together:
        result = toy.search(pipe, CANDIDATES, **steps)
    alone = []
    for seed in range(CANDIDATES):
        with watched(pipe) as seen:
            toy.call(pipe, seed, **steps)
        alone.append(seen.times)
    with watched(stock := toy.build()) as plain:
        toy.call(stock, **steps)
    if not any(alone[0][name] != plain.times[name] for name in plain.times):
        raise Fault("no time was shifted")
    for name, calls in together.times.items():
        own = [one[name] for one in alone]
        one_by_one = len(calls) == sum(map(len, own))  # clips, for one: a call of the pipeline makes one candidate
        grouped = chain.from_iterable(own) if one_by_one else map(chain.from_iterable, zip(*own, strict=True))
        expected, got = [sorted(rows) for rows in grouped], [sorted(rows) for rows in calls]
        if [len(one) for one in got] != [len(one) for one in expected]:
            raise Fault(f"{name} was called with other rows than alone")
        for step, (one, other) in enumerate(zip(got, expected, strict=True)):
            if not np.allclose(one, other, rtol=1e-3, atol=1e-4 * max(map(abs, other), default=1)):
                raise Fault(f"{name} got times {_short(one)} at call {step}, alone {_short(other)}")
    _counted(result, together)


def _short(values: list[float]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values[:4]) + (", ...]" if len(values) > 4 else "]")


def _counted(result: Any, seen: Seen) -> None:
    if result.ledger.nfe != seen.evaluations:
        raise Fault(f"counts {result.ledger.nfe} NFEs where the networks made {seen.evaluations}")


def random_search(toy: Toy) -> None:
    """Best of four: the same for batches of one and four, remade by the plain pipeline, each NFE counted."""
    _searched(toy, "random")


def zero_order(toy: Toy) -> None:
    """Zero-order search, as random search; a candidate whose noise was moved is remade too."""
    result, pipe = _searched(toy, lambda: ZeroOrder(neighbours=2), candidates=6)
    _remade(toy, pipe, next(one for one in reversed(result.candidates[0]) if one.lineage))


def halving(toy: Toy) -> None:
    """Halving at the middle of four steps, as random search."""
    _searched(toy, Halving, **toy.at_least(4))


def _searched(toy: Toy, strategy: Any, **arguments: Any) -> tuple[Any, Any]:
    results = []
    for size in (1, CANDIDATES):
        pipe = toy.build()
        with watched(pipe) as seen:
            results.append(toy.search(pipe, size, strategy() if callable(strategy) else strategy, **arguments))
        _counted(results[-1], seen)
        if results[-1].failed:
            raise Fault("no candidate could be scored")
    one, four = (result.best[0] for result in results)
    if (one.seed, list(one.lineage)) != (four.seed, list(four.lineage)):
        raise Fault(f"batch 1 chooses seed {one.seed} ({one.score:.6f}), batch 4 seed {four.seed} ({four.score:.6f})")
    if abs(one.score - four.score) > 1e-3:
        raise Fault(f"the winner scores {one.score:.6f} at batch 1 and {four.score:.6f} at batch 4")
    scores = [candidate.score for candidate in results[1].candidates[0]]
    if len(scores) > 1 and max(scores) == min(scores):
        raise Fault("all candidates are the same picture")
    _remade(toy, pipe, four)
    return results[1], pipe


def _remade(toy: Toy, pipe: Any, candidate: Any) -> None:
    """The plain pipeline, called with what the candidate says, makes its picture again."""
    kept = _kept(candidate)
    try:
        plain = toy.build()
        again = pictures(plain(**{**candidate.pipeline_kwargs(pipe), "output_type": "np"}))
    except ValueError as error:
        if "reproduce" not in str(error):
            raise
        again = _kept(candidate, candidate.reproduce(pipe)) / 255.0
    again = (again.clip(0, 1) * 255).round().reshape(-1, *again.shape[-3:])
    if again.shape[-1] == 1:
        again = again.repeat(3, -1)
    apart = np.abs(again - kept).max() if again.shape == kept.shape else np.inf
    if apart > LEVELS:
        raise Fault(f"the plain pipeline makes its picture {apart:g} levels off")


def _kept(candidate: Any, picture: Any = None) -> np.ndarray:
    """Pixels of a candidate, (frames, height, width, 3)."""
    kept = candidate.picture if picture is None else picture
    frames = getattr(kept, "frames", [kept])  # of a clip
    return np.stack([np.asarray(frame, dtype=np.float64) for frame in frames])


def offload(toy: Toy) -> None:
    """Under accelerate's hooks a search gives what it gives without them; with a time for each row, where that runs."""
    scheduler = shifting
    try:
        plain = toy.search(toy.build(scheduler), CANDIDATES)
    except ValueError:
        scheduler = None
        plain = toy.search(toy.build(), CANDIDATES)
    with watched(toy.build()) as seen:  # before the hooks take the networks' own forward away
        result = toy.search(offloaded(toy.build(scheduler)), CANDIDATES)
    _counted(result, seen)
    scores = [[candidate.score for candidate in one.candidates[0]] for one in (plain, result)]
    if not np.allclose(*scores, rtol=0, atol=1e-6):
        raise Fault("scores differ from those without offloading")


def offloaded(pipe: Any) -> Any:
    """A pipeline whose networks wait behind accelerate's hooks, as after `enable_model_cpu_offload`."""
    from accelerate import cpu_offload_with_hook

    order = [name for name in (pipe.model_cpu_offload_seq or "").split("->") if name in pipe.components]
    order += [name for name in pipe.components if name not in order]
    hook, hooks = None, []
    for name in order:
        if isinstance(pipe.components[name], torch.nn.Module):
            _, hook = cpu_offload_with_hook(pipe.components[name], torch.device("cpu"), prev_module_hook=hook)
            hooks.append(hook)
    pipe._all_hooks = hooks
    return pipe


def saved(toy: Toy, scheduler: Callable[[Any], Any], folder: Path) -> None:
    """Write a pipeline with a scheduler of ours, and a picture that it makes, for `loaded` in another process."""
    pipe = toy.build(scheduler)
    picture = toy.call(pipe, **toy.at_least(4))
    pipe.save_pretrained(folder)
    np.save(folder / "picture.npy", picture)


def loaded(toy: Toy, folder: Path) -> None:
    """In a process that did not build it: the pipeline makes the same picture."""
    index = json.loads((folder / "model_index.json").read_text())
    absent = {name: None for name, kind in index.items() if kind == [None, None]}  # diffusers wants to be told
    try:
        pipe = toys.settled(DiffusionPipeline.from_pretrained(folder, **absent))
        if type(pipe.scheduler).__module__.split(".")[0] != "samplesmith":
            raise Stock(f"its constructor makes a {type(pipe.scheduler).__name__} of any scheduler that it is given")
        picture = toy.call(pipe, **toy.at_least(4))
    except Stock:
        raise
    except Exception:
        if not _loads_without_us(toy, folder, absent):
            raise Stock("diffusers does not load this pipeline from what it saved") from None
        raise
    if np.array_equal(picture, np.load(folder / "picture.npy")):
        return
    if not _loads_without_us(toy, folder, absent):
        raise Stock("loaded by diffusers, the plain pipeline makes another picture too")
    raise Fault("the loaded pipeline makes another picture")


def _loads_without_us(toy: Toy, folder: Path, absent: dict[str, None]) -> bool:
    """Whether the plain pipeline, its scheduler beside, is the same once it was saved and loaded."""
    plain = toy.build()
    try:
        pipe = toys.settled(DiffusionPipeline.from_pretrained(folder, **absent, scheduler=plain.scheduler))
        return np.array_equal(toy.call(pipe), toy.call(toy.build()))
    except Exception:
        return False


CHECKS: dict[str, Callable[[Toy], None]] = {
    "flow ODE": flow_ode,
    "flow SDE": flow_sde,
    "time shift 0": shift_zero,
    "row times": row_times,
    "random": random_search,
    "zero-order": zero_order,
    "halving": halving,
    "offload": offload,
}
"""Run in one process."""

SEVERAL = ("row times", "random", "zero-order", "halving", "offload")
"""Checks that make several pictures in one call."""

SAVED: dict[str, Callable[[Any], Any]] = {
    "flow SDE saved": flow(**STOCHASTIC),
    "time shift saved": shifting,
}
"""Written in one process and loaded in another."""


def cell(toy: Toy, check: Callable[[], None], several: bool = False) -> dict[str, Any]:
    """The outcome of a check: a run, a refusal before anything is paid for, or a fault.

    Args:
        toy, check: what is run.
        several: whether the check makes several pictures in one call, which the plain pipeline may not be able to.
    """
    count = 0
    try:
        with watched(toy.build()) as seen:
            try:
                check()
            finally:
                count = seen.evaluations
    except Fault as error:
        if several and not _makes_several(toy):
            return {"state": "stock", "why": "of several pictures the plain pipeline makes others than alone"}
        return {"state": "fault", "why": str(error)}
    except Stock as error:
        return {"state": "stock", "why": str(error)}
    except Exception as error:
        where = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
        ours = (
            where[-1].is_relative_to(PACKAGE) and "tests" not in where[-1].parts and "benchmarks" not in where[-1].parts
        )
        if isinstance(error, ValueError) and ours and not count:
            return {"state": "refused", "why": str(error)}
        if several and isinstance(error, RuntimeError) and not _makes_several(toy):
            return {
                "state": "stock",
                "why": "the plain pipeline fails where it is to make several pictures in one call",
            }
        last = traceback.extract_tb(error.__traceback__)[-1]
        paid = f" after {count} NFEs" if count else ""
        where = f"{Path(last.filename).name}:{last.lineno}"
        return {"state": "fault", "why": f"{type(error).__name__}{paid}: {str(error)[:300]} ({where})"}
    return {"state": "yes"}


def _makes_several(toy: Toy) -> bool:
    """Whether the plain pipeline's four pictures of a prompt are those that it makes alone, where it says it does."""
    pipe = toy.build()
    if "num_images_per_prompt" not in inspect.signature(type(pipe).__call__).parameters:
        return True
    generators = [torch.Generator().manual_seed(seed) for seed in range(CANDIDATES)]
    arguments = {**toy.condition(pipe), **toy.recipe.arguments, "output_type": "np"}
    try:
        several = pictures(pipe(**arguments, num_images_per_prompt=CANDIDATES, generator=generators))
    except Exception:
        return False
    alone = np.concatenate([toy.call(pipe, seed) for seed in range(CANDIDATES)])
    return len(several) != CANDIDATES or np.abs(several - alone).max() * 255 < 8


def quiet() -> None:
    """No bars, no advice: the worker's output is its answers."""
    import diffusers
    import transformers

    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    sys.setrecursionlimit(2000)


SAME_ANSWER = {
    "flow SDE": ("flow ODE", "flow SDE", "flow SDE saved"),
    "time shift": ("time shift 0", "row times", "time shift saved"),
    "random search": ("random", "offload"),
    "zero-order search": ("zero-order",),
    "halving": ("halving",),
}
"""Cells that each answer of `samplesmith.support` is about."""


def told(toy: Toy) -> dict[str, str | None]:
    """What `samplesmith.support` says of the row: why each method is refused, or None."""
    answers = support(toy.build(), **toy.recipe.arguments)
    assert list(answers.refusals) == list(METHODS) == list(SAME_ANSWER)
    return answers.refusals
