"""FlowSDEScheduler: stochastic sampling for flow-matching pipelines (SD3, FLUX, Lumina, Sana, ...).

Any g >= 0 gives a reverse SDE with the flow's marginals (Kim et al., arXiv 2503.19385). Seam: the scheduler. Cost: no
further model call, but for transitions that make more of them (Heun's method, GLASS). How a step goes is up to a
transition (`transitions/`), whose kernels are formed when the timesteps are set.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from . import compat
from .flow_grids import time_grid
from .flow_settings import flow_settings, settings_of
from .flow_transition import flow_transition
from .interpolants import Linear, expand
from .live_timesteps import position
from .predictions import Prediction
from .transition_output import TransitionOutput, log_density
from .transition_steps import TransitionSteps
from .wrapped import OURS, innermost


class FlowSDEScheduler(TransitionSteps, FlowMatchEulerDiscreteScheduler):
    """
    Stochastic (or deterministic) sampling of flow-matching models.

    This model inherits from [`FlowMatchEulerDiscreteScheduler`]: time grids, resolution shift (`shift`, `mu`), Karras
    and other options are the parent's. With `diffusion=None` and `interpolant="linear"` it is the parent, bit for bit;
    with the parent's `stochastic_sampling` it makes the parent's steps, but draws their noise as described at `seed`.
    The sample stays in the linear path's coordinates between steps, also with `interpolant="vp"`.

    Use `FlowSDEScheduler.from_scheduler(pipe.scheduler, diffusion="square", norm=3.0)`.

    Args:
        diffusion (`str`, *optional*):
            Names g of `integrator="euler-maruyama"`: `"square"` (norm t^2), `"linear"` (norm t), `"constant"` (norm),
            `"natural"` (the forward process'), with t the clock of `interpolant`; None for the ODE.
        norm (`float`, defaults to 1.0):
            Factor of g.
        interpolant (`str`, defaults to `"linear"`):
            The path that Euler-Maruyama's and Heun's steps are taken along: `"linear"` or `"vp"` (beta 0.1 to 20).
        integrator (`str`, defaults to `"euler-maruyama"`):
            The transition, with its settings (`transitions/`); those below `heun` decide their noise themselves.

            - `"euler-maruyama"`: of the SDE with g. Any g converges to the flow's marginals.
            - `"heun"`, of second order, for the ODE: two model calls per step, one in the last. (FluxImg2ImgPipeline
              counts those calls as steps, whichever scheduler of second order it has, so a low strength leaves it
              none.)
            - `"ddpm"`: the reverse process with its posterior's mean frozen. Converges; in few steps the variance is
              too small.
            - `"precise:eta=0.7"` (arXiv 2605.23522): the same with less noise, or more. Converges.
            - `"cps:eta=0.7"` (arXiv 2509.05952): a share of noise that is kept, in [0, 1]. Does not converge: at a
              fixed eta the variance stays too small however many steps there are. `"cps"` alone takes its eta from
              `norm`, and is the ODE without a `diffusion`.
            - `"glass:inner_steps=10"`, or with `rho=0.4` or `kappa=0.5` (arXiv 2509.25170): samples the transition by
              an ODE of its own, `inner_steps` model calls per step at times between. Nearly the right variance in few
              steps; both kinds of steps converge, with a constant `rho` below 1 the inner ones alone.

            `num_inference_steps` counts steps: Heun's method and GLASS call the model more often.
        grid (`str`, *optional*):
            Where the times lie before the resolution's shift: `"vp"`, even in the variance-preserving clock, or
            `"log-snr"`, even in the logarithm of the signal-to-noise ratio; None for the parent's. `sigmas` that a
            pipeline passes then give their number only.
        kind (`str`, *optional*):
            Alias: `"ode"` is `diffusion=None` and no `stochastic_sampling`, `"sde"` asks for a diffusion and takes
            `"square"` where none is given.
        seed (`int`, defaults to 0):
            Row k of a batch draws its noise from its own generator, which `seed + k` decides, unless
            `set_generators` or `step(generator=...)` gives others. `set_timesteps` resets them, so the same call gives
            the same images.

    Raises:
        ValueError: for unknown names, settings out of their range or that contradict each other, or inverted sigmas.
    """

    timesteps: Tensor
    sigmas: Tensor

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
        self.set_generators(None)
        self.kernels = None
        self._kept = ()
        self._runs_as_parent = False
        self._check()

    def _check(self) -> None:
        """Check the settings, which may have been changed since construction."""
        flow_transition(self.config)
        if self.config.invert_sigmas:
            raise ValueError("invert_sigmas=True (Mochi) runs time backwards; FlowSDEScheduler does not support it")
        if not self._is_parents_ode and compat.grows_without_bound(self):
            raise ValueError(
                f"the pipeline runs its scheduler with sigmas up to {self.config.sigma_max:g}, along x_0 + sigma eps; "
                "FlowSDEScheduler knows linear flows, and there only the plain ODE"
            )

    @property
    def _is_parents_ode(self) -> bool:
        """Whether the steps are the parent's own."""
        transition = flow_transition(self.config)
        plain = self.config.interpolant == "linear" and not self.config.stochastic_sampling
        return plain and transition.model_calls == 1 and not transition.is_stochastic

    @classmethod
    def from_scheduler(cls, scheduler: Any, **settings: Any) -> FlowSDEScheduler:
        """
        Make one from a pipeline's scheduler: its settings and state are taken over, however it came to have them.

        Args:
            scheduler: of linear flows, such as FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler,
                FlowMatchLCMScheduler, and DPMSolverMultistepScheduler and UniPCMultistepScheduler that predict flows.
                Of one that wraps another, that one is taken.
            settings: of this class, such as `diffusion` and `norm`.

        Raises:
            ValueError: for a scheduler of another kind.
        """
        scheduler, parent = innermost(scheduler), FlowMatchEulerDiscreteScheduler
        config = settings_of(scheduler)
        theirs = set(inspect.signature(parent.__init__).parameters)
        if not isinstance(scheduler, parent) or theirs & set(settings):
            return cls.from_config(config, **settings)
        if not isinstance(scheduler, FlowSDEScheduler) and type(scheduler).set_timesteps != parent.set_timesteps:
            raise ValueError(
                f"{type(scheduler).__name__} sets timesteps in its own way, which FlowSDEScheduler would not; give a "
                f"{parent.__name__} made from its config"
            )
        made = cls.from_config(config, **settings)
        own = vars(made).keys() - vars(parent()).keys() | {"_internal_dict"}
        vars(made).update({name: value for name, value in copy.deepcopy(vars(scheduler)).items() if name not in own})
        return made

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """
        Make one from the config of a scheduler of linear flows.

        Raises:
            ValueError: for the config of another.
        """
        if not isinstance(config, Mapping):
            return super().from_config(config, return_unused_kwargs, **kwargs)
        if config.get("_class_name") != cls.__name__:
            config = flow_settings(config)
        takes = inspect.signature(cls.__init__).parameters
        known = {name: value for name, value in config.items() if name in takes or name == "_use_default_values"}
        made, unused = super().from_config(known, return_unused_kwargs=True, **kwargs)
        hidden = {name: value for name, value in config.items() if name not in takes and not name.startswith("_")}
        made.register_to_config(**hidden, _class_name=cls.__name__)
        made._check()  # once more: what is hidden tells the path
        return (made, unused) if return_unused_kwargs else made

    @classmethod
    def _get_compatibles(cls) -> list[type]:
        return FlowMatchEulerDiscreteScheduler._get_compatibles()

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor | None = None) -> Tensor:
        """The sample: pipelines that ask for the parent's exact class (Bria) call it of every other."""
        return sample

    @property
    def order(self) -> int:
        """Model calls per step, by which pipelines count."""
        return flow_transition(self.config).model_calls

    @property
    def is_stochastic(self) -> bool:
        """Whether steps draw noise."""
        return flow_transition(self.config).is_stochastic

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
            ValueError: for no number of steps or less than one, `timesteps` beside a `grid` of this scheduler's own,
                settings that were changed and do not fit, or sigmas beyond 1 where more than the parent's ODE is asked
                for.
        """
        self._check()
        if num_inference_steps is not None and num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}; give at least 1")
        if self.config.grid is not None:
            if timesteps is not None:
                raise ValueError(f"timesteps are given, but grid={self.config.grid!r} makes its own; drop one of them")
            steps = num_inference_steps
            if steps is None:
                if sigmas is None:
                    raise ValueError("neither num_inference_steps nor sigmas is given, so no number of steps is known")
                steps = len(sigmas)
            sigmas = time_grid(self.config.grid, steps).tolist()
        super().set_timesteps(num_inference_steps, device, sigmas, mu, timesteps)
        self._runs_as_parent = self._is_parents_ode
        if not self._runs_as_parent and compat.exceeds_one(self):
            raise ValueError("the sigmas go beyond 1, which no linear flow has; only the plain ODE can follow them")
        transition, path, device = flow_transition(self.config), Linear(), self.sigmas.device
        times = self.sigmas.detach().double().cpu().clamp_max(1)  # shifts may round the first a little above
        self._begin_run(transition, times, path, device)
        if transition.model_calls > 1:
            self._set_call_times(times, transition.call_times(times, path))

    def _set_call_times(self, times: Tensor, call_times: Tensor) -> None:
        """Show each model call's time: those of steps stay as they are, others lie between."""
        found, step = (call_times[:, None] == times).max(1)
        of_steps = torch.cat([self.timesteps.double().cpu(), times[-1:]])[step]
        timesteps = torch.where(found, of_steps, call_times * self.config.num_train_timesteps)[:-1]
        self.timesteps = timesteps.to(self.timesteps)
        self.sigmas = torch.where(found, self.sigmas.double().cpu()[step], call_times).to(self.sigmas)

    def _init_step_index(self, timestep: float | Tensor) -> None:
        """As the parent, but for a host sync where the pipeline passes `timesteps[i]` and no begin index."""
        if self.begin_index is None and (index := position(self.timesteps, timestep)) is not None:
            self._step_index = index
        else:
            super()._init_step_index(timestep)

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = float("inf"),
        s_noise: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        per_token_timesteps: Tensor | None = None,
        return_dict: bool = True,
        noise: Tensor | None = None,
    ) -> TransitionOutput | tuple[Tensor]:
        """
        Go from the sample at this time to the next.

        Args:
            model_output (`torch.Tensor`): the predicted velocity, `(batch, ...)`.
            timestep (`float` or `torch.Tensor`): the pipeline's current timestep.
            sample (`torch.Tensor`): the current sample.
            s_churn, s_tmin, s_tmax, s_noise (`float`): without effect, as in the parent.
            generator (`torch.Generator` or a list, *optional*): in place of the scheduler's own; one per row, or one
                for all, which makes a row depend on the batch size.
            per_token_timesteps (`torch.Tensor`, *optional*): for the linear ODE only, as the parent takes it.
            return_dict (`bool`, defaults to True): False returns a tuple and computes no extras.
            noise (`torch.Tensor`, *optional*): standard normal, of the sample's shape, in place of any generator's.
                With it the step traces under `torch.compile(fullgraph=True)`, which no generator does.

        Returns:
            [`TransitionOutput`] or a tuple of the previous sample.

        Raises:
            ValueError: for a time per token in a stochastic step, a run that begins in the middle of a step, or a
                step before `set_timesteps` that is not the parent's.
        """
        plain = self._is_parents_ode if self.kernels is None else self._runs_as_parent
        if plain and (not return_dict or per_token_timesteps is not None or self.kernels is None):
            (previous,) = super().step(
                model_output, timestep, sample, per_token_timesteps=per_token_timesteps, return_dict=False
            )
            return TransitionOutput(prev_sample=previous) if return_dict else (previous,)
        if per_token_timesteps is not None:
            raise ValueError(
                "per_token_timesteps need the parent's ODE: no noise, interpolant='linear', one model call per step"
            )
        if self.kernels is None:
            raise ValueError("no timesteps are set; call set_timesteps before the first step")
        if self.step_index is None:
            self._init_step_index(timestep)
        index = self.step_index
        predicted = self.predict(model_output, sample, index)
        if plain:
            (previous,) = super().step(model_output, timestep, sample, return_dict=False)
            mean, noisy = previous, False
        else:
            (previous, mean, _), noisy = self._move(index, sample, predicted, generator, noise)
            previous = previous.to(model_output.dtype)
            self._step_index += 1
        if not return_dict:
            return (previous,)
        return TransitionOutput.of(previous, predicted.x0, mean, self.kernels.std[index], noisy)

    def predict(self, model_output: Tensor, sample: Tensor, call: int | Tensor) -> Prediction:
        """
        The clean sample and the noise that a velocity implies, in float32.

        Args:
            model_output (`torch.Tensor`): the predicted velocity, `(batch, ...)`.
            sample (`torch.Tensor`): that the model was called at.
            call (`int` or `torch.Tensor`): number of the model call in the run, or one for each row, `(batch,)`.
        """
        sample, velocity, sigma = sample.float(), model_output.float(), expand(self.sigmas[call], sample)
        return Prediction(x0=sample - sigma * velocity, eps=sample + (1 - sigma) * velocity)

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
            `(batch,)`, `nan` for a row whose model call adds no noise; None for the ODE.
        """
        if not self.is_stochastic or self.kernels is None:
            return None
        t = torch.as_tensor(timestep, device=self.timesteps.device, dtype=self.timesteps.dtype).reshape(-1)
        call = (self.timesteps[None] - t[:, None]).abs().argmin(1).expand(len(sample))
        predicted, std = self.predict(model_output, sample, call), expand(self.kernels.std[call], sample)
        mean, _ = self.kernels.mean(call, sample.float(), predicted.x0, predicted.eps)
        density = log_density(prev_sample.float(), mean, std)
        return torch.where(std.flatten() > 0, density, torch.nan)


OURS[FlowSDEScheduler.__name__] = FlowSDEScheduler
