"""What a guidance method makes at a scale, judged: cells that are kept on disk batch by batch; a run goes on."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from samplesmith.evaluation.effective_scale import effective_scale
from samplesmith.named_settings import write_value
from samplesmith.pipelines.call import PipelineCall, encode_once
from samplesmith.pipelines.counting import count_nfe
from samplesmith.pipelines.row import Row
from samplesmith.pipelines.search.run_description import differences
from samplesmith.samplers.by_name import set_up
from samplesmith.samplers.hooks import DenoiserHook, attach
from samplesmith.samplers.zigzag import Leg
from samplesmith.verifiers import Verifier

METHODS = {
    "CFG": None,
    "interval": "interval:stop=0.3",
    "fast": "weak-to-strong:weak={weak},strong_until=0",
    "fast after 30 %": "weak-to-strong:weak={weak},scale=1,strong_until=0.3",
    "slow": "weak-to-strong:weak={weak},scale=1.5,strong_until=1",
    "SGG": "weak-to-strong:layers=[2],scale=1,strong_until=0.5,rest_scale={scale}",
    "Z": "zigzag",
    "Z-CoRe²": "zigzag:weak={weak}",
}
"""Hooks by name. SGG's late scale goes with the guidance's, c + (w - 1)(c - r), so that all have one dial."""


def denoiser_of(pipe: Any) -> Any:
    """The network that guidance is of."""
    return pipe.components.get("transformer") or pipe.unet


@dataclass(frozen=True)
class Outcome:
    """A method at a scale.

    Attributes:
        right: whether the judge finds each picture right, (prompts, seeds).
        features: normalised, (prompts, seeds, dim).
        nfe, seconds: for each picture, on the average.
    """

    right: np.ndarray
    features: np.ndarray
    nfe: float
    seconds: float


class Cells:
    """Makes cells, or reads those that a folder keeps.

    Args:
        folder: of this run alone; another run's is refused.
        pipe: a pipeline; effective scales are told where its steps are flow Euler's.
        judge, eyes: what judges, and whose features serve for diversity and distances.
        arguments: of each call, but the scale.
        weak: folder of the weak model.
        run: what tells this run from others, JSON.
    """

    def __init__(
        self,
        folder: Path,
        pipe: Any,
        judge: Verifier,
        eyes: Any,
        arguments: dict[str, Any],
        weak: Path,
        run: dict[str, Any],
        batch_size: int = 8,
    ):
        self.folder, self.pipe, self.judge, self.eyes = folder, pipe, judge, eyes
        self.arguments, self.weak, self.batch_size = arguments, weak, batch_size
        folder.mkdir(parents=True, exist_ok=True)
        known = folder / "run.json"
        if known.exists() and (changes := differences(json.loads(known.read_text()), run)):
            raise SystemExit(f"{folder} holds another run: {'; '.join(changes)}")
        known.write_text(json.dumps(run, indent=2) + "\n")

    @property
    def is_flow(self) -> bool:
        """Whether effective scales can be told."""
        return isinstance(self.pipe.scheduler, FlowMatchEulerDiscreteScheduler)

    def hooks(self, method: str, scale: float) -> list[str]:
        spec = METHODS[method]
        return [] if spec is None or scale == 1 else [spec.format(weak=write_value(str(self.weak)), scale=f"{scale:g}")]

    def outcome(self, method: str, scale: float, prompts: Sequence[str], seeds: int) -> Outcome:
        """A cell; at scale 1 all methods are the conditional sampler, so it is CFG's."""
        method = "CFG" if scale == 1 else method
        pairs = [(prompt, seed) for prompt in prompts for seed in range(seeds)]
        parts = [pairs[start : start + self.batch_size] for start in range(0, len(pairs), self.batch_size)]
        found = [self._part(method, scale, seeds, part) for part in parts]
        merged = {name: np.concatenate([one[name] for one in found]) for name in ("right", "features")}
        nfe, seconds = (sum(float(one[name]) for one in found) / len(pairs) for name in ("nfe", "seconds"))
        shape = (len(prompts), seeds)
        return Outcome(merged["right"].reshape(shape), merged["features"].reshape(*shape, -1), nfe, seconds)

    def _part(self, method: str, scale: float, seeds: int, pairs: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """A batch; its file is named by what it holds, so that more prompts or scales read it too."""
        first, last = pairs[0], pairs[-1]
        name = f"{first[0]} {first[1]} to {last[0]} {last[1]} of {seeds}".replace("/", "_")
        file = self.folder / f"{method}@{scale:g}" / f"{name}.npz"
        if file.exists():
            return dict(np.load(file))
        made = self._made(method, scale, pairs)
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(".part")
        with part.open("wb") as opened:
            np.savez(opened, **made)
        os.replace(part, file)
        return made

    @torch.no_grad()
    def _made(self, method: str, scale: float, pairs: Sequence[tuple[str, int]]) -> dict[str, Any]:
        call = PipelineCall(self.pipe, {**self.arguments, "guidance_scale": scale})
        rows = [Row(prompt, seed) for prompt, seed in pairs]
        call.makes_rows([row.condition for row in rows])  # tried before the clock runs
        with set_up(self.pipe, None, self.hooks(method, scale)), count_nfe(self.pipe) as counts:
            started = time.perf_counter()
            images, _ = call(rows)
            seconds = time.perf_counter() - started
        pixels = torch.from_numpy(images).movedim(-1, 1).float() / 255
        return {
            "right": self.judge(pixels, [prompt for prompt, _ in pairs]).numpy(),
            "features": self.eyes.image_features(pixels).numpy(),
            "nfe": np.array(counts.nfe),
            "seconds": np.array(seconds),
        }

    @torch.no_grad()
    def scale_of(self, method: str, scale: float, prompts: Sequence[str], seed: int = 0) -> float:
        """GA-Eval's effective scale: what plain guidance would have made each step of the run's own samples.

        The samples before and after a step give its velocity, whatever model calls it took; u and c are asked anew.
        """
        known = self.folder / f"{method}@{scale:g}" / "effective_scale.json"
        if known.exists():
            return json.loads(known.read_text())
        prompts, found = list(prompts), []
        text = {key: self.arguments[key] for key in ("max_sequence_length",) if key in self.arguments}
        c_text, u_text, c_pooled, u_pooled = self.pipe.encode_prompt(prompts, None, None, **text)
        for sigma, end, x, after in self._path(method, scale, prompts, seed):
            times = torch.full((len(x),), 1000 * sigma)
            u, c = (
                self.pipe.transformer(x, tokens, pooled, times, return_dict=False)[0]
                for tokens, pooled in ((u_text, u_pooled), (c_text, c_pooled))
            )
            found.append(effective_scale((after - x) / (end - sigma), u, c).mean())
        value = float(torch.stack(found).mean())
        known.parent.mkdir(exist_ok=True)
        known.write_text(json.dumps(value))
        return value

    def _path(self, method: str, scale: float, prompts: list[str], seed: int) -> list[tuple[float, float, Any, Any]]:
        """Sigmas and samples before and after each step of a run."""
        seen: dict[float, torch.Tensor] = {}

        class Look(DenoiserHook):
            place = 0

            def pre_forward(look, module: Any, *args: Any, **kwargs: Any) -> Any:
                x, time = kwargs["hidden_states"], float(kwargs["timestep"].reshape(-1)[0])
                if getattr(self.pipe.scheduler, "leg", Leg.ZIG) is Leg.ZIG:
                    seen.setdefault(time / 1000, x[-len(prompts) :].clone())
                return args, kwargs

        generators = [torch.Generator().manual_seed(seed + k) for k in range(len(prompts))]
        watch = attach(self.pipe.transformer, Look())
        try:
            with set_up(self.pipe, None, self.hooks(method, scale)):
                arguments = {**self.arguments, "guidance_scale": scale, "output_type": "latent"}
                end = self.pipe(prompts, generator=generators, **arguments).images
        finally:
            watch.remove()
        points = [*seen.items(), (0.0, end)]
        return [(a, b, x, y) for (a, x), (b, y) in pairwise(points)]

    @torch.no_grad()
    def loop_seconds(self, methods: Sequence[str], scale: float, batch: int, rounds: int) -> dict[str, list[float]]:
        """Seconds of a pipeline's call to its latents, the methods in turns, after one call of each to warm up."""
        prompts = ["two cats on pink", "a car left of a tree on yellow"] * batch
        found: dict[str, list[float]] = {method: [] for method in methods}
        for number in range(rounds + 1):
            for method in methods:
                generators = [torch.Generator().manual_seed(k) for k in range(batch)]
                with set_up(self.pipe, None, self.hooks(method, scale)), encode_once(self.pipe):
                    started = time.perf_counter()
                    self.pipe(
                        prompts[:batch], generator=generators, output_type="latent",
                        **{**self.arguments, "guidance_scale": scale},
                    )  # fmt: skip
                    if number:
                        found[method].append(time.perf_counter() - started)
        return found
