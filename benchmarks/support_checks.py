"""What `support_matrix.py` runs for each cell: a method on a toy, against the plain pipeline and a count of its own.

Each check returns None where everything held, and raises else: `Fault` where something ran and was wrong, the package's
own ValueError where it refuses.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import toys
from diffusers import DiffusionPipeline
from samplesmith.pipelines import superpose
from samplesmith.pipelines.counting import count_nfe
from samplesmith.samplers import WeakToStrongConfig, apply_weak_to_strong
from samplesmith.samplers.stochastic import stochastic
from samplesmith.samplers.strategies import Halving, ZeroOrder
from support_toys import CANDIDATES, Fault, Stock, Toy, flow, offloaded, pictures, shift, shifting
from support_watch import Seen, watched

LEVELS = 1
"""8-bit levels by which a picture may differ where it was made in a batch of another size."""


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


def steering(toy: Toy) -> None:
    """SVDD at each of four stochastic steps, as random search; the nodes are the same for both batch sizes."""
    _searched(toy, "svdd:children=4,first_scored=1", stochastic, candidates=3, **toy.at_least(4))


def _searched(
    toy: Toy, strategy: Any, scheduler: Callable[[Any], Any] | None = None, **arguments: Any
) -> tuple[Any, Any]:
    results = []
    for size in (1, CANDIDATES):
        pipe = toy.build(scheduler)
        with watched(pipe) as seen:
            results.append(toy.search(pipe, size, strategy() if callable(strategy) else strategy, **arguments))
        _counted(results[-1], seen)
        if results[-1].failed:
            raise Fault("no candidate could be scored")
    one, four = (result.best[0] for result in results)
    if one.record.node.id != four.record.node.id:
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
    return _frames(candidate.picture if picture is None else picture)


def _frames(picture: Any) -> np.ndarray:
    """Pixels of a picture or a clip, (frames, height, width, 3)."""
    return np.stack([np.asarray(frame, dtype=np.float64) for frame in getattr(picture, "frames", [picture])])


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


def superposition(toy: Toy) -> None:
    """OR of two prompts gives an image the same alone as beside another; of one prompt twice it is that prompt's."""
    pair, asked = toy.pair, {**toy.recipe.arguments}
    with watched(pipe := toy.build()) as seen:
        two = superpose(pipe, pair, "or", num_images=2, **asked)
    if two.nfe != seen.evaluations:
        raise Fault(f"counts {two.nfe} NFEs where the networks made {seen.evaluations}")
    alone = superpose(toy.build(), pair, "or", seed=1, **asked)
    twice, once = (superpose(toy.build(), pair[:1] * count, "mean", **asked) for count in (2, 1))
    pairs = {
        "beside another": (two.images[1], alone.images[0]),
        "of one prompt twice": (twice.images[0], once.images[0]),
    }
    for what, (one, other) in pairs.items():
        apart = np.abs(_frames(one) - _frames(other)).max()
        if apart > LEVELS + 1:  # the last digits of sums of other orders
            raise Fault(f"an image {what} is {apart:g} levels off")
    if not two.log_densities.isfinite().all():
        raise Fault("a log-density is not finite")


def weak_to_strong(toy: Toy) -> None:
    """Guidance by the rules is the pipeline's own bit for bit, and so it is again without them; off, it costs less."""
    pipe, steps = toy.build(), toy.at_least(4)
    made = {}

    def run(name: str, config: WeakToStrongConfig | None) -> int:
        with watched(pipe) as seen:  # before the hooks take the networks' own forward away
            applied = None if config is None else apply_weak_to_strong(pipe, config)
            with count_nfe(pipe) as counts, torch.random.fork_rng():  # stock noise of the global generator
                torch.manual_seed(1)
                made[name] = toy.call(pipe, **steps)
            if applied is not None:
                applied.remove()
        if seen.evaluations and counts.nfe != seen.evaluations:  # networks of tokens take no time, and are not seen
            raise Fault(f"counts {counts.nfe} NFEs where the networks made {seen.evaluations}")
        return counts.nfe

    apply_weak_to_strong(pipe).remove()  # refused here, if at all
    off = "its call does not guide by two predictions"
    try:
        plain = run("plain", None)
    except ValueError:
        raise Stock("the plain pipeline takes no four steps") from None
    try:
        guided, half, never = (
            run(name, WeakToStrongConfig.interval(0.0, until))
            for name, until in {"guided": 1.0, "half": 0.5, "never": 0.0}.items()
        )
    except ValueError as error:
        if "its guidance is off" in str(error):
            raise Stock(off) from None
        raise
    run("after", None)
    if never == plain and np.array_equal(made["never"], made["plain"]):
        raise Stock(off)
    if guided != plain or not plain > half > never:
        raise Fault(f"{plain} NFEs plain, {guided} by the rules, {half} with half of the guidance, {never} with none")
    for name in ("guided", "after"):
        if not np.array_equal(made[name], made["plain"]):
            raise Fault(
                f"{name} differs from the plain run by {np.abs(made[name] - made['plain']).max() * 255:.3g} levels"
            )
    if np.array_equal(made["half"], made["plain"]) and not np.array_equal(made["never"], made["plain"]):
        raise Fault("guidance on half of the steps has no effect")  # some toys say the same to any text


CHECKS: dict[str, Callable[[Toy], None]] = {
    "flow ODE": flow_ode,
    "flow SDE": flow_sde,
    "time shift 0": shift_zero,
    "row times": row_times,
    "random": random_search,
    "zero-order": zero_order,
    "halving": halving,
    "offload": offload,
    "superposition": superposition,
    "steering": steering,
    "weak-to-strong": weak_to_strong,
}
"""Run in one process."""

SEVERAL = ("row times", "random", "zero-order", "halving", "offload", "superposition", "steering")
"""Checks that make several pictures in one call."""

SAVED: dict[str, Callable[[Any], Any]] = {
    "flow SDE saved": flow(**STOCHASTIC),
    "time shift saved": shifting,
}
"""Written in one process and loaded in another."""
