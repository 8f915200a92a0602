"""Which transition the settings of a `FlowSDEScheduler` name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..named_settings import resolve
from .diffusions import DIFFUSIONS
from .flow_grids import GRIDS
from .transitions import TRANSITIONS, CoefficientPreserving, EulerMaruyama, Transition
from .transitions.euler_maruyama import check_names

_THE_SCHEDULERS = ("diffusion", "norm", "interpolant")
"""Settings of transitions that the scheduler has itself."""

_KINDS = (None, "ode", "sde")


def flow_transition(config: Mapping[str, Any]) -> Transition:
    """The transition that a scheduler's settings name.

    Raises:
        ValueError: for unknown names, values out of their range, and settings that contradict each other.
    """
    names = ("integrator", "diffusion", "norm", "interpolant", "kind", "grid", "stochastic_sampling")
    return _named(*(config[name] for name in names))


@lru_cache(maxsize=256)
def _named(
    integrator: str,
    diffusion: str | None,
    norm: float,
    interpolant: str,
    kind: str | None,
    grid: str | None,
    stochastic_sampling: bool,
) -> Transition:
    check_names(interpolant, diffusion)
    for name, value, known in (("grid", grid, (None, *GRIDS)), ("kind", kind, _KINDS)):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; known: {', '.join(map(str, known))}")
    made: Any
    made, settings = resolve(integrator, TRANSITIONS, "integrator", given=_THE_SCHEDULERS)
    if not norm >= 0:
        raise ValueError(f"norm is {norm}; give at least 0")
    if made.noise == "none":
        if kind != "ode" and (diffusion or kind):
            raise ValueError(f"integrator={integrator!r} is for the ODE; drop the diffusion, or use 'euler-maruyama'")
        return made(interpolant=interpolant)
    by_norm = made is CoefficientPreserving and "eta" not in settings
    if made.noise == "own" and not by_norm:
        if diffusion is not None:
            raise ValueError(f"integrator={integrator!r} decides its own noise; drop diffusion={diffusion!r}")
        transition = made(**settings)
        return EulerMaruyama(None, norm, interpolant) if kind == "ode" else transition
    if by_norm and norm > 1:
        raise ValueError(f"norm is {norm}; with integrator='cps' it is the eta, at most 1")
    if kind == "ode":
        diffusion = None
    elif diffusion is None and kind is None and stochastic_sampling:
        # The parent's: the clean prediction is noised anew, which is what keeps the level with all noise fresh.
        return CoefficientPreserving(eta=1.0)
    elif kind == "sde":
        diffusion = diffusion or DIFFUSIONS[0]
    if by_norm:
        return CoefficientPreserving(eta=0.0 if diffusion is None else norm)
    return made(diffusion=diffusion, norm=norm, interpolant=interpolant)
