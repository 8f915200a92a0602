"""SuperposedScheduler: one sample under the scores of N prompts: AND, OR, NOT and formulas on unmodified pipelines.

Seam: the scheduler. The rows of a pipeline's batch are [unconditional, prompt 1 ... prompt N] of one image, or several
such groups; all rows of a group hold the same latent, and the pipeline's own guidance is off. Cost: one model call of
these rows per step, which is 1 + N evaluations, and nothing else: densities are estimated from the same outputs.
Reference: Skreta et al., arXiv 2412.17762; the maths is in `superposition/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from . import compat
from .clean_prediction import clipped, known_path, place_of, prediction, prediction_kind
from .row_noise import RowNoise
from .superposition import ESTIMATORS, INTEGRATORS, Resampling, SuperposedRun, Trace, steps_along
from .superposition.densities import DensityEstimator
from .superposition.operators import Operator, make_operator
from .time_shift import SOLVERS
from .wrapped import Wrapped

CORRECTIONS = ("fkc",)
"""Corrections of what the weighted score alone does not sample."""

_MOST = 1e6
"""Noise ratio beyond which a predicted noise says nothing of the clean sample in float32."""


@dataclass
class SuperposedSchedulerOutput(BaseOutput):
    """Output of `SuperposedScheduler.step`.

    Args:
        prev_sample (`torch.Tensor`): the sample at the next time, the same in each row of a group.
        pred_original_sample (`torch.Tensor`): the clean sample that the combined prediction implies, likewise.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


class SuperposedScheduler(RowNoise, Wrapped):
    """
    Samples superpositions of prompts: AND, OR, mean, fixed weights, formulas.

    Times, path and settings are those of a scheduler of the class `solver`, of which ours is an instance; the step is
    ours, the reverse SDE with the forward process's own diffusion, for which alone the densities hold.
    `samplesmith.pipelines.superpose` lays out the rows of a call; by hand it is

    ```python
    pipe.scheduler = SuperposedScheduler.from_scheduler(pipe.scheduler, operator="or", guidance_scale=7.5)
    rows = ["", "a cat", "a dog"]
    generators = [torch.Generator().manual_seed(0) for _ in rows]  # separate ones of one seed
    image = pipe(rows, guidance_scale=1.0, generator=generators).images[0]
    ```

    Args:
        solver (`str`, defaults to `"DDIMScheduler"`):
            Class of the child, or a short name: ddim, dpmsolver++, euler, flow-euler. It makes one model call per step.
        operator (`str` or `list[float]`, defaults to `"and"`):
            `"and"` keeps the prompts' densities equal by weights that do not depend on the step's noise, `"and-paper"`
            by those of the paper, which do; `"or"` samples the mixture; `"mean"` takes the mean of the scores,
            `"product"` their sum; one number per prompt gives fixed weights; a formula's text, such as
            `'"a cat" & ~"on blue"'`, has its prompts in the order of their first appearance.
        num_conditions (`int`, defaults to 2):
            Number of prompts, N.
        guidance_scale (`float`, defaults to 1.0):
            w of s_u + w (s - s_u), where s is the operator's score and s_u the unconditional one.
        unconditional (`bool`, defaults to True):
            Whether a row of the unconditional prediction stands before the prompts of each group; without it there is
            neither guidance nor NOT, and a step costs N evaluations.
        estimator (`str`, defaults to `"rne"`):
            Of the log-densities: `"rne"` or `"ito"`.
        data_std (`float`, defaults to 1.0):
            Standard deviation of the clean data's elements, for `"rne"`; latents have about 1.
        integrator (`str`, defaults to `"ancestral"`):
            `"ancestral"` is exact in the linear part, for 50 to 100 steps; `"euler-maruyama"` are the paper's steps.
        temperature (`float`, defaults to 1.0):
            Factor of log-densities in OR and in formulas (Dombi's hardness). Larger ones decide earlier.
        biases (`list[float]`, *optional*):
            Added to temperature times log-density, for each prompt, in OR and formulas.
        lift (`list[float]`, *optional*):
            What AND lets each prompt's log-density gain on the others' over the run.
        feedback (`float`, defaults to 2.0):
            How fast `"and"` makes good the gap that noise has opened.
        kappa_range (`list[float]`, *optional*):
            Lowest and highest weight that AND may give; None for no limit, as in the paper.
        correct (`str`, *optional*):
            `"fkc"` resamples the groups of the batch by Feynman-Kac weights, so that they are drawn from the operator's
            own density, guidance included, and not merely along its score.
        window (`list[float]`, defaults to `[0.1, 0.9]`):
            Times (sigma / (alpha + sigma), 0 is data) between which these weights are gathered.
        clamp (`float`, *optional*, defaults to 1.0):
            Largest log-weight of one step, about the mean of the groups; None for unbiased weights.
        keep_trace (`bool`, defaults to False):
            Whether `trace` is kept.
        seed (`int`, defaults to 0):
            Group k draws its noise from `seed + k`, unless `set_generators` or `step(generator=...)` gives others, one
            per row (the first of a group counts) or one per group.

    Raises:
        ValueError: for unknown names, settings that do not fit each other or the number of prompts, and a child of more
            than one model call per step or whose path is not known.
    """

    child_setting: ClassVar[str] = "solver"
    child_names: ClassVar[dict[str, str]] = SOLVERS

    def __init__(
        self,
        solver: str = "DDIMScheduler",
        operator: str | Sequence[float] = "and",
        num_conditions: int = 2,
        guidance_scale: float = 1.0,
        unconditional: bool = True,
        estimator: str = "rne",
        data_std: float = 1.0,
        integrator: str = "ancestral",
        temperature: float = 1.0,
        biases: Sequence[float] | None = None,
        lift: Sequence[float] | None = None,
        feedback: float = 2.0,
        kappa_range: Sequence[float] | None = None,
        correct: str | None = None,
        window: Sequence[float] = (0.1, 0.9),
        clamp: float | None = 1.0,
        keep_trace: bool = False,
        seed: int = 0,
    ):
        self.begin_new(
            operator=operator,
            num_conditions=num_conditions,
            guidance_scale=guidance_scale,
            unconditional=unconditional,
            estimator=estimator,
            data_std=data_std,
            integrator=integrator,
            temperature=temperature,
            biases=biases,
            lift=lift,
            feedback=feedback,
            kappa_range=kappa_range,
            correct=correct,
            window=window,
            clamp=clamp,
            keep_trace=keep_trace,
            seed=seed,
        )

    def begin(self, **settings: Any) -> None:
        """Take up the work around a child's state."""
        if issubclass(self.child_kind, Wrapped):
            name = self.child_kind.__name__
            raise ValueError(f"superposition makes its own step in place of {name}'s; give the scheduler that is in it")
        self.set_generators(None)
        self.__run: SuperposedRun | None = None
        self.__last: tuple[Tensor, Tensor] | None = None
        self.__scaled, self.__calls = False, 0
        super().begin(**settings)

    def check(self) -> None:
        """Check our settings and the child.

        Raises:
            ValueError: with the reason.
        """
        config, name = self.config, self.child_kind.__name__
        if config.num_conditions < 1:
            raise ValueError(f"num_conditions is {config.num_conditions}; give the number of prompts, at least 1")
        if config.integrator not in INTEGRATORS:
            raise ValueError(f"unknown integrator {config.integrator!r}; known: {', '.join(INTEGRATORS)}")
        if config.correct not in (None, *CORRECTIONS):
            raise ValueError(f"unknown correction {config.correct!r}; known: {', '.join(CORRECTIONS)}, or None")
        operator = self._operator()
        if not config.unconditional and (config.guidance_scale != 1 or operator.needs_reference):
            what = "NOT" if operator.needs_reference else f"guidance_scale={config.guidance_scale:g}"
            raise ValueError(f"{what} needs the unconditional row; set unconditional=True and give that row first")
        self._new_superposition([], operator)
        if getattr(self.child, "order", 1) != 1 or not compat.takes_one_time(self.child):
            raise ValueError(
                f"{name} makes more than one model call per step, or steps between two times; superposition needs a "
                "scheduler such as DDIM, Euler or FlowMatchEuler: give solver='ddim'"
            )
        known_path(self.child)

    @property
    def rows_per_group(self) -> int:
        """Rows of one image: the prompts, and the unconditional one before them."""
        return self.config.num_conditions + bool(self.config.unconditional)

    @property
    def is_stochastic(self) -> bool:
        """Whether steps draw noise: always."""
        return True

    @property
    def log_densities(self) -> Tensor | None:
        """Estimated log-density of each prompt at the samples of the last noisy step, (groups, N), from 0 at the start.

        None before the first step.
        """
        if self.__run is None or self.__run.densities is None:
            return None
        found = self.__run.densities
        return (found.relative + found.common[:, None])[:, -self.config.num_conditions :]

    @property
    def log_weights(self) -> Tensor | None:
        """Feynman-Kac log-weights since the last resampling, (groups,); None without `correct`."""
        return None if self.__run is None else self.__run.log_weights

    @property
    def trace(self) -> Trace | None:
        """Weights, log-densities and effective sizes of the run so far; None without `keep_trace`."""
        return None if self.__run is None else self.__run.trace

    @property
    def sample(self) -> Tensor | None:
        """One sample per group after the last step, (groups, ...), in the sample's dtype; None before the first."""
        return None if self.__last is None else self.__last[0]

    @property
    def clean(self) -> Tensor | None:
        """The clean samples that the last step's combined prediction implies, likewise."""
        return None if self.__last is None else self.__last[1]

    @property
    def step_number(self) -> int:
        """Number of the next step in the run; that of all steps at its end."""
        return self.__calls

    def _operator(self) -> Operator:
        config = self.config
        return make_operator(
            config.operator,
            config.num_conditions,
            hardness=config.temperature,
            biases=config.biases,
            lift=config.lift,
            feedback=config.feedback,
            kappa_range=None if config.kappa_range is None else tuple(config.kappa_range),
        )

    def _estimator(self) -> DensityEstimator:
        name = self.config.estimator
        if name not in ESTIMATORS:
            raise ValueError(f"unknown estimator {name!r}; known: {', '.join(ESTIMATORS)}")
        return ESTIMATORS[name](self.config.data_std) if name == "rne" else ESTIMATORS[name]()

    def _new_superposition(self, steps: list[Any], operator: Operator) -> SuperposedRun:
        config = self.config
        resampling = None
        if config.correct is not None:
            resampling = Resampling((config.window[0], config.window[1]), config.clamp)
        return SuperposedRun(
            steps,
            operator,
            self._estimator(),
            config.num_conditions,
            config.guidance_scale,
            resampling,
            config.keep_trace,
        )

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """
        Set the times of the run; arguments are the child's. Resets densities, weights and the groups' generators.

        Raises:
            ValueError: for settings that were changed and do not fit, times at which the noise does not fall, or a
                model that predicts the noise where there is nothing but noise.
        """
        self.check()
        self.ask_child("set_timesteps", *args, **kwargs)
        child, path = self.child, known_path(self.child)
        places = [place_of(child, path, call) for call in range(len(child.timesteps) + 1)]
        times = [(where, t.detach().double().cpu()) for where, t in places]
        # Shifts may round a flow's first sigma a little above 1.
        alphas = [max(0.0, float(where.alpha(t))) for where, t in times]
        sigmas = [float(where.sigma(t)) for where, t in times]
        steps = steps_along(alphas, sigmas, self.config.integrator)
        if steps and steps[0].ratio > _MOST and prediction_kind(child) == "epsilon":
            raise ValueError(
                f"{self.child_kind.__name__} begins at pure noise, where a predicted noise says nothing of the clean "
                "sample; use a model that predicts v or velocity, or timesteps that begin later"
            )
        self.__run = self._new_superposition(steps, self._operator())
        self.__last, self.__scaled, self.__calls = None, False, 0
        self._new_run()

    def scale_model_input(self, sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """
        Scale the model's input as the child does.

        Args:
            sample (`torch.Tensor`): the current sample.
            args, kwargs: the child's.
        """
        self.__scaled = True
        timestep = args[0] if args else kwargs.get("timestep")
        if timestep is not None and len(self.child.timesteps):
            compat.place_step(self.child, self.run_index(timestep))
        return super().scale_model_input(sample, *args, **kwargs)

    def step(self, *args: Any, **kwargs: Any) -> SuperposedSchedulerOutput | tuple[Tensor, Tensor]:
        """
        Go from the samples at this time to the next.

        Args:
            args, kwargs: the child's: `model_output`, `timestep`, `sample`, all rows of each group, and others.

        Returns:
            [`SuperposedSchedulerOutput`], or a tuple of its members.

        Raises:
            ValueError: before `set_timesteps`; for rows that are no whole groups or, at the first step, do not hold the
                same latent; and where the child scales the model's input and `scale_model_input` was never called.
        """
        call = self.arguments("step", args, kwargs).arguments
        run, sample = self.__run, call["sample"]
        if run is None:
            raise ValueError("no timesteps are set; call set_timesteps before the first step")
        if not self.__scaled and compat.scales_input(self.child):
            raise ValueError(
                f"{self.child_kind.__name__} needs scale_model_input before each model call, which this pipeline does "
                "not make; use a solver such as ddim"
            )
        grouped = self._grouped(sample)
        if self.__last is None:
            _check_equal(grouped)
        index, child = self.run_index(call["timestep"]), self.child
        found = prediction(child, call["model_output"], call["timestep"], sample, index)
        shape, here = grouped.shape[:2], grouped[:, 0].to(found.eps.dtype)
        noise, uniform = self._drawn(here, call.get("generator"), bool(run.steps[index].std))
        following, clean = run.step(
            index,
            here,
            found.x0.unflatten(0, shape),
            found.eps.unflatten(0, shape),
            noise,
            uniform,
            clip=lambda x0: clipped(child, x0),
        )
        compat.count_step(child, index)
        self.__calls, self.__last = index + 1, (following.to(sample.dtype), clean)
        rows, clean_rows = (one.repeat_interleave(self.rows_per_group, 0) for one in self.__last)
        if not call.get("return_dict", True):
            return rows, clean_rows
        return SuperposedSchedulerOutput(rows, clean_rows)

    def _grouped(self, sample: Tensor) -> Tensor:
        rows = self.rows_per_group
        if not len(sample) or len(sample) % rows:
            before = "the unconditional row and " if self.config.unconditional else ""
            raise ValueError(
                f"{len(sample)} rows are no groups of {rows} ({before}{self.config.num_conditions} prompts for each "
                "image); samplesmith.pipelines.superpose(pipe, prompts) lays them out"
            )
        return sample.unflatten(0, (-1, rows))

    def _drawn(self, here: Tensor, generator: Any, noisy: bool) -> tuple[Tensor | None, Tensor | None]:
        """The noise of a step, and where its groups are resampled; from the groups' own generators."""
        sources = self._sources(generator, len(here))
        noise = uniform = None
        if noisy:
            noise = randn_tensor(here.shape, generator=sources, device=here.device, dtype=torch.float32).to(here)
        if self.config.correct is not None:
            uniform = torch.rand((), generator=sources[0], device=sources[0].device)
        return noise, uniform

    def _sources(self, generator: Any, groups: int) -> list[torch.Generator]:
        """One generator per group."""
        if generator is None:
            if self._row_generators is None:
                self._row_generators = self._fresh_generators(groups)
            generator = self._row_generators
        given = list(generator) if isinstance(generator, (list, tuple)) else [generator]
        rows = self.rows_per_group
        if len(given) == groups * rows:
            return given[::rows]
        if len(given) != groups:
            raise ValueError(f"{len(given)} generators for {groups} groups of {rows} rows; give one for each row")
        return given


def _check_equal(grouped: Tensor) -> None:
    """Whether the rows of each group hold the same; a host sync, once in a run."""
    if not bool((grouped == grouped[:, :1]).all()):
        rows = grouped.shape[1]
        raise ValueError(
            f"the {rows} rows of an image do not hold the same latent: give each row a generator of its own with the "
            "same seed, and no num_images_per_prompt; samplesmith.pipelines.superpose(pipe, prompts, seed=0) does so"
        )
