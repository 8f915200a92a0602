"""How a sample of a flow goes from one time to the next: one transition a file."""

from .base import Kept, LinearTransition, Transition
from .cps import CoefficientPreserving
from .euler_maruyama import EulerMaruyama
from .heun import Heun

TRANSITIONS: dict[str, type[Transition]] = {
    "euler-maruyama": EulerMaruyama,
    "cps": CoefficientPreserving,
    "heun": Heun,
}
"""By the names that `FlowSDEScheduler(integrator=...)` takes; a line gives another one its name."""

__all__ = [
    "TRANSITIONS",
    "CoefficientPreserving",
    "EulerMaruyama",
    "Heun",
    "Kept",
    "LinearTransition",
    "Transition",
]
