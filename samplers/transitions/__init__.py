"""How a sample goes from one time of its path to the next: one transition a file."""

from ...named_settings import resolve
from .base import Kept, Kernels, LinearKernels, Stepped, Transition
from .cps import CoefficientPreserving
from .ddpm import Ddpm
from .euler_maruyama import EulerMaruyama
from .glass import Glass, GlassKernels
from .heun import Heun, HeunKernels
from .precise import Precise

TRANSITIONS: dict[str, type[Transition]] = {
    "euler-maruyama": EulerMaruyama,
    "heun": Heun,
    "ddpm": Ddpm,
    "precise": Precise,
    "cps": CoefficientPreserving,
    "glass": Glass,
}
"""By the names that schedulers take as `integrator`; a line gives another one its name."""


def transition(spec: str) -> Transition:
    """A transition by name, with its settings.

    Args:
        spec: such as "precise:eta=0.7" or "glass:rho=0.4,inner_steps=4".

    Raises:
        ValueError: for an unknown name or setting, or one out of its range.
    """
    kind, settings = resolve(spec, TRANSITIONS, "integrator")
    return kind(**settings)


__all__ = [
    "TRANSITIONS",
    "CoefficientPreserving",
    "Ddpm",
    "EulerMaruyama",
    "Glass",
    "GlassKernels",
    "Heun",
    "HeunKernels",
    "Kept",
    "Kernels",
    "LinearKernels",
    "Precise",
    "Stepped",
    "Transition",
    "transition",
]
