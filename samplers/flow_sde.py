"""FlowSDEScheduler: stochastic sampling for flow-matching pipelines (SD3, FLUX, Lumina, Sana, ...).

A flow is an ODE, dx = u dt. For any g >= 0 the reverse SDE dx = (u - g^2 / 2 s) dt + g dW, dt < 0, has the same
marginals (Kim et al., arXiv 2503.19385), with the score s = -eps / sigma. Seam: the scheduler. Cost: no further
model call.

One step is linear in the model's clean prediction x0 and noise eps, so it is three numbers a step,
x' = a x0 + b eps + std z, formed when the timesteps are set (`step_coefficients`).
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

from .interpolants import Interpolant, Linear, VariancePreserving, expand

DIFFUSIONS = ("square", "linear", "constant", "natural")
INTERPOLANTS = ("linear", "vp")
INTEGRATORS = ("euler-maruyama", "cps")


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


def diffusion_squared(diffusion: str | None, norm: float, path: Interpolant, s: Tensor) -> Tensor:
    """g^2 at the path's time s; `diffusion` names g: norm s^2, norm s, norm, or natural.

    natural is norm^2 (2 sigma sigma' - 2 alpha' / alpha sigma^2), the diffusion of the forward process at norm 1;
    infinite where alpha is 0.
    """
    match diffusion:
        case None:
            return torch.zeros_like(s)
        case "square":
            return (norm * s * s) ** 2
        case "linear":
            return (norm * s) ** 2
        case "constant":
            return torch.full_like(s, norm**2)
        case "natural":
            alpha, sigma = path.alpha(s), path.sigma(s)
            return norm**2 * 2 * sigma * (path.sigma_dot(s) - path.alpha_dot(s) / alpha * sigma)
    raise ValueError(f"unknown diffusion {diffusion!r}; known: {', '.join(DIFFUSIONS)}, or None for the ODE")


def step_coefficients(
    t: Tensor, t_next: Tensor, path: Interpolant, diffusion: str | None, norm: float, integrator: str = "euler-maruyama"
) -> tuple[Tensor, Tensor, Tensor]:
    """(a, b, std) of the step x' = a x0 + b eps + std z from time t to t_next of the linear path.

    The step is taken along `path`, at equal signal-to-noise ratio, and its result brought back to the linear path's
    coordinates, in which the pipeline keeps its sample. g is capped so that a step adds no more noise than the path
    holds at the step's end: any g has the same marginals, the cap keeps steps stable near the data, makes g finite at
    sigma = 1, and makes the last step the ODE's.

    Args:
        t, t_next: float64, (steps,), t > t_next, in [0, 1].
        path: `Linear()` or `VariancePreserving()`; a path that does not reach pure noise starts from its noisiest time.
        diffusion, norm: see `diffusion_squared`.
        integrator: "euler-maruyama", or "cps", which keeps the noise level of the path exactly (Wang and Yu, arXiv
            2509.05952): std = sigma' sin(eta pi / 2) with eta = norm and b^2 + std^2 = sigma'^2. It
            adds the same share of noise at every step, however small: made for few steps, it has no SDE as its limit
            and keeps no marginals.
    """
    linear = Linear()
    if integrator == "cps":
        std = t_next * math.sin(norm * math.pi / 2) * (0.0 if diffusion is None else 1.0)
        return 1 - t_next, (t_next**2 - std**2).clamp_min(0).sqrt(), std
    if isinstance(path, Linear):
        s, s_next, scale = t, t_next, torch.ones_like(t)
    else:
        noisiest = path.log_snr(torch.ones_like(t))
        s, s_next = (path.time_at(linear.log_snr(time).clamp_min(noisiest)) for time in (t, t_next))
        scale = path.alpha(s_next) + path.sigma(s_next)  # alpha + sigma is 1 on the linear path
    ds = s_next - s
    alpha, sigma = path.alpha(s), path.sigma(s)
    added = torch.minimum(-ds * diffusion_squared(diffusion, norm, path, s), path.sigma(s_next) ** 2)
    a = (alpha + ds * path.alpha_dot(s)) / scale
    b = (sigma + ds * path.sigma_dot(s) - added / (2 * sigma)) / scale
    return a, b, added.sqrt() / scale


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
            Or `"cps"`, which preserves the noise level (arXiv 2509.05952).
        kind (`str`, *optional*):
            Alias: `"ode"` is `diffusion=None`, `"sde"` asks for a diffusion and takes `"square"` where none is given.
        seed (`int`, defaults to 0):
            Row k of a batch draws its noise from a generator of its own with seed `seed + k`, unless `set_generators`
            or `step(generator=...)` gives others. `set_timesteps` resets them, so the same call gives the same images.

    Raises:
        ValueError: for unknown names, a negative norm, or inverted sigmas.
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
        kind: str | None = None,
        seed: int = 0,
    ):
        for name, value, known in (
            ("diffusion", diffusion, (None, *DIFFUSIONS)),
            ("interpolant", interpolant, INTERPOLANTS),
            ("integrator", integrator, INTEGRATORS),
            ("kind", kind, (None, "ode", "sde")),
        ):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(map(str, known))}")
        if norm < 0 or (integrator == "cps" and norm > 1):
            raise ValueError(f"norm is {norm}; give at least 0, and with integrator='cps' at most 1")
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
            ValueError: for less than one step.
        """
        if num_inference_steps is not None and num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}; give at least 1")
        super().set_timesteps(num_inference_steps, device, sigmas, mu, timesteps)
        self._row_generators = None
        times = self.sigmas.detach().double().cpu()
        coefficients = step_coefficients(
            times[:-1], times[1:], self._path, self._diffusion, self.config.norm, self.config.integrator
        )
        # Python numbers for the step, tensors for a time per row: neither costs a host sync later.
        self._steps = [tuple(row) for row in torch.stack(coefficients, 1).tolist()]
        self._tables = [values.float().to(self.sigmas.device) for values in coefficients]

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
            return [torch.Generator().manual_seed(self.config.seed + k) for k in range(rows)]
        generators, states = self._given_generators
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        return generators

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        per_token_timesteps: Tensor | None = None,
        return_dict: bool = True,
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

        Returns:
            [`FlowSDESchedulerOutput`] or a tuple of the previous sample.

        Raises:
            ValueError: for a time per token in a stochastic step.
        """
        plain = not self.is_stochastic and self.config.interpolant == "linear"
        if plain and (not return_dict or per_token_timesteps is not None):
            (previous,) = super().step(
                model_output, timestep, sample, per_token_timesteps=per_token_timesteps, return_dict=False
            )
            return FlowSDESchedulerOutput(prev_sample=previous) if return_dict else (previous,)
        if per_token_timesteps is not None:
            raise ValueError("per_token_timesteps need the linear ODE: diffusion=None and interpolant='linear'")
        if self.step_index is None:
            self._init_step_index(timestep)
        index = self.step_index
        sigma = self.sigmas[index]
        a, b, std = self._steps[index]
        precise = sample.float()
        velocity = model_output.float()
        x0 = precise - sigma * velocity
        eps = precise + (1 - sigma) * velocity
        if plain:
            (previous,) = super().step(model_output, timestep, sample, return_dict=False)
            mean = previous
        else:
            mean = a * x0 + b * eps
            previous = mean + std * self._noise(sample, generator) if std > 0 else mean
            previous = previous.to(model_output.dtype)
            self._step_index += 1
        if not return_dict:
            return (previous,)
        return FlowSDESchedulerOutput(
            prev_sample=previous,
            pred_original_sample=x0,
            prev_sample_mean=mean,
            std=self._tables[2][index],
            log_prob=None if std == 0 else _log_density(previous.float(), mean, self._tables[2][index]),
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
