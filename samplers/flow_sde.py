"""FlowSDEScheduler: stochastic sampling for flow-matching pipelines (SD3, FLUX, Lumina, Sana, ...).

Any g >= 0 gives a reverse SDE with the flow's marginals (Kim et al., arXiv 2503.19385). Seam: the scheduler. Cost: no
further model call, but for Heun's method. The numbers of a step (`flow_coefficients.py`) are formed when the timesteps
are set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from .flow_coefficients import (
    DIFFUSIONS,
    GRIDS,
    INTEGRATORS,
    INTERPOLANTS,
    heun_coefficients,
    interleave,
    step_coefficients,
    time_grid,
)
from .interpolants import Interpolant, Linear, VariancePreserving, expand
from .live_timesteps import position
from .noise import stream_seed


@dataclass
class FlowSDESchedulerOutput(BaseOutput):
    """Output of `FlowSDEScheduler.step`.

    Args:
        prev_sample (`torch.Tensor`): the sample at the next time, the next input of the model.
        pred_original_sample (`torch.Tensor`): the clean sample that the model's output implies.
        prev_sample_mean (`torch.Tensor`): mean of `prev_sample` given `sample`.
        std (`torch.Tensor`): its standard deviation, a scalar; 0 for the ODE and at the last step.
        log_prob (`torch.Tensor`, *optional*): log-density of `prev_sample`, *averaged* over the elements of each row,
            `(batch,)`; None where the step has no noise.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None
    prev_sample_mean: Tensor | None = None
    std: Tensor | None = None
    log_prob: Tensor | None = None


class FlowSDEScheduler(FlowMatchEulerDiscreteScheduler):
    """
    Stochastic (or deterministic) sampling of flow-matching models.

    This model inherits from [`FlowMatchEulerDiscreteScheduler`]: time grids, resolution shift (`shift`, `mu`), Karras
    and other options are the parent's. With `diffusion=None` and `interpolant="linear"` it is the parent, bit for bit.
    The sample stays in the linear path's coordinates between steps, also with `interpolant="vp"`.

    Use `FlowSDEScheduler.from_config(pipe.scheduler.config, diffusion="square", norm=3.0)`.

    Args:
        diffusion (`str`, *optional*):
            Names g: `"square"` (norm t^2), `"linear"` (norm t), `"constant"` (norm), `"natural"` (the forward
            process'), with t the clock of `interpolant`; None for the ODE.
        norm (`float`, defaults to 1.0):
            Factor of g; with `integrator="cps"` its eta, in [0, 1].
        interpolant (`str`, defaults to `"linear"`):
            The path that steps are taken along: `"linear"` or `"vp"` (beta 0.1 to 20).
        integrator (`str`, defaults to `"euler-maruyama"`):
            Or `"cps"`, which preserves the noise level (arXiv 2509.05952), or `"heun"`, of second order, for the ODE:
            two model calls a step, one in the last. (FluxImg2ImgPipeline counts those calls as steps, whichever
            scheduler of second order it has, so a low strength leaves it none.)
        grid (`str`, *optional*):
            Where the times lie before the resolution's shift: `"vp"`, even in the variance-preserving clock, or
            `"log-snr"`, even in the logarithm of the signal-to-noise ratio; None for the parent's. `sigmas` that a
            pipeline passes then give their number only.
        kind (`str`, *optional*):
            Alias: `"ode"` is `diffusion=None`, `"sde"` asks for a diffusion and takes `"square"` where none is given.
        seed (`int`, defaults to 0):
            Row k of a batch draws its noise from a generator of its own, which `seed + k` decides, unless
            `set_generators` or `step(generator=...)` gives others. `set_timesteps` resets them, so the same call gives
            the same images.

    Raises:
        ValueError: for unknown names, a negative norm, Heun's method with a diffusion, or inverted sigmas.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        base_shift: float | None = 0.5,
        max_shift: float | None = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        invert_sigmas: bool = False,
        shift_terminal: float | None = None,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        time_shift_type: str = "exponential",
        stochastic_sampling: bool = False,
        diffusion: str | None = None,
        norm: float = 1.0,
        interpolant: str = "linear",
        integrator: str = "euler-maruyama",
        grid: str | None = None,
        kind: str | None = None,
        seed: int = 0,
    ):
        for name, value, known in (
            ("diffusion", diffusion, (None, *DIFFUSIONS)),
            ("interpolant", interpolant, INTERPOLANTS),
            ("integrator", integrator, INTEGRATORS),
            ("grid", grid, (None, *GRIDS)),
            ("kind", kind, (None, "ode", "sde")),
        ):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(map(str, known))}")
        if norm < 0 or (integrator == "cps" and norm > 1):
            raise ValueError(f"norm is {norm}; give at least 0, and with integrator='cps' at most 1")
        if integrator == "heun" and kind != "ode" and (diffusion or kind):
            raise ValueError("integrator='heun' is for the ODE; drop the diffusion, or use 'euler-maruyama'")
        if invert_sigmas:
            raise ValueError("invert_sigmas=True (Mochi) runs time backwards; FlowSDEScheduler does not support it")
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            shift=shift,
            use_dynamic_shifting=use_dynamic_shifting,
            base_shift=base_shift,
            max_shift=max_shift,
            base_image_seq_len=base_image_seq_len,
            max_image_seq_len=max_image_seq_len,
            invert_sigmas=invert_sigmas,
            shift_terminal=shift_terminal,
            use_karras_sigmas=use_karras_sigmas,
            use_exponential_sigmas=use_exponential_sigmas,
            use_beta_sigmas=use_beta_sigmas,
            time_shift_type=time_shift_type,
            stochastic_sampling=stochastic_sampling,
        )
        if kind == "ode":
            diffusion = None
        elif kind == "sde" and diffusion is None:
            diffusion = "square"
        self._diffusion = diffusion
        self._path: Interpolant = Linear() if interpolant == "linear" else VariancePreserving()
        self._given_generators: tuple[list[torch.Generator], list[Tensor]] | None = None
        self._row_generators: list[torch.Generator] | None = None

    @classmethod
    def from_scheduler(cls, scheduler: Any, **settings: Any) -> FlowSDEScheduler:
        """
        Make one from a pipeline's scheduler.

        Args:
            scheduler: a flow-matching scheduler whose config has FlowMatchEulerDiscreteScheduler's form.
            settings: of this class, such as `diffusion` and `norm`.

        Raises:
            ValueError: for a scheduler that is none of flow matching.
        """
        if "FlowMatch" not in type(scheduler).__name__ and not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            raise ValueError(
                f"{type(scheduler).__name__} is no flow-matching scheduler; FlowSDEScheduler samples SD3, FLUX and such"
            )
        return cls.from_config(scheduler.config, **settings)

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any):
        """
        Make one from the config of a flow-matching scheduler.

        Raises:
            ValueError: for the config of a scheduler that adds noise by betas.
        """
        if config is not None and "beta_start" in config:
            raise ValueError(
                "the config is of no flow-matching scheduler: it has betas; FlowSDEScheduler samples SD3, FLUX and such"
            )
        return super().from_config(config, return_unused_kwargs=return_unused_kwargs, **kwargs)

    @property
    def order(self) -> int:
        """Model calls a step, by which pipelines count."""
        return 2 if self.config.integrator == "heun" else 1

    @property
    def is_stochastic(self) -> bool:
        """Whether steps draw noise."""
        return self._diffusion is not None and self.config.norm > 0

    def set_generators(self, generators: Sequence[torch.Generator] | None) -> None:
        """
        Give each row of the batch its own source of noise; None goes back to `seed`.

        Args:
            generators (`list[torch.Generator]`):
                One a row, separate objects. Each run starts from the state that they have now.
        """
        self._row_generators = None
        if generators is None:
            self._given_generators = None
        else:
            self._given_generators = (list(generators), [generator.get_state() for generator in generators])

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[float] | None = None,
    ) -> None:
        """
        Set the timesteps of the run; arguments are the parent's. Resets the rows' generators.

        Raises:
            ValueError: for less than one step, or `timesteps` beside a `grid` of this scheduler's own.
        """
        if num_inference_steps is not None and num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}; give at least 1")
        if self.config.grid is not None:
            if timesteps is not None:
                raise ValueError(f"timesteps are given, but grid={self.config.grid!r} makes its own; drop one of them")
            sigmas = time_grid(self.config.grid, num_inference_steps or len(sigmas)).tolist()
        super().set_timesteps(num_inference_steps, device, sigmas, mu, timesteps)
        self._row_generators = None
        self._slope = None
        if self.order == 2:
            self.timesteps, end = interleave(self.timesteps), self.sigmas[-1:]
            self.sigmas = torch.cat([interleave(self.sigmas[:-1]), end])
        times = self.sigmas.detach().double().cpu()
        coefficients = step_coefficients(
            times[:-1], times[1:], self._path, self._diffusion, self.config.norm, self.config.integrator
        )
        self._noisy_steps = int((coefficients[2] > 0).sum())
        # Tensors on the sample's device: no host sync in a step, and one compiled graph for all steps.
        self._tables = [values.float().to(self.sigmas.device) for values in coefficients]
        if self.order == 2:
            self._heun = [v.float().to(self.sigmas.device) for v in heun_coefficients(times, self._path)]

    def _init_step_index(self, timestep: float | Tensor) -> None:
        """As the parent, but for a host sync where the pipeline passes `timesteps[i]` and no begin index."""
        if self.begin_index is None and (index := position(self.timesteps, timestep)) is not None:
            self._step_index = index
        else:
            super()._init_step_index(timestep)

    def _noise(self, sample: Tensor, generator: torch.Generator | list[torch.Generator] | None) -> Tensor:
        if generator is None:
            if self._row_generators is None:
                self._row_generators = self._fresh_generators(len(sample))
            if len(self._row_generators) != len(sample):
                raise ValueError(
                    f"{len(self._row_generators)} generators but {len(sample)} rows; give set_generators one a row"
                )
            generator = self._row_generators
        return randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=torch.float32)

    def _fresh_generators(self, rows: int) -> list[torch.Generator]:
        if self._given_generators is None:
            return [torch.Generator().manual_seed(stream_seed(self.config.seed + k)) for k in range(rows)]
        generators, states = self._given_generators
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        return generators

    def _heun_step(self, sample: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        """Euler's step at the even indices, its correction by the mean of both slopes at the odd ones."""
        alpha_dot, sigma_dot, half = (table[self.step_index] for table in self._heun)
        slope = alpha_dot * x0 + sigma_dot * eps
        if self.step_index % 2 == 0:
            self._slope = slope
            a, b, _ = (table[self.step_index] for table in self._tables)
            return a * x0 + b * eps
        if self._slope is None:
            raise ValueError(f"step {self.step_index} is the second half of a Heun step; begin at an even index")
        corrected = sample + half * (slope - self._slope)
        self._slope = None
        return corrected

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        per_token_timesteps: Tensor | None = None,
        return_dict: bool = True,
        noise: Tensor | None = None,
    ) -> FlowSDESchedulerOutput | tuple[Tensor]:
        """
        Go from the sample at this time to the next.

        Args:
            model_output (`torch.Tensor`): the predicted velocity, `(batch, ...)`.
            timestep (`float` or `torch.Tensor`): the pipeline's current timestep.
            sample (`torch.Tensor`): the current sample.
            generator (`torch.Generator` or a list, *optional*): in place of the scheduler's own; one a row, or one for
                all, which makes a row depend on the batch size.
            per_token_timesteps (`torch.Tensor`, *optional*): for the linear ODE only, as the parent takes it.
            return_dict (`bool`, defaults to True): False returns a tuple and computes no extras.
            noise (`torch.Tensor`, *optional*): standard normal, of the sample's shape, in place of any generator's.
                With it the step traces under `torch.compile(fullgraph=True)`, which no generator does.

        Returns:
            [`FlowSDESchedulerOutput`] or a tuple of the previous sample.

        Raises:
            ValueError: for a time per token in a stochastic step, or a run that begins in the middle of a Heun step.
        """
        plain = not self.is_stochastic and self.config.interpolant == "linear" and self.order == 1
        if plain and (not return_dict or per_token_timesteps is not None):
            (previous,) = super().step(
                model_output, timestep, sample, per_token_timesteps=per_token_timesteps, return_dict=False
            )
            return FlowSDESchedulerOutput(prev_sample=previous) if return_dict else (previous,)
        if per_token_timesteps is not None:
            raise ValueError(
                "per_token_timesteps need the linear ODE: diffusion=None, interpolant='linear' and no Heun step"
            )
        if self.step_index is None:
            self._init_step_index(timestep)
        index = self.step_index
        sigma = self.sigmas[index]
        a, b, std = (table[index] for table in self._tables)
        noisy = index < self._noisy_steps
        precise = sample.float()
        velocity = model_output.float()
        x0 = precise - sigma * velocity
        eps = precise + (1 - sigma) * velocity
        if plain:
            (previous,) = super().step(model_output, timestep, sample, return_dict=False)
            mean = previous
        else:
            mean = a * x0 + b * eps if self.order == 1 else self._heun_step(precise, x0, eps)
            if noisy:
                previous = mean + std * (self._noise(sample, generator) if noise is None else noise.float())
            else:
                previous = mean
            previous = previous.to(model_output.dtype)
            self._step_index += 1
        if not return_dict:
            return (previous,)
        return FlowSDESchedulerOutput(
            prev_sample=previous,
            pred_original_sample=x0,
            prev_sample_mean=mean,
            std=std,
            log_prob=_log_density(previous.float(), mean, std) if noisy else None,
        )

    def log_prob(self, model_output: Tensor, timestep: Tensor, sample: Tensor, prev_sample: Tensor) -> Tensor | None:
        """
        Log-density of a given step, *averaged* over the elements of each row; differentiable.

        Independent of the step counter: rows may stand at different times, in any order.

        Args:
            model_output (`torch.Tensor`): the predicted velocity, `(batch, ...)`.
            timestep (`torch.Tensor`): entries of `timesteps`, a scalar or `(batch,)`.
            sample (`torch.Tensor`): before the step.
            prev_sample (`torch.Tensor`): after the step.

        Returns:
            `(batch,)`, `nan` for a row whose step has no noise (the last one); None for the ODE.
        """
        if not self.is_stochastic:
            return None
        t = torch.as_tensor(timestep, device=self.timesteps.device, dtype=self.timesteps.dtype).reshape(-1)
        index = (self.timesteps[None] - t[:, None]).abs().argmin(1).expand(len(sample))
        sigma, a, b, std = (expand(table[index], sample) for table in (self.sigmas, *self._tables))
        velocity, precise = model_output.float(), sample.float()
        mean = a * (precise - sigma * velocity) + b * (precise + (1 - sigma) * velocity)
        density = _log_density(prev_sample.float(), mean, std)
        return torch.where(std.flatten() > 0, density, torch.nan)


def _log_density(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(x; mean, std^2), averaged over the elements of each row."""
    elements = -((x - mean) ** 2) / (2 * std**2) - torch.log(std) - 0.5 * math.log(2 * math.pi)
    return elements.flatten(1).mean(1)
