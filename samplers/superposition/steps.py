"""The numbers of a run's steps: natural reverse diffusion, in units that stay finite from pure noise to the data.

With s = sigma / alpha, a sample divided by alpha is y = x_0 + s eps, whose forward process has no drift and the
diffusion g^2 dt = d(s^2): the natural one, for which alone the density estimators hold (`densities.py`). One reverse
step goes from s to s' = rho s. Divided by s it is

    delta = (y' - y) / s = -eta eps + sqrt(nu) z,  z ~ N(0, I),

with `drift` eta, what g^2 integrates to in the step, by s^2, and `variance` nu, the noise that the step adds, by s^2.
Both are at most of the order of one, also where alpha is 0 and s is infinite.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

START = 0.98
"""Time sigma / (alpha + sigma) above which all densities are taken for equal.

Towards pure noise the scores of all models coincide, and g of a flow diverges: what is estimated there is rounding.
"""


@dataclass(frozen=True)
class Step:
    """One step; Python floats, formed in float64, so that no device is asked for them.

    Attributes:
        clean, noise, std: the next sample is clean x_0 + noise eps + std z, in the sample's own coordinates.
        sigma: factor of the noise in the sample.
        ratio: s = sigma / alpha, infinite where alpha is 0.
        shrink: rho = s' / s, in [0, 1).
        drift, variance: eta and nu.
        log_scale: log(alpha' / alpha), by which the density of x changes beyond that of y; 0 where none is tracked.
        tracked: whether the step tells something of the densities: not before `START`, nor where no noise is added.
        progress: share of the tracked steps that were made before this one.
        share: 1 / the number of tracked steps; 0 where this one is not tracked.
    """

    clean: float
    noise: float
    std: float
    sigma: float
    ratio: float
    shrink: float
    drift: float
    variance: float
    log_scale: float
    tracked: bool
    progress: float = 0.0
    share: float = 0.0

    @property
    def time(self) -> float:
        """Time on the linear path of the same signal-to-noise ratio: sigma / (alpha + sigma), from 1 (noise) to 0."""
        return 1.0 if math.isinf(self.ratio) else self.ratio / (1 + self.ratio)

    @property
    def clean_of_sample(self) -> float:
        """1 / alpha: the clean prediction where no noise is predicted, by the sample."""
        return self.ratio / self.sigma

    @property
    def early(self) -> bool:
        """Whether all densities are still taken for equal."""
        return self.time > START


def ancestral(shrink: float) -> tuple[float, float]:
    """eta and nu of the step that is exact in the linear part: eps is frozen, and y' has just the noise that s' has.

    y' = x_0 + s' (rho eps + sqrt(1 - rho^2) z): the posterior of DDPM, which is SDE-DPM-Solver of order 1 and DDIM with
    eta = 1 (Lu et al., arXiv 2211.01095, section 3.4). It adds less noise than the natural diffusion, by rho^2.
    """
    return 1 - shrink**2, shrink**2 * (1 - shrink**2)


def euler_maruyama(shrink: float) -> tuple[float, float]:
    """eta and nu of dy = 2 ds eps + sqrt(2 |ds| s) z (SuperDiff's published steps), s frozen as well.

    A step that more than halves s would overshoot the data; it is made as `ancestral` makes it, and so are the first
    from alpha = 0 and the last one to s = 0.
    """
    return (2 * (1 - shrink), 2 * (1 - shrink)) if shrink >= 0.5 else ancestral(shrink)


INTEGRATORS: dict[str, Callable[[float], tuple[float, float]]] = {
    "ancestral": ancestral,
    "euler-maruyama": euler_maruyama,
}
"""How a step goes, by name: eta and nu from rho."""


def steps_along(alphas: Tensor | Sequence[float], sigmas: Tensor | Sequence[float], integrator: str) -> list[Step]:
    """Form the steps of a run.

    Args:
        alphas, sigmas: factors of the data and of the noise at each model call and at the run's end, (calls + 1,);
            sigma / alpha falls strictly. alpha may be 0 at the start, sigma at the end.
        integrator: a name in `INTEGRATORS`.

    Raises:
        ValueError: for an unknown integrator, or noise that does not fall.
    """
    if integrator not in INTEGRATORS:
        raise ValueError(f"unknown integrator {integrator!r}; known: {', '.join(INTEGRATORS)}")
    places = [(float(alpha), float(sigma)) for alpha, sigma in zip(alphas, sigmas, strict=True)]
    steps = [_step(*here, *there, integrator) for here, there in itertools.pairwise(places)]
    count, seen, numbered = sum(step.tracked for step in steps), 0, []
    for step in steps:
        share = 1 / count if step.tracked else 0.0
        numbered.append(replace(step, progress=seen / max(count, 1), share=share))
        seen += step.tracked
    return numbered


def _step(alpha: float, sigma: float, next_alpha: float, next_sigma: float, integrator: str) -> Step:
    shrink = next_sigma * alpha / (next_alpha * sigma) if next_alpha * sigma else 1.0
    if not 0 <= shrink < 1:
        raise ValueError(
            f"the noise does not fall from sigma {sigma:g} to {next_sigma:g}: superposition needs one model call per "
            "step at falling noise; use a scheduler of order 1 that repeats no time, such as DDIM or Euler"
        )
    drift, variance = INTEGRATORS[integrator](shrink)
    if alpha:
        ratio = sigma / alpha
        noise, std = next_alpha * ratio * (1 - drift), next_alpha * ratio * math.sqrt(variance)
    else:  # all noise is fresh
        ratio, noise, std = math.inf, 0.0, next_sigma
    step = Step(next_alpha, noise, std, sigma, ratio, shrink, drift, variance, 0.0, tracked=False)
    if step.early or not variance:
        return step
    return replace(step, log_scale=math.log(next_alpha / alpha), tracked=True)
