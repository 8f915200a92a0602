"""superpose: one image that several prompts agree on, or that any of them makes, or that a formula describes.

Seam: the scheduler (`SuperposedScheduler`) and the rows of the pipeline's own call, [unconditional, prompt 1 ... prompt
N] for each image, which all begin with the same noise. The pipeline's own guidance is off, as the scheduler guides the
superposed score. Cost: 1 + N evaluations per step and image (N where nothing needs the unconditional row), one decode.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...samplers import SuperposedModel, SuperposedScheduler, compat
from ...samplers.superposition import Formula, parse_formula
from ...samplers.superposition.operators import make_operator
from ...samplers.wrapped import innermost
from ..call import PipelineCall, encode_once
from ..clip import Clip, as_picture
from ..counting import Counts, count_costs, denoisers, uncounted
from ..decoding import Decoder, scheduled
from ..dry_run import first_model_inputs
from ..loop_schedulers import check_rows_are_candidates, check_scheduler_is_used
from ..row import Row
from ..shadow import shadowed
from ..step_noise import step_noise
from .result import SuperpositionResult
from .unconditional import EMPTY, needs_text, unconditional_rows

SETTINGS = (
    *("estimator", "data_std", "integrator", "temperature", "biases", "lift", "feedback", "kappa_range"),
    *("correct", "window", "clamp", "solver"),
)
"""Arguments of `superpose` that are the scheduler's."""

OnStep = Callable[[int, int], None]
"""Told the number of steps made, and that of all."""


def superpose(
    pipe: Any,
    prompts: Formula | str | Sequence[str | int],
    operator: str | Sequence[float] | None = None,
    *,
    num_images: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    unconditional: str | int | None = None,
    on_step: OnStep | None = None,
    **arguments: Any,
) -> SuperpositionResult:
    """Make images of several prompts at once with an unmodified pipeline.

    ```python
    superpose(pipe, ["with a cat", "with a dog"], operator="and", num_images=4, num_inference_steps=50)
    superpose(pipe, Prompt("with a cat") & ~Prompt("on blue"))
    ```

    Args:
        pipe: a diffusers pipeline of prompts or class labels whose scheduler makes one model call per step; another
            diffusion scheduler is replaced by DDIM's for the call. For N models instead of N prompts set a
            `SuperposedModel` in the denoiser's place and give the prompt N times.
        prompts: a list of them, or class labels; a formula, or its text, such as '"with a cat" & ~"on blue"'.
        operator: of a list: "and" (the default), "and-paper", "or", "mean", "product", or one weight per prompt
            (`SuperposedScheduler`).
        num_images: with the seeds `seed`, `seed + 1`, ...
        seed: of the first image.
        batch_size: images per call of the pipeline; None for all. A call has N or 1 + N rows for each.
        unconditional: condition of the unconditional row; None for what the pipeline's own guidance starts from,
            negative prompts included, or its null class.
        on_step: called after each step with the number of steps made and that of all calls together.
        arguments: settings of `SuperposedScheduler` (`estimator`, `integrator`, `temperature`, `biases`, `lift`,
            `feedback`, `kappa_range`, `correct`, `window`, `clamp`, `data_std`, `solver`); all others are the
            pipeline's, its guidance scale and negative prompts among them.

    Returns:
        images, traces and counts.

    Raises:
        ValueError: for settings that do not fit, a pipeline that makes no rows of different prompts or guides whatever
            it is told, whose unconditional encodings cannot be told, or whose latents cannot be decoded.
    """
    if isinstance(prompts, str):
        prompts = parse_formula(prompts)
    conditions: list[str | int]
    if isinstance(prompts, Formula):
        if operator is not None:
            raise ValueError("a formula has its own operators; leave operator= out, or give the prompts as a list")
        operator, conditions = str(prompts), list(prompts.prompts())
    else:
        operator, conditions = "and" if operator is None else operator, list(prompts)
    if not conditions or num_images < 1 or (batch_size is not None and batch_size < 1):
        raise ValueError(
            f"{len(conditions)} prompts, num_images={num_images} and batch_size={batch_size}: give at least 1 of each"
        )
    settings = {name: arguments.pop(name) for name in SETTINGS if name in arguments}
    if settings.get("correct") and batch_size is not None and batch_size < num_images:
        raise ValueError(
            f"correct={settings['correct']!r} weighs images against each other, so all belong into one call; leave "
            f"batch_size={batch_size} out"
        )
    request = _Request(pipe, conditions, operator, unconditional, settings, arguments, on_step)
    return request.made(list(range(seed, seed + num_images)), batch_size or num_images)


def check_superposition(pipe: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse a pipeline that cannot be superposed, as far as that can be said before anything runs.

    Args:
        pipe: a diffusers pipeline.
        arguments: of the call that is planned.

    Raises:
        ValueError: as `superpose`.
    """
    _Request(pipe, ["", ""], "and", None, {}, dict(arguments))


class _Request:
    """What was asked of a pipeline, and how its calls are laid out."""

    def __init__(
        self,
        pipe: Any,
        prompts: list[Any],
        operator: str | Sequence[float],
        unconditional: str | int | None,
        settings: dict[str, Any],
        arguments: dict[str, Any],
        on_step: OnStep | None = None,
    ):
        check_scheduler_is_used(pipe)
        check_rows_are_candidates(pipe)
        self.pipe, self.prompts, self.on_step = pipe, prompts, on_step
        self.operator = operator if isinstance(operator, str) else [float(weight) for weight in operator]
        parameters = inspect.signature(type(pipe).__call__).parameters
        negatives = {name: arguments.pop(name) for name in list(arguments) if name.startswith("negative_prompt")}
        if not all(text is None or isinstance(text, str) for text in negatives.values()):
            raise ValueError(f"{', '.join(negatives)}: give one text, which the unconditional rows of all images have")
        self.guidance_scale = 1.0
        if (guide := _guidance_argument(pipe, parameters)) is not None:
            self.guidance_scale = float(arguments.pop(guide, parameters[guide].default) or 1.0)
            arguments[guide] = 1.0
        needs_not = make_operator(self.operator, len(prompts)).needs_reference
        self.guides = self.guidance_scale != 1 or needs_not
        self.conditions = [self._reference(unconditional, negatives), *prompts] if self.guides else prompts
        self.negatives = negatives if unconditional is None else {}
        self.call = PipelineCall(pipe, arguments)
        self.decoder = Decoder(self.call)
        self.scheduler = SuperposedScheduler.from_scheduler(
            innermost(pipe.scheduler),
            operator=self.operator,
            num_conditions=len(prompts),
            guidance_scale=self.guidance_scale,
            unconditional=self.guides,
            keep_trace=True,
            **({"solver": "ddim"} if _needs_another_solver(pipe.scheduler) else {}),
            **settings,
        )

    def _reference(self, unconditional: str | int | None, negatives: dict[str, Any]) -> Any:
        """Condition of the unconditional row."""
        if unconditional is not None:
            return unconditional
        if "prompt" not in inspect.signature(type(self.pipe).__call__).parameters:
            if (label := getattr(self.pipe, "null_class", None)) is None:
                raise ValueError("guidance and NOT need the label of no class; give unconditional=")
            return label
        return (negatives.get("negative_prompt") if needs_text(self.pipe) else None) or EMPTY

    def made(self, seeds: list[int], batch_size: int) -> SuperpositionResult:
        """Make the images of some seeds."""
        counts, batches = Counts(), []
        images: list[Image.Image | Clip] = []
        with encode_once(self.pipe), unconditional_rows(self.pipe, self.negatives), count_costs(self.pipe) as counted:
            for start in range(0, len(seeds), batch_size):
                batch = seeds[start : start + batch_size]
                arguments = self._arguments(batch, checked=start > 0)
                sample = self._run(arguments, batch, start // batch_size, -(-len(seeds) // batch_size))
                batches.append(self._kept())
                pixels, _ = self.decoder([self.prompts[0]] * len(batch), sample)
                images.extend(map(as_picture, pixels))
            counts = counted
        densities, weights, traces = zip(*batches, strict=True)
        return SuperpositionResult(
            images,
            seeds,
            self.prompts,
            self.operator,
            self.guidance_scale,
            torch.cat(densities),
            {name: _joined(name, [trace[name] for trace in traces]) for name in traces[0]},
            None if weights[0] is None else torch.cat(weights),
            counts.nfe,
            counts.decodes,
        )

    def _arguments(self, seeds: list[int], checked: bool) -> dict[str, Any]:
        """Arguments of the call whose rows are the groups of some seeds.

        Raises:
            ValueError: for a pipeline that cannot make such rows, or guides them, or whose latents nobody decodes.
        """
        rows = [Row(condition, seed) for seed in seeds for condition in self.conditions]
        conditions = [row.condition for row in rows]
        name = type(self.pipe).__name__
        if len(rows) > 1 and not self.call.makes_rows(conditions):
            raise ValueError(f"{name} makes one image per call with these arguments, so no prompts share a step")
        generators = [torch.Generator().manual_seed(row.seed) for row in rows]
        arguments = self.call.row_arguments(conditions)
        arguments["generator"] = generators if len(rows) > 1 else generators[0]
        if not checked:
            given = [generator.get_state() for generator in generators]
            inputs, begins = self._start(arguments)
            for generator, state in zip(generators, given, strict=True):
                generator.set_state(state)
            if (found := len(inputs)) != len(rows):
                raise ValueError(
                    f"{name} calls its model with {found} rows where {len(rows)} were given: its own guidance is on, "
                    "which superposition replaces; pass what turns it off"
                )
            with uncounted():
                self.decoder.check(self.prompts[:1], begins[:1], "superpose by a pipeline whose latents can be")
        return arguments

    def _start(self, arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """What the model is given first, and the latents with which the loop begins; no model call is made."""
        latents: list[Tensor] = []

        def prepare(original: Any, *args: Any, **kwargs: Any) -> Any:
            out = original(*args, **kwargs)
            latents.append(out[0] if isinstance(out, tuple) else out)
            return out

        has_own = hasattr(type(self.pipe), "prepare_latents")
        with shadowed(self.pipe, "prepare_latents", prepare) if has_own else nullcontext():
            inputs = first_model_inputs(self.pipe, arguments)
        first = next(value for value in inputs if isinstance(value, Tensor) and value.ndim > 1)
        return first, latents[-1] if latents else first

    @torch.no_grad()
    def _run(self, arguments: dict[str, Any], seeds: list[int], number: int, calls: int) -> Tensor:
        """The finished samples of a call, the `number`th of `calls`, one per seed, as its last step left them."""
        pipe, scheduler = self.pipe, self.scheduler
        rows = [seed for seed in seeds for _ in self.conditions]

        def told() -> None:
            if self.on_step is not None:
                steps = len(scheduler.timesteps)
                self.on_step(number * steps + scheduler.step_number, calls * steps)

        with ExitStack() as stack:
            stack.enter_context(scheduled(pipe, scheduler))
            stack.enter_context(_routed(pipe, self.guides))
            stack.enter_context(step_noise(pipe, rows))
            stack.enter_context(shadowed(scheduler, "step", _ending(scheduler, told)))
            stack.enter_context(suppress(_Reached))
            pipe(**arguments)
        pipe.maybe_free_model_hooks()  # as the pipeline does at its end
        if (sample := scheduler.sample) is None:
            raise ValueError(f"{type(pipe).__name__} made no step")
        return sample

    def _kept(self) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        densities, weights, trace = self.scheduler.log_densities, self.scheduler.log_weights, self.scheduler.trace
        return densities.float().cpu(), None if weights is None else weights.float().cpu(), trace.stacked()


class _Reached(Exception):
    """Ends a pipeline's call with its last step: it would decode every row of each group."""


def _ending(scheduler: SuperposedScheduler, told: Callable[[], None]) -> Any:
    """In place of `step`: the same, telling of each, until the run's last one."""

    def step(original: Any, *args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        told()
        if scheduler.step_number == len(scheduler.timesteps):
            raise _Reached
        return out

    return step


def _guidance_argument(pipe: Any, parameters: Any) -> str | None:
    """The argument by which a pipeline sets its classifier-free guidance; None where it has none.

    A model that is distilled from guided ones takes a guidance scale too, as an embedding, which stays as it is.
    """
    if "true_cfg_scale" in parameters:
        return "true_cfg_scale"
    embeds = any(getattr(one, "config", {}).get("guidance_embeds") for one in denoisers(pipe))
    return "guidance_scale" if "guidance_scale" in parameters and not embeds else None


def _needs_another_solver(scheduler: Any) -> bool:
    """Whether a diffusion's scheduler calls the model more than once per step, as PNDM, Heun and KDPM2 do."""
    inner = innermost(scheduler)
    twice = getattr(inner, "order", 1) != 1 or compat.repeats_times(inner)
    return twice and hasattr(inner, "alphas_cumprod")


def _routed(pipe: Any, unconditional: bool) -> Any:
    """Tell models that are superposed whether a group has an unconditional row, while the context is open."""
    stack = ExitStack()
    for one in pipe.components.values():
        if isinstance(one, SuperposedModel):
            stack.callback(setattr, one, "unconditional", one.unconditional)
            one.unconditional = unconditional
    return stack


def _joined(name: str, parts: list[Tensor]) -> Tensor:
    """Traces of several calls: images side by side; times, which are the same for all, once."""
    return parts[0] if parts[0].ndim == 1 else torch.cat(parts, 1)
