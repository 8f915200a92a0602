"""DiffusionSDEScheduler: the transitions of flows for models of noise, clean sample or v (SD, SDXL, PixArt, DiT, ...).

Seam: the scheduler. Cost: no further model call, but for transitions that make more of them (Heun's method, GLASS). Its
steps are those of `transitions/`, whose kernels are formed when the timesteps are set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DDIMScheduler
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from . import compat
from .clean_prediction import clipped
from .interpolants import NoiseRatio, from_scheduler
from .live_timesteps import index_of
from .predictions import Prediction
from .transition_output import TransitionOutput
from .transition_steps import TransitionSteps
from .transitions import transition
from .wrapped import OURS, innermost

PREDICTIONS = ("epsilon", "sample", "v_prediction")


class DiffusionSDEScheduler(TransitionSteps, DDIMScheduler):
    """
    Stochastic (or deterministic) sampling of diffusion models, on the variance-preserving path.

    This model inherits from [`DDIMScheduler`]: betas, spacing of the timesteps, clipping and the last step's end are
    the parent's. With `integrator="precise:eta=0"` its samples are the parent's at eta = 0, and with `"ddpm"` those at
    eta = 1, up to float32's rounding, where the number of steps divides that of the training times.

    Use `DiffusionSDEScheduler.from_scheduler(pipe.scheduler, integrator="precise:eta=0.7")`.

    Args:
        integrator (`str`, defaults to `"ddpm"`):
            The transition, with its settings, as in `FlowSDEScheduler`, which says what converges to what:
            `"ddpm"`, `"precise:eta=0.7"`, `"cps:eta=0.7"`, `"glass:inner_steps=10"`,
            `"euler-maruyama:diffusion=natural,interpolant=vp"`, `"heun"`. GLASS calls the model at timesteps between
            integers, which networks that embed them by sines and cosines take, and tables of embeddings do not.
        seed (`int`, defaults to 0):
            Row k of a batch draws its noise from its own generator, which `seed + k` decides, unless
            `set_generators` or `step(generator=...)` gives others (as Stable Diffusion's pipelines do).
            `set_timesteps` resets them, so the same call gives the same images.

    Raises:
        ValueError: for an unknown transition or setting, or a prediction type that is no diffusion's.
    """

    timesteps: Tensor

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: list[float] | None = None,
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        rescale_betas_zero_snr: bool = False,
        integrator: str = "ddpm",
        seed: int = 0,
    ):
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            beta_schedule=beta_schedule,
            trained_betas=trained_betas,
            clip_sample=clip_sample,
            set_alpha_to_one=set_alpha_to_one,
            steps_offset=steps_offset,
            prediction_type=prediction_type,
            thresholding=thresholding,
            dynamic_thresholding_ratio=dynamic_thresholding_ratio,
            clip_sample_range=clip_sample_range,
            sample_max_value=sample_max_value,
            timestep_spacing=timestep_spacing,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
        )
        self.set_generators(None)
        self.kernels = None
        self._kept = ()
        self._ratios: Tensor | None = None
        self._check()

    def _check(self) -> None:
        """Check the settings, which may have been changed since construction."""
        transition(self.config.integrator)
        if self.config.prediction_type not in PREDICTIONS:
            raise ValueError(
                f"prediction_type is {self.config.prediction_type!r}; DiffusionSDEScheduler knows "
                f"{', '.join(PREDICTIONS)}"
            )

    @classmethod
    def from_scheduler(cls, scheduler: Any, **settings: Any) -> DiffusionSDEScheduler:
        """
        Make one from a pipeline's scheduler: its settings are taken over.

        Args:
            scheduler: of a diffusion with a table of alphas_cumprod, such as DDIMScheduler, DDPMScheduler,
                PNDMScheduler, EulerDiscreteScheduler and DPMSolverMultistepScheduler. Of one that wraps another, that
                one is taken. Settings of a solver alone, such as Karras' sigmas, are without effect.
            settings: of this class, such as `integrator`.

        Raises:
            ValueError: for a scheduler of another kind.
        """
        scheduler = innermost(scheduler)
        if compat.is_linear_flow(scheduler) or not hasattr(scheduler, "alphas_cumprod"):
            raise ValueError(
                f"{type(scheduler).__name__} is no diffusion's scheduler with alphas_cumprod; DiffusionSDEScheduler "
                "samples Stable Diffusion and such, FlowSDEScheduler flows"
            )
        # Also what the solver has by default, which may be another default than ours.
        return cls.from_config({**compat.whole_config(scheduler), "_use_default_values": []}, **settings)

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """
        Make one from the config of a diffusion's scheduler.

        Raises:
            ValueError: for settings that do not fit.
        """
        if isinstance(config, Mapping) and "clip_sample" not in config:
            config = {**config, "clip_sample": False}  # of solvers that never clip; the parent would by default
        return super().from_config(config, return_unused_kwargs, **kwargs)

    @property
    def order(self) -> int:
        """Model calls per step, by which pipelines count."""
        return transition(self.config.integrator).model_calls

    @property
    def is_stochastic(self) -> bool:
        """Whether steps draw noise."""
        return transition(self.config.integrator).is_stochastic

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """
        Set the timesteps of the run; resets the rows' generators.

        Args:
            num_inference_steps (`int`): steps, at least 1; a transition may call the model more often.
            device (`str` or `torch.device`, *optional*): of the timesteps.

        Raises:
            ValueError: for less than one step or more than there are training times, or settings that were changed and
                do not fit.
        """
        self._check()
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}; give at least 1")
        super().set_timesteps(num_inference_steps, device)
        chosen, path, table = transition(self.config.integrator), NoiseRatio(), from_scheduler(self)
        steps = self.timesteps.cpu()
        end = self.final_alpha_cumprod.double().cpu()
        times = torch.cat([(-table.log_snr(steps.double()) / 2).exp(), ((1 - end) / end).sqrt()[None]])
        self._begin_run(chosen, times, path, self.timesteps.device)
        call_times = chosen.call_times(times, path)
        if chosen.model_calls > 1:
            found, step = (call_times[:-1, None] == times[:-1]).max(1)
            between = table.time_at(path.log_snr(call_times[:-1])).clamp(0, self.config.num_train_timesteps - 1)
            calls = torch.where(found, steps[step].double(), between)
            whole = bool((calls == calls.round()).all())
            self.timesteps = calls.to(self.timesteps.device, torch.int64 if whole else torch.float32)
        self._ratios = call_times.float().to(self.timesteps.device)

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
        noise: Tensor | None = None,
    ) -> TransitionOutput | tuple[Tensor]:
        """
        Go from the sample at this time to the next.

        Args:
            model_output (`torch.Tensor`): the model's, `(batch, ...)`; channels beyond the sample's, a learned
                variance, are left out.
            timestep (`float` or `torch.Tensor`): the pipeline's current timestep; an entry of `timesteps`.
            sample (`torch.Tensor`): the current sample.
            generator (`torch.Generator` or a list, *optional*): in place of the scheduler's own; one per row, or one
                for all, which makes a row depend on the batch size.
            return_dict (`bool`, defaults to True): False returns a tuple.
            noise (`torch.Tensor`, *optional*): standard normal, of the sample's shape, in place of any generator's.

        Returns:
            [`TransitionOutput`] or a tuple of the previous sample.

        Raises:
            ValueError: for a step before `set_timesteps`, a time that is no entry, or a run that begins in the middle
                of a step.
        """
        if self.kernels is None:
            raise ValueError("no timesteps are set; call set_timesteps before the first step")
        call = index_of(self.timesteps, timestep)
        predicted = self.predict(model_output, sample, call)
        stepped, noisy = self._move(call, sample, predicted, generator, noise)
        previous = stepped.sample.to(sample.dtype)
        if not return_dict:
            return (previous,)
        return TransitionOutput.of(previous, predicted.x0, stepped.mean, self.kernels.std[call], noisy)

    def predict(self, model_output: Tensor, sample: Tensor, call: int | Tensor) -> Prediction:
        """
        The clean sample, clipped as the settings say, and the noise that a model's output implies, in float32.

        Args:
            model_output (`torch.Tensor`): of the model call, `(batch, ...)`.
            sample (`torch.Tensor`): that the model was called at.
            call (`int` or `torch.Tensor`): number of the model call in the run, or one for each row, `(batch,)`.

        Raises:
            ValueError: before `set_timesteps`.
        """
        if self._ratios is None:
            raise ValueError("no timesteps are set; call set_timesteps before a prediction is read")
        if model_output.shape[1] == 2 * sample.shape[1]:
            model_output = model_output[:, : sample.shape[1]]
        kind = self.config.prediction_type
        predicted = Prediction.read(kind, model_output, sample, NoiseRatio(), self._ratios[call])
        return Prediction(x0=clipped(self, predicted.x0), eps=predicted.eps.float())

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise clean samples to times where steps begin, as image-to-image pipelines do."""
        return super().add_noise(original_samples, noise, timesteps.long())


OURS[DiffusionSDEScheduler.__name__] = DiffusionSDEScheduler
