import numpy as np
import torch
from samplesmith.samplers.interpolants import Linear
from samplesmith.samplers.transitions import CoefficientPreserving


def test_cps_keeps_the_noise_level():
    times = torch.linspace(1, 0, 11, dtype=torch.float64)
    made, t_next = CoefficientPreserving.along(times, Linear(), "square", 0.5), times[1:]
    assert torch.allclose(made.a, 1 - t_next)
    assert torch.allclose(made.b**2 + made.std**2, t_next**2)
    assert torch.allclose(made.std, t_next * np.sin(np.pi / 4))
