"""What one step, or one round of a search, does."""

from . import interpolants, predictions, strategies
from .flow_sde import FlowSDEScheduler

# Saved under the package's name, which serves the class when a pipeline is loaded: `import samplesmith` suffices.
FlowSDEScheduler.__module__ = "samplesmith"

__all__ = ["FlowSDEScheduler", "interpolants", "predictions", "strategies"]
