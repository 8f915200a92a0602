"""The toys of `support_matrix.py`: pipelines with any scheduler, called plainly or searched."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import toys
from diffusers import DiffusionPipeline
from samplesmith import FlowSDEScheduler, TimeShiftScheduler
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.loop_schedulers import check_scheduler_is_used
from samplesmith.pipelines.outputs import makes_clips
from samplesmith.verifiers import CallableVerifier

CANDIDATES = 4


class Fault(Exception):
    """Something ran and was wrong."""


class Stock(Exception):
    """What the plain pipeline of diffusers cannot do either."""


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

    @property
    def pair(self) -> list[str | int]:
        """Two conditions."""
        prompt = self.recipe.prompt
        return [prompt, 1 - prompt if isinstance(prompt, int) else f"{prompt} on blue"]

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
