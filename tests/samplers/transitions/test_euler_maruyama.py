import itertools

import numpy as np
import pytest
import torch
from known_flow import SDES
from samplesmith.samplers.interpolants import Linear, NoiseRatio
from samplesmith.samplers.transitions import EulerMaruyama


def steps_of(settings, steps, start=1.0):
    """Time, a, b and std of each step, as numbers."""
    times = torch.linspace(start, 0, steps + 1, dtype=torch.float64)
    made = EulerMaruyama(**settings).along(times, Linear())
    return zip(*(column.tolist() for column in (times[:-1], made.a, made.b, made.std)), strict=True)


def propagate(settings, steps, mean, std, start=1.0):
    """Exact mean and variance of the final sample for data N(mean, std^2): every step is affine, so no Monte Carlo.

    x0 = E[x_0 | x_t] and eps = E[eps | x_t] are affine in x for a Gaussian.
    """
    m, v = (1 - start) * mean, (1 - start) ** 2 * std**2 + start**2
    for time, a, b, noise in steps_of(settings, steps, start):
        total = (1 - time) ** 2 * std**2 + time**2
        gain_x0, gain_eps = (1 - time) * std**2 / total, time / total
        slope = a * gain_x0 + b * gain_eps
        shift = a * mean - slope * (1 - time) * mean
        m, v = slope * m + shift, slope**2 * v + noise**2
    return m, v


@pytest.mark.parametrize("settings", SDES, ids=str)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.4), (-0.5, 2.0)])
def test_gaussian_marginals_within_two_percent_at_200_steps(settings, mean, std):
    m, v = propagate(settings, 200, mean, std)
    assert m == pytest.approx(mean, abs=0.02 * max(abs(mean), std))
    assert v == pytest.approx(std**2, rel=0.02)


@pytest.mark.parametrize("settings", SDES, ids=str)
def test_weak_error_falls_at_first_order(settings):
    """From t = 0.99: VP does not reach pure noise, and the little that is missing at t = 1 does not fall with steps."""
    errors = [abs(propagate(settings, steps, 1.5, 0.4, start=0.99)[1] - 0.16) for steps in (200, 400, 800, 1600)]
    orders = [np.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders[-1] >= 0.9, (errors, orders)


@pytest.mark.parametrize("settings", SDES, ids=str)
@pytest.mark.parametrize("dimension", [2, 64])
def test_gaussian_mean_and_covariance_propagate_exactly(settings, dimension):
    """As `propagate`, with a full covariance: the gains E[x0 | x] and E[eps | x] are matrices."""
    generator = torch.Generator().manual_seed(dimension)
    kind = {"generator": generator, "dtype": torch.float64}
    basis = torch.linalg.qr(torch.randn(dimension, dimension, **kind)).Q
    covariance = basis @ torch.diag(0.2 + 2 * torch.rand(dimension, **kind)) @ basis.T
    mean = torch.randn(dimension, **kind)
    eye = torch.eye(dimension, dtype=torch.float64)
    m, v = torch.zeros_like(mean), eye
    for time, a, b, noise in steps_of(settings, 200):
        precision = torch.linalg.inv((1 - time) ** 2 * covariance + time**2 * eye)
        slope = a * (1 - time) * covariance @ precision + b * time * precision
        m = slope @ (m - (1 - time) * mean) + a * mean
        v = slope @ v @ slope.T + noise**2 * eye
    assert torch.linalg.norm(m - mean) <= 0.02 * torch.linalg.norm(mean)
    assert torch.linalg.norm(v - covariance) <= 0.02 * torch.linalg.norm(covariance)


@pytest.mark.parametrize("settings", SDES, ids=str)
def test_it_steps_along_its_clock_wherever_samples_stand(settings):
    """On a diffusion's path as on a flow's: the same move, scaled."""
    times = torch.linspace(0.95, 0.05, 9, dtype=torch.float64)
    ratios, diffusion = times / (1 - times), NoiseRatio()
    flow, other = (EulerMaruyama(**settings).along(t, path) for t, path in ((times, Linear()), (ratios, diffusion)))
    scale = (diffusion.alpha(ratios) / (1 - times))[1:]
    for name in ("a", "b", "std"):
        torch.testing.assert_close(getattr(other, name), scale * getattr(flow, name), rtol=1e-9, atol=1e-12)
