import copy
import itertools

import numpy as np
import pytest
import torch
import toys
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.flow_coefficients import (
    DIFFUSIONS,
    heun_coefficients,
    interleave,
    step_coefficients,
    time_grid,
)
from samplesmith.samplers.interpolants import Linear, VariancePreserving

SDES = [
    {"diffusion": diffusion, "interpolant": interpolant, "norm": 1.0}
    for diffusion in DIFFUSIONS
    for interpolant in ("linear", "vp")
] + [{"diffusion": "square", "norm": 3.0}]
CPS = {"diffusion": "square", "integrator": "cps", "norm": 0.5}


def grid(steps, start=1.0):
    times = torch.linspace(start, 0, steps + 1, dtype=torch.float64)
    return times[:-1], times[1:]


def propagate(settings, steps, mean, std, start=1.0):
    """Exact mean and variance of the final sample for data N(mean, std^2): every step is affine, so no Monte Carlo.

    x0 = E[x_0 | x_t] and eps = E[eps | x_t] are affine in x for a Gaussian.
    """
    path = Linear() if settings.get("interpolant", "linear") == "linear" else VariancePreserving()
    t, t_next = grid(steps, start)
    rows = step_coefficients(t, t_next, path, settings["diffusion"], settings["norm"])
    m, v = (1 - start) * mean, (1 - start) ** 2 * std**2 + start**2
    for time, a, b, noise in zip(t.tolist(), *(row.tolist() for row in rows), strict=True):
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
    path = Linear() if settings.get("interpolant", "linear") == "linear" else VariancePreserving()
    t, t_next = grid(200)
    m, v = torch.zeros_like(mean), eye
    rows = step_coefficients(t, t_next, path, settings["diffusion"], settings["norm"])
    for time, a, b, noise in zip(t.tolist(), *(row.tolist() for row in rows), strict=True):
        precision = torch.linalg.inv((1 - time) ** 2 * covariance + time**2 * eye)
        slope = a * (1 - time) * covariance @ precision + b * time * precision
        m = slope @ (m - (1 - time) * mean) + a * mean
        v = slope @ v @ slope.T + noise**2 * eye
    assert torch.linalg.norm(m - mean) <= 0.02 * torch.linalg.norm(mean)
    assert torch.linalg.norm(v - covariance) <= 0.02 * torch.linalg.norm(covariance)


def heun(interpolant, steps, mean, std, start):
    """Exact mean and variance of Heun's final sample for data N(mean, std^2): its map is affine, so two points tell."""
    path = Linear() if interpolant == "linear" else VariancePreserving()
    times = torch.cat([interleave(torch.linspace(start, 0, steps + 1, dtype=torch.float64)[:-1]), torch.zeros(1)])
    euler = torch.stack(step_coefficients(times[:-1], times[1:], path, None, 1.0), 1).tolist()
    second = torch.stack(heun_coefficients(times, path), 1).tolist()
    ends = []
    for x in (0.0, 1.0):
        for k, time in enumerate(times[:-1].tolist()):
            total = (1 - time) ** 2 * std**2 + time**2
            x0 = mean + (1 - time) * std**2 / total * (x - (1 - time) * mean)
            eps = time / total * (x - (1 - time) * mean)
            slope = second[k][0] * x0 + second[k][1] * eps
            if k % 2 == 0:
                first, x = slope, euler[k][0] * x0 + euler[k][1] * eps
            else:
                x += second[k][2] * (slope - first)
        ends.append(x)
    gain = ends[1] - ends[0]
    m, v = (1 - start) * mean, (1 - start) ** 2 * std**2 + start**2
    return ends[0] + gain * m, gain**2 * v


@pytest.mark.parametrize("interpolant", ["linear", "vp"])
def test_heuns_weak_error_falls_at_second_order(interpolant):
    errors = []
    for steps in (100, 200, 400, 800):
        m, v = heun(interpolant, steps, 1.5, 0.4, start=0.99)
        errors.append(abs(m - 1.5) + abs(v - 0.16))
    orders = [np.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders[-1] >= 1.8, (errors, orders)


def test_cps_keeps_the_noise_level():
    t, t_next = grid(10)
    a, b, std = step_coefficients(t, t_next, Linear(), "square", 0.5, "cps")
    assert torch.allclose(a, 1 - t_next)
    assert torch.allclose(b**2 + std**2, t_next**2)
    assert torch.allclose(std, t_next * np.sin(np.pi / 4))


def mixture_velocity(x, t):
    """Exact velocity for three components in D dimensions, of deviation 0.3; x (batch, D), t a float."""
    centers = torch.tensor([-2.0, 0.5, 2.0])
    weights = torch.tensor([0.3, 0.5, 0.2])
    variance = (1 - t) ** 2 * 0.3**2 + t**2
    offset = x[:, :, None] - (1 - t) * centers
    posterior = torch.softmax(weights.log() - offset.square().sum(1, keepdim=True) / (2 * variance), -1)
    x0 = (posterior * (centers + (1 - t) * 0.3**2 / variance * offset)).sum(-1)
    return (x - x0) / t


@pytest.mark.parametrize("dimension", [2, 64])
@pytest.mark.parametrize("settings", [s for s in SDES if s["norm"] == 1.0], ids=str)
def test_mixture_mean_and_variance_through_the_scheduler(settings, dimension):
    """20,000 samples at 200 steps; bounds are 2 % and four standard errors of the sampling."""
    scheduler = FlowSDEScheduler(**settings)
    scheduler.set_timesteps(200)
    generator = torch.Generator().manual_seed(0)
    rows = 20_000 if dimension == 2 else 6_000
    x = torch.randn(rows, dimension, generator=generator)
    for t in scheduler.timesteps:
        velocity = mixture_velocity(x, float(t) / 1000)
        (x,) = scheduler.step(velocity, t, x, generator=generator, return_dict=False)
    mean, second = 0.3 * -2 + 0.5 * 0.5 + 0.2 * 2, 0.3 * 4 + 0.5 * 0.25 + 0.2 * 4 + 0.09
    variance = second - mean**2
    along = x.mean(1)  # the components differ along the diagonal: every coordinate has this mean
    error = 4 * (variance / rows) ** 0.5
    assert along.mean().item() == pytest.approx(mean, abs=0.02 * variance**0.5 + error)
    assert x[:, 0].var().item() == pytest.approx(variance, rel=0.02 + 4 * (2 / rows) ** 0.5)


def test_ode_is_the_parent_bit_for_bit():
    for extra in ({}, {"shift": 3.0}, {"use_dynamic_shifting": True}, {"use_karras_sigmas": True}):
        parent = FlowMatchEulerDiscreteScheduler(**extra)
        ours = FlowSDEScheduler.from_config(parent.config)
        mu = {"mu": 0.8} if "use_dynamic_shifting" in extra else {}
        parent.set_timesteps(7, **mu)
        ours.set_timesteps(7, **mu)
        for dtype in (torch.float32, torch.bfloat16):
            a, b = copy.deepcopy(parent), copy.deepcopy(ours)
            x = y = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
            for t in a.timesteps:
                (x,) = a.step(x * 0.5, t, x, return_dict=False)
                y = b.step(y * 0.5, t, y).prev_sample
                assert torch.equal(x, y)


def follow(scheduler, x, **times):
    scheduler.set_timesteps(**times)
    for t in scheduler.timesteps:
        (x,) = scheduler.step(mixture_velocity(x, float(t) / 1000), t, x, return_dict=False)
    return x


def test_both_paths_lead_to_the_same_data():
    """At 1,000 steps, from a time that both paths reach."""
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(1))
    sigmas = torch.linspace(0.99, 0.001, 1000).tolist()
    for integrator, bound in (("euler-maruyama", 5e-3), ("heun", 1e-3)):
        ends = [
            follow(FlowSDEScheduler(integrator=integrator, interpolant=path), x, sigmas=sigmas)
            for path in ("linear", "vp")
        ]
        assert (ends[0] - ends[1]).abs().quantile(0.99) < bound


def test_heun_agrees_with_diffusers():
    theirs = FlowMatchHeunDiscreteScheduler()
    theirs.set_timesteps(7)
    x = y = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    ours = FlowSDEScheduler(integrator="heun")
    ours.set_timesteps(7)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    for t in theirs.timesteps:
        (x,) = theirs.step(mixture_velocity(x, float(t) / 1000), t, x, return_dict=False)
        (y,) = ours.step(mixture_velocity(y, float(t) / 1000), t, y, return_dict=False)
    assert torch.allclose(x, y, atol=1e-4)


def test_heun_beats_euler_at_equal_model_calls():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(2))
    truth = follow(FlowSDEScheduler(integrator="heun"), x, num_inference_steps=500)
    errors = [
        (follow(FlowSDEScheduler(**settings), x, num_inference_steps=steps) - truth).abs().mean().item()
        for settings, steps in (({}, 39), ({"integrator": "heun"}, 20))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_a_heun_run_begins_at_a_whole_step():
    scheduler = FlowSDEScheduler(integrator="heun")
    scheduler.set_timesteps(4)
    scheduler.set_begin_index(3)
    x = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="step 3 is the second half of a Heun step"):
        scheduler.step(x, scheduler.timesteps[3], x)


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


@pytest.mark.parametrize("settings", [{}, {"diffusion": "square"}, {"diffusion": "natural", "interpolant": "vp"}, CPS])
def test_the_step_traces_with_given_noise(settings):
    """In few graphs for many steps."""
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter = CompileCounter()
    scheduler = FlowSDEScheduler(**settings)
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    runs = []
    for function in (scheduler.step, torch.compile(scheduler.step, fullgraph=True, backend=counter)):
        scheduler.set_timesteps(12)
        scheduler.set_begin_index(0)
        y = x
        for t in scheduler.timesteps:
            (y,) = function(0.5 * y, t, y, return_dict=False, noise=x)
        runs.append(y)
    assert torch.allclose(*runs, atol=1e-6)
    assert counter.frame_count <= 4


@pytest.mark.parametrize("name", ["StableDiffusion3", "Flux"])
class TestPipelines:
    def run(self, pipe, name, rows=2, **extra):
        _, prompt, arguments = toys.TOYS[name]
        generators = [torch.Generator().manual_seed(k) for k in range(rows)]
        call = {**arguments, "num_inference_steps": 4, **extra}
        return pipe(prompt, num_images_per_prompt=rows, generator=generators, output_type="latent", **call).images

    def test_ode_equals_the_stock_run(self, name):
        pipe = toys.build(name)
        expected = self.run(pipe, name)
        pipe.scheduler = FlowSDEScheduler.from_scheduler(pipe.scheduler, kind="ode")
        assert torch.equal(self.run(pipe, name), expected)

    @pytest.mark.parametrize("grid", [None, "vp", "log-snr"])
    def test_heun_calls_the_model_twice_a_step_but_the_last(self, name, grid):
        pipe = toys.build(name)
        pipe.scheduler = FlowSDEScheduler.from_scheduler(pipe.scheduler, integrator="heun", grid=grid)
        calls = []
        pipe.transformer.register_forward_hook(lambda *args: calls.append(1))
        assert self.run(pipe, name).isfinite().all()
        assert len(calls) == 7

    @pytest.mark.parametrize("settings", [*SDES, CPS], ids=str)
    def test_sde_runs_repeats_and_depends_on_its_seed(self, name, settings):
        pipe = toys.build(name)
        plain = self.run(pipe, name)
        pipe.scheduler = FlowSDEScheduler.from_scheduler(pipe.scheduler, **settings)
        first, again = self.run(pipe, name), self.run(pipe, name)
        assert first.isfinite().all()
        assert torch.equal(first, again)
        assert not torch.allclose(first, plain, atol=1e-3)
        pipe.scheduler = FlowSDEScheduler.from_scheduler(pipe.scheduler, **settings, seed=50)
        assert not torch.allclose(self.run(pipe, name), first, atol=1e-3)

    def test_a_row_does_not_depend_on_its_batch(self, name):
        pipe = toys.build(name)
        pipe.scheduler = FlowSDEScheduler.from_scheduler(pipe.scheduler, diffusion="linear")
        assert torch.allclose(self.run(pipe, name, rows=3)[:1], self.run(pipe, name, rows=1), atol=1e-4)

    def test_save_and_load(self, name, tmp_path):
        pipe = toys.build(name)
        pipe.scheduler = FlowSDEScheduler.from_scheduler(pipe.scheduler, diffusion="natural", norm=0.7, seed=3)
        expected = self.run(pipe, name)
        pipe.save_pretrained(tmp_path)
        assert '"samplesmith"' in (tmp_path / "model_index.json").read_text()
        nulls = {"text_encoder_3": None, "tokenizer_3": None} if name == "StableDiffusion3" else {}
        with torch.random.fork_rng():
            loaded = DiffusionPipeline.from_pretrained(tmp_path, **nulls)
        loaded.set_progress_bar_config(disable=True)
        assert type(loaded.scheduler) is FlowSDEScheduler
        assert torch.equal(self.run(loaded, name), expected)


class TestStep:
    @pytest.fixture
    def scheduler(self):
        scheduler = FlowSDEScheduler(diffusion="linear", norm=1.0, shift=2.0)
        scheduler.set_timesteps(6)
        return scheduler

    def tensors(self, *shape):
        return torch.randn(2, *shape, generator=torch.Generator().manual_seed(4)).unbind()

    def test_extras(self, scheduler):
        velocity, x = self.tensors(3, 4, 5)
        t = scheduler.timesteps[0]
        out = scheduler.step(velocity, t, x)
        assert torch.allclose(out.pred_original_sample, x - scheduler.sigmas[0] * velocity)
        assert out.prev_sample.shape == out.prev_sample_mean.shape == x.shape
        expected = (
            torch.distributions.Normal(out.prev_sample_mean, out.std).log_prob(out.prev_sample).flatten(1).mean(1)
        )
        assert torch.allclose(out.log_prob, expected, atol=1e-5)

    def test_log_prob_of_a_given_step_with_a_time_per_row(self, scheduler):
        velocity, x = self.tensors(3, 4, 5)
        order = [2, 0, 4]
        outs = []
        for row, k in enumerate(order):
            one = copy.deepcopy(scheduler)
            one.set_begin_index(k)
            outs.append(one.step(velocity[row : row + 1], scheduler.timesteps[k], x[row : row + 1]))
        previous = torch.cat([out.prev_sample for out in outs])
        velocity = velocity.requires_grad_()
        density = scheduler.log_prob(velocity, scheduler.timesteps[order], x, previous)
        assert torch.allclose(density, torch.cat([out.log_prob for out in outs]), atol=1e-5)
        density.sum().backward()
        assert velocity.grad.abs().sum() > 0
        assert scheduler.step_index is None

    def test_the_last_step_returns_the_clean_prediction(self, scheduler):
        velocity, x = self.tensors(3, 4)
        scheduler.set_begin_index(5)
        out = scheduler.step(velocity, scheduler.timesteps[5], x)
        assert torch.allclose(out.prev_sample, out.pred_original_sample, atol=1e-6)
        assert out.log_prob is None
        assert scheduler.log_prob(velocity, scheduler.timesteps[5], x, x).isnan().all()

    def test_the_ode_has_no_density(self):
        scheduler = FlowSDEScheduler()
        scheduler.set_timesteps(3)
        velocity, x = self.tensors(1, 4)
        assert scheduler.step(velocity, scheduler.timesteps[0], x).log_prob is None
        assert scheduler.log_prob(velocity, scheduler.timesteps[0], x, x) is None

    def test_given_generators_start_each_run_from_the_same_state(self, scheduler):
        velocity, x = self.tensors(2, 4)
        scheduler.set_generators([torch.Generator().manual_seed(k) for k in (7, 9)])
        results = []
        for _ in range(2):
            scheduler.set_timesteps(6)
            results.append(scheduler.step(velocity, scheduler.timesteps[0], x).prev_sample)
        assert torch.equal(*results)
        with pytest.raises(ValueError, match="2 generators but 3 rows"):
            scheduler.step(torch.zeros(3, 4), scheduler.timesteps[1], torch.zeros(3, 4))

    def test_step_makes_no_host_sync(self):
        from torch.utils._python_dispatch import TorchDispatchMode

        class Syncs(TorchDispatchMode):
            found = 0

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                self.found += "_local_scalar_dense" in str(func)
                return func(*args, **(kwargs or {}))

        for settings in ({}, {"diffusion": "square", "interpolant": "vp"}, {"integrator": "heun"}):
            scheduler = FlowSDEScheduler(**settings)
            scheduler.set_timesteps(5)
            velocity, x = self.tensors(2, 4)
            with Syncs() as counted:
                for t in scheduler.timesteps:
                    (x,) = scheduler.step(velocity, t, x, return_dict=False)
            assert counted.found == 0
            assert scheduler.step_index == len(scheduler.timesteps)

    def test_half_precision_keeps_its_dtype(self, scheduler):
        velocity, x = (tensor.bfloat16() for tensor in self.tensors(2, 4))
        assert scheduler.step(velocity, scheduler.timesteps[0], x).prev_sample.dtype == torch.bfloat16


def test_image_to_image_noise_is_the_parents():
    scheduler = FlowSDEScheduler(diffusion="linear")
    scheduler.set_timesteps(5)
    x0, noise = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0)).unbind()
    sigma = scheduler.sigmas[2]
    assert torch.allclose(scheduler.scale_noise(x0, scheduler.timesteps[2:3], noise), (1 - sigma) * x0 + sigma * noise)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diffusion": "cubic"}, "unknown diffusion 'cubic'; known: None, square"),
        ({"interpolant": "cosine"}, "unknown interpolant"),
        ({"integrator": "rk4"}, "unknown integrator"),
        ({"integrator": "heun", "diffusion": "square"}, "is for the ODE; drop the diffusion"),
        ({"integrator": "heun", "kind": "sde"}, "is for the ODE; drop the diffusion"),
        ({"grid": "cosine"}, "unknown grid 'cosine'; known: None, vp, log-snr"),
        ({"norm": -1.0}, "norm is -1.0"),
        ({"integrator": "cps", "norm": 1.5}, "at most 1"),
        ({"invert_sigmas": True}, "runs time backwards"),
    ],
)
def test_bad_settings_are_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        FlowSDEScheduler(**settings)


def test_no_steps_and_no_flow_are_one_sentence():
    from diffusers import DDIMScheduler

    with pytest.raises(ValueError, match="num_inference_steps is 0; give at least 1"):
        FlowSDEScheduler().set_timesteps(0)
    with pytest.raises(ValueError, match="DDIMScheduler is no flow-matching scheduler"):
        FlowSDEScheduler.from_scheduler(DDIMScheduler())
