import numpy as np
import pytest
import torch
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.flow_grids import time_grid
from samplesmith.samplers.interpolants import Linear, VariancePreserving


@pytest.mark.parametrize("name", ["vp", "log-snr"])
def test_a_grid_is_even_in_its_clock_and_honours_the_shift(name):
    times = time_grid(name, 12)
    assert times[0] == 1
    path = VariancePreserving()
    log_snr = Linear().log_snr(times[1:])
    clock = path.time_at(log_snr) if name == "vp" else log_snr
    assert torch.allclose(clock.diff(), clock.diff()[:1].expand(10), atol=1e-6)
    scheduler = FlowSDEScheduler(grid=name, use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 12, 12).tolist(), mu=0.8)  # as FLUX calls it
    shifted = np.exp(0.8) / (np.exp(0.8) + (1 / times.numpy() - 1))
    assert np.allclose(scheduler.sigmas[:-1].numpy(), shifted, atol=1e-6)
    assert time_grid(name, 1).tolist() == [1.0]
    with pytest.raises(ValueError, match="makes its own; drop one of them"):
        scheduler.set_timesteps(timesteps=[900.0, 500.0], mu=0.8)
