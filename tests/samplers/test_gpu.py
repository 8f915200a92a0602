"""What only a GPU can show: no synchronisation in a loop, bfloat16, offload. Skipped where there is none."""

import pytest
import torch
import toys
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.counting import denoisers
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, apply_per_sample_time

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

SCHEDULERS = {
    "shift ddim": lambda: TimeShiftScheduler.from_scheduler(DDIMScheduler(), window=60),
    "shift pndm": lambda: TimeShiftScheduler.from_scheduler(PNDMScheduler(skip_prk_steps=True), window=60),
    "shift dpmsolver++": lambda: TimeShiftScheduler.from_scheduler(DPMSolverMultistepScheduler(), window=60),
    "flow ode": lambda: FlowSDEScheduler(kind="ode"),
    "flow heun": lambda: FlowSDEScheduler(integrator="heun"),
    "flow sde": lambda: FlowSDEScheduler(diffusion="square"),
    "flow vp": lambda: FlowSDEScheduler(diffusion="natural", interpolant="vp"),
}


@pytest.fixture
def sync_is_an_error():
    """A function that arms it; disarmed at the end."""
    mode = torch.cuda.get_sync_debug_mode()
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_synchronisation_in_a_loop(name, dtype, sync_is_an_error):
    scheduler = SCHEDULERS[name]()
    scheduler.set_timesteps(8, device="cuda")
    scheduler.set_begin_index(0)
    generator = torch.Generator("cuda").manual_seed(0)
    x = torch.randn(4, 3, 8, 8, generator=generator, device="cuda", dtype=dtype)
    needs_noise = getattr(scheduler, "is_stochastic", False)
    extra = {"generator": generator} if needs_noise else {}
    sync_is_an_error()
    for t in scheduler.timesteps:
        x = scheduler.step(0.5 * x, t, x, return_dict=False, **extra)[0]
    torch.cuda.set_sync_debug_mode("default")
    assert x.isfinite().all()
    assert x.dtype == dtype


@pytest.mark.parametrize("name", ["StableDiffusion3", "Flux"])
def test_offload_and_bfloat16(name):
    pipe = toys.build(name).to(torch.bfloat16)
    pipe.scheduler = FlowSDEScheduler.from_scheduler(pipe.scheduler, diffusion="square")
    pipe.enable_model_cpu_offload()
    _, prompt, arguments = toys.TOYS[name]
    call = {**arguments, "num_inference_steps": 4, "output_type": "latent"}
    first, again = (pipe(prompt, generator=torch.Generator().manual_seed(0), **call).images for _ in range(2))
    assert first.isfinite().all()
    assert torch.equal(first, again)


def test_a_time_for_each_row_is_independent_of_the_batch():
    pipe = toys.build("StableDiffusion").to("cuda")
    pipe.scheduler = TimeShiftScheduler.from_scheduler(DDIMScheduler(), window=900, cutoff=1)
    apply_per_sample_time(pipe, pipe.scheduler)
    _, prompt, arguments = toys.TOYS["StableDiffusion"]
    call = {**arguments, "num_inference_steps": 4, "output_type": "latent"}
    runs = []
    for rows in (3, 1):
        generators = [torch.Generator().manual_seed(k) for k in range(rows)]
        runs.append(pipe(prompt, num_images_per_prompt=rows, generator=generators, **call).images[:1])
    assert torch.allclose(*runs, atol=1e-3)


@pytest.mark.parametrize("strategy", ["random", "halving:rungs=2,keep=0.5,threshold=0.5"])
@pytest.mark.parametrize("name", ["StableDiffusion3", "Flux true CFG", "ControlNet"])
def test_a_search_on_an_offloaded_pipeline_counts_and_chooses_alike(name, strategy):
    results = []
    for offloads in (False, True):
        pipe, (_, prompt, arguments) = toys.build(name), toys.TOYS[name]
        if offloads:
            pipe.enable_model_cpu_offload()
        else:
            pipe.to("cuda")
        call = {**arguments, "num_inference_steps": 4, "progress": False}
        results.append(NoiseSearch(pipe, Brightness(), strategy)(prompt, num_candidates=4, batch_size=2, **call))
        assert not any(network._diffusers_hook.hooks for network in denoisers(pipe))
    plain, offloaded = results
    assert offloaded.ledger.nfe == plain.ledger.nfe
    assert [r["score"] for r in offloaded.records] == pytest.approx([r["score"] for r in plain.records], abs=1e-3)
