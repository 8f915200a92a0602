"""GLASS: a stochastic step that is itself an ODE of several model calls. Reference: arXiv 2509.25170.

Given the clean sample z, let the noises of x_t and x_t' have correlation rho. Then x' = gbar x + Y with
Y | x, z ~ N(abar z, sbar^2), where

    gbar = rho sigma' / sigma,  abar = alpha' - gbar alpha,  sbar = sigma' sqrt(1 - rho^2)

So Y is a sample of z's own posterior given x, scaled and noised, and is sampled as one samples from a flow: along
Y_s = a_s z + q_s eps, with a_s = s abar and q_s from 1 to sbar, from Y_0 = eps at s = 0 to s = 1. The flow's model is
the pretrained one: x and Y_s are two looks at z through independent noises, of which the sufficient statistic

    S = (alpha / sigma^2 x + a_s / q_s^2 Y_s) / P,  P = alpha^2 / sigma^2 + a_s^2 / q_s^2

is z + noise of variance 1 / P. At the path's time t* of signal-to-noise ratio P, alpha(t*) S is therefore a sample as
the model knows it, and x0-hat there is E[z | x, Y_s]. Euler's step of that ODE on straight a_s and q_s is DDIM's:

    Y_r = a_r x0-hat + q_r (Y_s - a_s x0-hat) / q_s

s = 1 is never asked for, so that rho = 1 and sigma' = 0 are safe. In the paper's words X = gbar x + Y.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..interpolants import Interpolant, expand
from .base import Kept, Kernels, Stepped, Transition
from .correlation import correlation


@dataclass(frozen=True, eq=False)
class GlassKernels(Kernels):
    """Inner steps Y' = keep Y + gain x0 + spread z, each followed by the next model call's sample: by_x x + by_y Y.

    x and Y are kept between the calls of a step, since Y cannot be read from a sample of half precision.

    Attributes:
        keep, gain, spread: of the inner step that follows each call, (calls,); keep is 0 at a step's first call.
        by_x, by_y: of alpha(t*) S, and of x' at a step's last call, (calls,).
        inner_steps: model calls per step.
    """

    keep: Tensor
    gain: Tensor
    spread: Tensor
    by_x: Tensor
    by_y: Tensor
    inner_steps: int

    def mean(self, call: int | Tensor, sample: Tensor, x0: Tensor, eps: Tensor, kept: Kept = ()) -> tuple[Tensor, Kept]:
        inner = call % self.inner_steps
        if isinstance(inner, int) and inner > 0 and not kept:
            raise ValueError(
                f"model call {call} is inside of a GLASS step; begin at a multiple of {self.inner_steps} calls"
            )
        if not kept or (isinstance(inner, int) and inner == 0):
            x, y = sample, torch.zeros_like(sample)
        else:
            x, y = kept
            if isinstance(inner, Tensor):  # rows that begin a step stand beside others
                x = torch.where(expand(inner == 0, sample), sample, x)
        y = expand(self.keep[call], y) * y + expand(self.gain[call], x0) * x0
        ends = isinstance(inner, int) and inner == self.inner_steps - 1
        return self._sample(call, x, y), () if ends else (x, y)

    def step(
        self,
        call: int | Tensor,
        sample: Tensor,
        x0: Tensor,
        eps: Tensor,
        noise: Tensor | None = None,
        kept: Kept = (),
    ) -> Stepped:
        stepped = super().step(call, sample, x0, eps, noise, kept)
        if noise is None or not stepped.kept:
            return stepped
        x, y = stepped.kept
        return stepped._replace(kept=(x, y + expand(self.spread[call], y) * noise))

    def _sample(self, call: int | Tensor, x: Tensor, y: Tensor) -> Tensor:
        return expand(self.by_x[call], x) * x + expand(self.by_y[call], y) * y


@dataclass(frozen=True)
class Glass(Transition):
    """Samples p(x' | x) instead of freezing the posterior's mean: steps may be long, and still have the right variance.

    The transition has the marginals of the next time for any rho, up to the error of its inner steps. rho decides how
    far a sample goes from where it stood: `kappa` = 1 is the reverse process, as random as DDPM's; at rho = 1 samples
    differ by the posterior alone. With rho_DDPM^kappa both more steps and more inner steps converge to the marginals;
    with a constant rho below 1 only inner steps do, as the error of each transition stays in however many there are.
    With one inner step it is `ddpm`, `precise` or `cps` of the same rho. The paper makes 5 transitions of 10 inner
    steps with FLUX, and found rho = 0.4 best for steering.

    Model calls between steps are at times off the grid, which the model must take: continuous times, as those of flows
    are, or embeddings of integers that are smooth between them.

    Args:
        rho: correlation of the noises, in [0, 1]; None for rho_DDPM^kappa.
        kappa: exponent of rho_DDPM, at least 0; without effect where rho is given.
        inner_steps: model calls per step, at least 1.

    Raises:
        ValueError: for settings outside of these ranges.
    """

    rho: float | None = None
    kappa: float = 1.0
    inner_steps: int = 10

    def __post_init__(self) -> None:
        if self.rho is not None and not 0 <= self.rho <= 1:
            raise ValueError(f"rho of glass is {self.rho}; give 0 to 1, or none for that of DDPM")
        if not 0 <= self.kappa < float("inf"):
            raise ValueError(f"kappa of glass is {self.kappa}; give at least 0, such as 1")
        if self.inner_steps < 1:
            raise ValueError(f"inner_steps of glass is {self.inner_steps}; give at least 1")

    @property
    def model_calls(self) -> int:
        return self.inner_steps

    @property
    def is_stochastic(self) -> bool:
        keeps_all = self.kappa == 0 if self.rho is None else self.rho == 1
        return self.inner_steps > 1 or not keeps_all

    def _inner(self, times: Tensor, path: Interpolant) -> tuple[Tensor, ...]:
        """gbar (steps, 1), and a_s, q_s (steps, inner steps + 1), P (steps, inner steps) of the calls."""
        alpha, sigma = path.alpha(times)[:, None], path.sigma(times)[:, None]
        if self.rho is None:
            rho, fresh = (table[:, None] for table in correlation(times, path, self.kappa))
        else:
            rho = torch.full_like(sigma[1:], self.rho)
            fresh = (1 - rho * rho).sqrt()
        gbar = rho * sigma[1:] / sigma[:-1]
        s = torch.linspace(0, 1, self.inner_steps + 1, dtype=times.dtype, device=times.device)
        a = s * (alpha[1:] - gbar * alpha[:-1])
        q = 1 + s * (sigma[1:] * fresh - 1)
        looks = (alpha[:-1] / sigma[:-1]) ** 2 + (a[:, :-1] / q[:, :-1]) ** 2
        return gbar, a, q, looks

    def call_times(self, times: Tensor, path: Interpolant) -> Tensor:
        """Each step's beginning, then the times t* of its other calls."""
        *_, looks = self._inner(times, path)
        inner = path.time_at(looks.log())
        inner[:, 0] = times[:-1]
        return torch.cat([inner.flatten(), times[-1:]])

    def along(self, times: Tensor, path: Interpolant) -> GlassKernels:
        alpha, sigma = path.alpha(times)[:-1, None], path.sigma(times)[:-1, None]
        gbar, a, q, looks = self._inner(times, path)
        keep = q[:, 1:] / q[:, :-1]
        gain = a[:, 1:] - keep * a[:, :-1]
        keep[:, 0] = 0
        spread = torch.zeros_like(keep)
        spread[:, 0] = q[:, 1]
        # Of the sample that each inner step leads to: alpha(t*) S of the next call, x' behind the last.
        scale = path.alpha(path.time_at(looks[:, 1:].log())) / looks[:, 1:]
        by_x = torch.cat([scale * alpha / sigma**2, gbar], 1)
        by_y = torch.cat([scale * a[:, 1:-1] / q[:, 1:-1] ** 2, torch.ones_like(gbar)], 1)
        tables = {"std": by_y * spread, "keep": keep, "gain": gain, "spread": spread, "by_x": by_x, "by_y": by_y}
        flat = {name: table.flatten() for name, table in tables.items()}
        return GlassKernels(**flat, inner_steps=self.inner_steps)
