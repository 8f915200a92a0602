import itertools

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
)
from hypothesis import given
from hypothesis import strategies as st
from samplesmith.samplers.interpolants import (
    Linear,
    NoiseRatio,
    Tabulated,
    VariancePreserving,
    change_path,
    from_scheduler,
)
from samplesmith.samplers.predictions import KINDS, Prediction, convert

PATHS = {
    "linear": Linear(),
    "vp": VariancePreserving(),
    "vp, other betas": VariancePreserving(0.5, 12.0),
    "ddim": from_scheduler(DDIMScheduler()),
    "euler": from_scheduler(EulerDiscreteScheduler()),
    "noise ratio": NoiseRatio(),
    "noise ratio, alpha 1": NoiseRatio(preserving=False),
}
times = st.floats(0.02, 0.98)


def time_on(path, share: float) -> torch.Tensor:
    last = len(path.table) - 1 if isinstance(path, Tabulated) else 1.0
    return torch.tensor(share * last, dtype=torch.float64)


@pytest.mark.parametrize("name", PATHS)
@given(share=times)
def test_log_snr_has_its_inverse(name, share):
    path = PATHS[name]
    t = time_on(path, share)
    assert path.time_at(path.log_snr(t)).item() == pytest.approx(t.item(), rel=1e-6)
    assert path.log_snr(t).item() == pytest.approx(2 * (path.alpha(t) / path.sigma(t)).log().item(), abs=1e-6)


@pytest.mark.parametrize("name", PATHS)
@given(share=times)
def test_derivatives_are_those_of_autograd(name, share):
    path = PATHS[name]
    for function, derivative in (
        (path.alpha, path.alpha_dot),
        (path.sigma, path.sigma_dot),
        (path.log_snr, path.log_snr_dot),
    ):
        t = time_on(path, share).floor() + 0.5 if isinstance(path, Tabulated) else time_on(path, share)
        step = 1e-5 if not isinstance(path, Tabulated) else 0.25
        difference = (function(t + step) - function(t - step)) / (2 * step)
        assert derivative(t).item() == pytest.approx(difference.item(), rel=2e-4, abs=1e-9)


@pytest.mark.parametrize("name", ["vp", "vp, other betas", "ddim"])
def test_variance_is_preserved(name):
    path = PATHS[name]
    for share in (0.01, 0.3, 0.9):
        t = time_on(path, share)
        assert (path.alpha(t) ** 2 + path.sigma(t) ** 2).item() == pytest.approx(1)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_conversions_are_exact_and_come_back(name, source, target):
    path = PATHS[name]
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(3, 2, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    t = torch.stack([time_on(path, share) for share in (0.1, 0.5, 0.9)])
    truth = Prediction(x0, eps)
    sample = path.alpha(t)[:, None, None] * x0 + path.sigma(t)[:, None, None] * eps
    there = convert(truth.write(source, path, t), source, target, sample, path, t)
    assert torch.allclose(there, truth.write(target, path, t), rtol=1e-6, atol=1e-8)
    read = Prediction.read(target, there, sample, path, t)
    assert torch.allclose(read.x0, x0, atol=1e-6)
    assert torch.allclose(read.eps, eps, atol=1e-6)


def test_the_linear_velocity_is_noise_minus_data_and_is_finite_at_both_ends():
    x0, eps = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).unbind()
    assert torch.equal(Prediction(x0, eps).write("flow_prediction", Linear(), torch.tensor(0.3)), eps - x0)
    for t, sample in ((0.0, x0), (1.0, eps)):
        read = Prediction.read("flow_prediction", eps - x0, sample, Linear(), torch.tensor(t))
        assert torch.allclose(read.x0, x0, atol=1e-6)
        assert torch.allclose(read.eps, eps, atol=1e-6)


def test_half_precision_is_computed_in_float32():
    t = torch.tensor([0.25, 0.5], dtype=torch.bfloat16)
    assert Linear().alpha(t).dtype == torch.float32
    x = torch.ones(2, 3, dtype=torch.bfloat16)
    assert Prediction.read("velocity", x, x, Linear(), t).x0.dtype == torch.float32


def test_from_scheduler_gives_the_schedulers_own_coefficients():
    for scheduler in (DDIMScheduler(), PNDMScheduler(), DPMSolverMultistepScheduler()):
        path = from_scheduler(scheduler)
        t = torch.tensor([0, 10, 500, 999])
        assert torch.allclose(path.alpha(t) ** 2, scheduler.alphas_cumprod[t], atol=1e-6)
    for scheduler in (EulerDiscreteScheduler(), HeunDiscreteScheduler()):
        scheduler.set_timesteps(10)
        path = from_scheduler(scheduler)
        sigmas = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
        assert torch.allclose(path.sigma(torch.tensor([10, 500, 999])), sigmas[[10, 500, 999]], rtol=1e-4)
        assert torch.equal(path.alpha(torch.tensor([10, 500])), torch.ones(2))
    assert isinstance(from_scheduler(FlowMatchEulerDiscreteScheduler(shift=3.0)), Linear)
    with pytest.raises(ValueError, match="its path is not known"):
        from_scheduler(type("Odd", (), {"config": {}})())


def test_samples_noised_by_a_scheduler_lie_on_its_path():
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 4, 3, generator=generator).unbind()
    scheduler = DDIMScheduler()
    t = torch.tensor([3, 100, 500, 900])
    path = from_scheduler(scheduler)
    expected = scheduler.add_noise(x0, eps, t)
    assert torch.allclose(path.alpha(t)[:, None] * x0 + path.sigma(t)[:, None] * eps, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_sigma_schedulers_read_the_same_x0(kind):
    scheduler = EulerDiscreteScheduler(prediction_type=kind)
    scheduler.set_timesteps(5)
    sample, output = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(2)).unbind()
    t = scheduler.timesteps[2]
    expected = scheduler.step(output, t, sample).pred_original_sample
    assert torch.allclose(Prediction.read(kind, output, sample, from_scheduler(scheduler), t).x0, expected, atol=1e-3)


@given(share=times)
def test_change_of_path_moves_a_sample_to_equal_snr(share):
    s = torch.tensor(share, dtype=torch.float64)
    source, target = Linear(), VariancePreserving()
    change = change_path(source, target, s)
    assert (change.scale * source.alpha(change.time)).item() == pytest.approx(target.alpha(s).item(), rel=1e-6)
    assert (change.scale * source.sigma(change.time)).item() == pytest.approx(target.sigma(s).item(), rel=1e-6)


@given(share=times)
def test_converted_velocity_is_the_target_paths_own(share):
    """x'_s = alpha' x0 + sigma' eps has the derivative alpha'' x0 + sigma'' eps, whatever x0 and eps are."""
    s = torch.tensor(share, dtype=torch.float64)
    source, target = Linear(), VariancePreserving()
    x0, eps = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind()
    pair, change = Prediction(x0, eps), change_path(source, target, s)
    sample = target.alpha(s) * x0 + target.sigma(s) * eps
    converted = change.velocity(sample, pair.write("velocity", source, change.time))
    assert torch.allclose(converted, pair.write("velocity", target, s), rtol=1e-5, atol=1e-6)


def test_ode_along_vp_and_along_linear_reach_the_same_x0():
    """An exact Gaussian: x0 ~ N(m, 0.3^2), so the velocity is known in closed form on both paths; Heun, 1,000 steps."""
    mean, std = 1.5, 0.3

    def linear_velocity(x, t):
        variance = (1 - t) ** 2 * std**2 + t**2
        x0 = mean + (1 - t) * std**2 / variance * (x - (1 - t) * mean)
        return (x - x0) / t

    linear, vp = Linear(), VariancePreserving()

    def vp_velocity(x, s):
        change = change_path(linear, vp, s)
        return change.velocity(x, linear_velocity(x / change.scale, change.time))

    def solve(velocity, x, start, end, steps=1000):
        grid = torch.linspace(start, end, steps + 1, dtype=torch.float64)
        for a, b in itertools.pairwise(grid):
            first = velocity(x, a)
            x = x + (b - a) / 2 * (first + velocity(x + (b - a) * first, b))
        return x

    s0, s1 = torch.tensor([0.9, 0.005], dtype=torch.float64)
    changes = [change_path(linear, vp, s) for s in (s0, s1)]
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    along_linear = solve(linear_velocity, start, changes[0].time.item(), changes[1].time.item())
    along_vp = solve(vp_velocity, changes[0].scale * start, s0.item(), s1.item()) / changes[1].scale
    assert torch.allclose(along_linear, along_vp, atol=1e-3)


@pytest.mark.parametrize("table", [[1.0, 1.0], [0.0, 1.0], [1.0], [float("inf"), 0.0]])
def test_a_table_that_does_not_fall_is_refused(table):
    with pytest.raises(ValueError, match="fall strictly"):
        Tabulated(torch.tensor(table))


def test_unknown_prediction():
    x = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="unknown prediction 'noise'; known: epsilon"):
        convert(x, "noise", "epsilon", x, Linear(), torch.tensor(0.5))
