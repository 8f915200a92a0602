import copy

import pytest
import torch
import toys
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from known_flow import SDES, follow, mixture_velocity
from samplesmith.samplers import FlowSDEScheduler
from samplesmith.samplers.diffusions import DIFFUSIONS

CPS = {"diffusion": "square", "integrator": "cps", "norm": 0.5}


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


@pytest.mark.parametrize("diffusion", DIFFUSIONS)
@pytest.mark.parametrize("norm", [0.0, 5e-324])
def test_a_norm_of_nothing_is_the_ode(diffusion, norm):
    x = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    outs = []
    for scheduler in (FlowSDEScheduler(), FlowSDEScheduler(diffusion=diffusion, norm=norm)):
        scheduler.set_timesteps(4)
        outs.append(scheduler.step(0.5 * x, scheduler.timesteps[0], x))
    assert outs[1].std == 0
    assert torch.allclose(outs[0].prev_sample, outs[1].prev_sample, atol=1e-6)


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
