"""Schedulers that step by a transition, in unmodified pipelines and by hand: flows and diffusion alike."""

import numpy as np
import pytest
import torch
import toys
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.samplers import DiffusionSDEScheduler, FlowSDEScheduler
from scheduler_runs import loop

TRANSITIONS = {
    "ddpm": 1,
    "precise:eta=0.7": 1,
    "cps:eta=0.7": 1,
    "glass:inner_steps=3": 3,
    "glass:inner_steps=2,rho=0.4": 2,
}
"""With the model calls of a step."""

PIPELINES = {"StableDiffusion3": FlowSDEScheduler, "Flux": FlowSDEScheduler, "StableDiffusion": DiffusionSDEScheduler}
STEPS = 3
transition_of = pytest.mark.parametrize("spec", TRANSITIONS)


@pytest.fixture(scope="module")
def pipes():
    made = {name: toys.build(name) for name in PIPELINES}
    for name, scheduler in PIPELINES.items():
        stock = made[name].scheduler
        made[name].make = lambda scheduler=scheduler, stock=stock, **one: scheduler.from_scheduler(stock, **one)
    return made


def run(pipe, name, rows=2, **extra):
    _, prompt, arguments = toys.TOYS[name]
    generators = [torch.Generator().manual_seed(k) for k in range(rows)]
    call = {**arguments, "num_inference_steps": STEPS, **extra}
    return pipe([prompt] * rows, generator=generators, output_type="latent", **call).images


@pytest.mark.parametrize("name", PIPELINES)
class TestPipelines:
    @transition_of
    def test_it_runs_repeats_and_calls_the_model_as_often_as_it_says(self, pipes, name, spec):
        """`num_inference_steps` steps, with guidance as the pipeline does it, and each row by its own noise."""
        pipe = pipes[name]
        pipe.scheduler = pipe.make(integrator=spec)
        calls = []
        network = getattr(pipe, "transformer", None) or pipe.unet
        handle = network.register_forward_hook(lambda *args: calls.append(1))
        seen = []
        first = run(pipe, name, callback_on_step_end=lambda pipe, i, t, given: seen.append(float(t)) or given)
        handle.remove()
        assert len(calls) == len(seen) == STEPS * TRANSITIONS[spec]
        assert seen == pipe.scheduler.timesteps.tolist()
        assert first.isfinite().all()
        assert torch.equal(run(pipe, name), first)
        assert not torch.allclose(first[0], first[1], atol=1e-3)
        torch.testing.assert_close(run(pipe, name, rows=1), first[:1], rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("spec", ["precise:eta=0", "cps:eta=0", "glass:rho=1,inner_steps=1"])
    def test_without_noise_it_is_the_stock_ode(self, pipes, name, spec):
        """Bit for bit with flows; up to rounding with DDIM."""
        pipe = pipes[name]
        pipe.scheduler = pipe.make(integrator=spec)
        stock = DDIMScheduler if name == "StableDiffusion" else FlowMatchEulerDiscreteScheduler
        found = run(pipe, name)
        pipe.scheduler = stock.from_config(pipe.scheduler.config)
        expected = run(pipe, name)
        if name == "StableDiffusion":
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        else:
            assert torch.equal(found, expected)

    @pytest.mark.parametrize("spec", ["precise:eta=0.7", "glass:inner_steps=2,rho=0.4"])
    def test_a_search_over_it_is_made_again_byte_for_byte(self, pipes, name, spec, tmp_path):
        pipe = pipes[name]
        pipe.scheduler = pipe.make(integrator=spec)
        _, prompt, arguments = toys.TOYS[name]
        common = {**arguments, "num_inference_steps": STEPS, "num_candidates": 3, "progress": False}
        results = [
            NoiseSearch(pipe, Brightness())(prompt, batch_size=2, output_dir=tmp_path / folder, **common)
            for folder in ("one", "other")
        ]
        files = [(tmp_path / folder / "records.jsonl").read_bytes() for folder in ("one", "other")]
        assert files[0] == files[1]
        assert np.array_equal(*(np.asarray(result.images[0]) for result in results))
        assert len({record["score"] for record in results[0].records}) == 3
        again = np.asarray(results[0].best[0].reproduce(pipe)).astype(int)
        assert np.abs(again - np.asarray(results[0].images[0])).max() <= 1

    def test_it_is_saved_with_its_transition(self, pipes, name, tmp_path):
        pipe = pipes[name]
        pipe.scheduler = pipe.make(integrator="glass:rho=0.4,inner_steps=2", seed=5)
        expected = run(pipe, name)
        pipe.scheduler.save_pretrained(tmp_path)
        loaded = type(pipe.scheduler).from_pretrained(tmp_path)
        assert loaded.config.integrator == "glass:rho=0.4,inner_steps=2"
        pipe.scheduler = loaded
        assert torch.equal(run(pipe, name), expected)


SCHEDULERS = {"flow": FlowSDEScheduler, "diffusion": lambda **one: DiffusionSDEScheduler(clip_sample=False, **one)}
made = pytest.mark.parametrize("kind", SCHEDULERS)


def model(x, t):
    return (0.2 + 0.6 * torch.as_tensor(t, dtype=torch.float32) / 1000) * x + 0.1 * torch.sin(3 * x)


@made
@pytest.mark.parametrize("spec", [*TRANSITIONS, "euler-maruyama:diffusion=natural,interpolant=vp", "heun"])
def test_what_steering_asks_for_is_the_step_itself(kind, spec):
    """From any sample of a run at any call, with a noise that is given, for rows at calls of their own; pure."""
    if kind == "flow" and spec.startswith("euler"):
        scheduler = FlowSDEScheduler(diffusion="natural", interpolant="vp")
    else:
        scheduler = SCHEDULERS[kind](integrator=spec)
    scheduler.set_timesteps(4)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 4, 4, generator=generator)
    seen = []
    for call, t in enumerate(scheduler.timesteps):
        z, kept = torch.randn(x.shape, generator=generator), scheduler._kept
        output = model(x, t)
        out = scheduler.step(output, t, x, noise=z)
        noisy = out.log_prob is not None
        seen.append((call, output, x, z if noisy else torch.zeros_like(z), kept, out.prev_sample))
        x = out.prev_sample
    calls = torch.tensor([one[0] for one in seen])
    outputs, samples, noises, nexts = (torch.cat([one[k] for one in seen]) for k in (1, 2, 3, 5))
    width = max(len(one[4]) for one in seen)
    kept = tuple(torch.cat([one[4][k] if one[4] else torch.zeros_like(x) for one in seen]) for k in range(width))
    before = scheduler.step_index if kind == "flow" else None
    predicted = scheduler.predict(outputs, samples, calls)
    stepped = scheduler.kernels.step(calls, samples, predicted.x0, predicted.eps, noises, kept)
    torch.testing.assert_close(stepped.sample, nexts, rtol=1e-5, atol=1e-6)
    assert kind != "flow" or scheduler.step_index == before


@made
@transition_of
def test_a_step_makes_no_host_sync(kind, spec):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Syncs(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.found += "_local_scalar_dense" in str(func)
            return func(*args, **(kwargs or {}))

    scheduler = SCHEDULERS[kind](integrator=spec)
    scheduler.set_timesteps(3)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with Syncs() as counted:
        for t in scheduler.timesteps:
            (x,) = scheduler.step(0.5 * x, t, x, return_dict=False)
    assert counted.found == 0


@made
@transition_of
def test_half_precision_keeps_its_dtype_and_rows_their_noise(kind, spec):
    scheduler = SCHEDULERS[kind](integrator=spec)
    ends = []
    for rows in (3, 1):
        x = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))[:rows].bfloat16()
        ends.append(loop(scheduler, x, lambda x, t: (0.5 * x.float()).to(x.dtype), num_inference_steps=3))
        assert ends[-1].dtype == torch.bfloat16
    assert torch.equal(ends[0][:1], ends[1])
