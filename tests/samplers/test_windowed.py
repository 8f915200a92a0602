import copy

import numpy as np
import pytest
import scheduler_runs
import torch
import toys
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionXLImg2ImgPipeline,
    UniPCMultistepScheduler,
)
from diffusers.utils import is_scipy_available
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler
from samplesmith.samplers.noise import stream_seed

STEPS, ROWS = 7, 3
DIFFUSION = {
    "ddim": DDIMScheduler(),
    "pndm": PNDMScheduler(skip_prk_steps=True),
    "pndm with its Runge-Kutta start": PNDMScheduler(),
    "ddpm": DDPMScheduler(),
    "euler": EulerDiscreteScheduler(),
    "euler ancestral": EulerAncestralDiscreteScheduler(),
    "dpm++": DPMSolverMultistepScheduler(),
    "unipc": UniPCMultistepScheduler(),
    "heun": HeunDiscreteScheduler(),
    "shift": TimeShiftScheduler.from_scheduler(DDIMScheduler(), window=80, cutoff=100),
    "shift of dpm++": TimeShiftScheduler.from_scheduler(DPMSolverMultistepScheduler(), window=80, cutoff=100),
}
if is_scipy_available():  # LMS integrates by it
    DIFFUSION["lms"] = LMSDiscreteScheduler()
FLOW = {
    "flow-euler": lambda base: base,
    "flow-heun": lambda base: FlowMatchHeunDiscreteScheduler(shift=3.0),
    "ode": lambda base: FlowSDEScheduler.from_scheduler(base, kind="ode"),
    "sde": lambda base: FlowSDEScheduler.from_scheduler(base, diffusion="square", norm=2.0),
    "vp sde": lambda base: FlowSDEScheduler.from_scheduler(base, diffusion="natural", interpolant="vp"),
    "sde by heun": lambda base: FlowSDEScheduler.from_scheduler(base, integrator="heun"),
    "glass": lambda base: FlowSDEScheduler.from_scheduler(base, integrator="glass:inner_steps=3"),
    "shift": lambda base: TimeShiftScheduler.from_scheduler(base, window=200, cutoff=50),
}
EXTRA = {"StableDiffusion3": {"max_sequence_length": 4}, "Flux": {"max_sequence_length": 8}}


@pytest.fixture(scope="module")
def pipes():
    made = {name: toys.build(name) for name in ("StableDiffusion", "StableDiffusionXL", "StableDiffusion3", "Flux")}
    made["StableDiffusion3"].scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return made


def generators(rows=range(ROWS)):
    return [torch.Generator().manual_seed(10 + row) for row in rows]


def call(pipe, draws, latents=None, **settings):
    """Latents of a run of three rows, or of as many as there are generators."""
    settings = {"num_inference_steps": STEPS, "height": 32, "width": 32, **EXTRA.get(type(pipe).__name__[:-8], {})} | (
        settings
    )
    return pipe([toys.PROMPT] * len(draws), generator=draws, latents=latents, output_type="latent", **settings).images


def whole_run(pipe, scheduler, **settings):
    pipe.scheduler = scheduler
    return call(pipe, generators(), **settings)


def cut_run(pipe, scheduler, cuts, keep=None, **settings):
    """The run in windows; `keep`: the rows that go on after the first of them."""
    windowed = pipe.scheduler = WindowedScheduler.from_scheduler(scheduler)
    draws, latents = generators(), None
    for start, stop in zip([0, *cuts], [*cuts, None], strict=True):
        windowed.set_window(start, stop)
        latents = call(pipe, draws, latents, **settings)
        if start == 0 and keep is not None:
            windowed.keep_rows(keep)
            latents, draws = latents[keep], [draws[row] for row in keep]
    return latents


@pytest.mark.parametrize("name", DIFFUSION)
@pytest.mark.parametrize("cuts", [(1,), (3,), (6,), (2, 3, 5)])
def test_diffusion_cut_anywhere_is_the_plain_run_bit_for_bit(pipes, name, cuts):
    pipe = pipes["StableDiffusion"]
    whole = whole_run(pipe, DIFFUSION[name])
    assert whole.isfinite().all()
    assert torch.equal(cut_run(pipe, DIFFUSION[name], cuts), whole)


def test_cut_within_the_history_of_a_multistep_solver_matters(pipes):
    """What the windows carry over: without it another image comes out."""
    pipe, scheduler = pipes["StableDiffusion"], DIFFUSION["dpm++"]
    whole = whole_run(pipe, scheduler)
    windowed = pipe.scheduler = WindowedScheduler.from_scheduler(scheduler, stop=3)
    latents = call(pipe, generators())
    windowed.set_window(3)
    windowed.child.model_outputs = [None, None]
    windowed.child.lower_order_nums = 0
    assert not torch.allclose(call(pipe, generators(), latents), whole, rtol=1e-3)


def test_eta_and_generators_reach_the_child(pipes):
    pipe = pipes["StableDiffusion"]
    whole = whole_run(pipe, DDIMScheduler(), eta=1.0)
    assert not torch.equal(whole, whole_run(pipe, DDIMScheduler()))
    assert torch.equal(cut_run(pipe, DDIMScheduler(), (3,), eta=1.0), whole)


@pytest.mark.parametrize("name", ["ddim", "euler", "dpm++", "heun"])
def test_sdxl(pipes, name):
    pipe = pipes["StableDiffusionXL"]
    whole = whole_run(pipe, DIFFUSION[name])
    for cut in (1, 4):
        assert torch.equal(cut_run(pipe, DIFFUSION[name], (cut,)), whole)


@pytest.mark.parametrize("model", ["StableDiffusion3", "Flux"])
@pytest.mark.parametrize("name", FLOW)
def test_flow_cut_anywhere_is_the_plain_run_bit_for_bit(pipes, model, name):
    pipe = pipes[model]
    if model == "Flux" and "heun" in name:
        pytest.skip("FluxPipeline itself passes sigmas, which diffusers' Heun does not take, and counts calls as steps")
    base = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=model == "Flux")
    scheduler = FLOW[name](base)
    whole = whole_run(pipe, scheduler)
    assert whole.isfinite().all()
    for cuts in ((1,), (4,), (2, 5)):
        assert torch.equal(cut_run(pipe, scheduler, cuts), whole)


@pytest.mark.parametrize("name", [*DIFFUSION, *FLOW])
def test_rows_go_on_alone_as_they_would_in_the_whole_batch(pipes, name):
    """But for what a batch of another size rounds, and for time shift, whose rows share the time."""
    keep = [2, 0]
    if name in DIFFUSION:
        pipe, scheduler = pipes["StableDiffusion"], DIFFUSION[name]
    else:
        pipe, scheduler = pipes["StableDiffusion3"], FLOW[name](FlowMatchEulerDiscreteScheduler(shift=3.0))
    whole = whole_run(pipe, scheduler)[keep]
    some = cut_run(pipe, scheduler, (3, 5), keep)
    assert some.shape == whole.shape
    if "shift" in name:
        assert some.isfinite().all()
    else:
        assert torch.allclose(some, whole, atol=2e-5 * float(whole.abs().max()))
    # The order of the rows matters: were the history not indexed, or indexed otherwise, this would not hold.
    assert not torch.allclose(some, whole.flip(0), atol=1e-2 * float(whole.abs().max()))


@pytest.mark.parametrize("name", [name for name in (*DIFFUSION, *FLOW) if "shift" not in name])
def test_rows_of_several_batches_go_on_together(pipes, name):
    """Rows 2 and 0 of a batch and row 1 of another, as in one batch; both batches can still go on themselves."""
    if name in DIFFUSION:
        pipe, scheduler = pipes["StableDiffusion"], DIFFUSION[name]
    else:
        pipe, scheduler = pipes["StableDiffusion3"], FLOW[name](FlowMatchEulerDiscreteScheduler(shift=3.0))
    order = [2, 1, 0]
    whole = whole_run(pipe, scheduler)
    batches = []
    for rows in ([0, 2], [1]):
        windowed = pipe.scheduler = WindowedScheduler.from_scheduler(scheduler, stop=3)
        if hasattr(windowed.child, "set_generators"):  # as the rows of the whole batch have them
            windowed.set_generators([torch.Generator().manual_seed(stream_seed(row)) for row in rows])
        draws = generators(rows)
        batches.append((windowed, draws, call(pipe, draws)))
    (one, one_draws, one_latents), (other, other_draws, other_latents) = batches
    pipe.scheduler = WindowedScheduler.joined([(one, [1]), (other, [0])])
    pipe.scheduler = WindowedScheduler.joined([(pipe.scheduler, [0, 1]), (one, [0])])
    pipe.scheduler.set_window(3)
    latents = torch.cat([one_latents[1:], other_latents, one_latents[:1]])
    draws = [copy.deepcopy(draw) for draw in (one_draws[1], other_draws[0], one_draws[0])]
    # What a batch of another size rounds; the early predictions, which DDIM clips to 1, enlarge it.
    tolerance = max(2e-5 * float(whole.abs().max()), 5e-4)
    assert torch.allclose(call(pipe, draws, latents), whole[order], atol=tolerance)
    for windowed, draws, latents, rows in (
        (one, one_draws, one_latents, [0, 2]),
        (other, other_draws, other_latents, [1]),
    ):
        pipe.scheduler = windowed
        windowed.set_window(3)
        assert torch.allclose(call(pipe, draws, latents), whole[rows], atol=tolerance)


def loop(scheduler, x, **times):
    return scheduler_runs.loop(
        scheduler, x, lambda x, t: x * (t / (t + 1000)), torch.Generator().manual_seed(1), scales=False, **times
    )


def start(rows=ROWS):
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_first_latents_are_scaled_and_resumed_ones_are_not():
    scheduler = WindowedScheduler.from_scheduler(EulerDiscreteScheduler(), stop=3)
    stock = EulerDiscreteScheduler()
    for one in (scheduler, stock):
        one.set_timesteps(STEPS)
    assert scheduler.init_noise_sigma == stock.init_noise_sigma
    scheduler.set_window(3)
    assert scheduler.init_noise_sigma == 1.0
    assert WindowedScheduler.from_scheduler(FlowMatchEulerDiscreteScheduler()).init_noise_sigma == 1.0


def test_sigmas_by_the_number_of_the_step_are_the_windows():
    """As pipelines read them; at the end is the run's, which Cosmos 2 writes to."""
    scheduler, stock = WindowedScheduler.from_scheduler(HeunDiscreteScheduler()), HeunDiscreteScheduler()
    for one in (scheduler, stock):
        one.set_timesteps(STEPS)
    scheduler.set_window(3, 5)
    assert torch.equal(scheduler.sigmas, stock.sigmas[6:])
    assert torch.equal(scheduler.timesteps, stock.timesteps[6:10])
    scheduler.sigmas[-1] = scheduler.sigmas[-2]
    assert scheduler.child.sigmas[-1] == stock.sigmas[-2]


@pytest.mark.parametrize("times", [{"timesteps": [900, 700, 400, 100]}, {"sigmas": [9.0, 4.0, 1.0, 0.2]}])
def test_own_times_are_passed_on(times):
    whole = loop(EulerDiscreteScheduler(), start(), **times)
    scheduler = WindowedScheduler.from_scheduler(EulerDiscreteScheduler(), stop=2)
    x = loop(scheduler, start(), **times)
    scheduler.set_window(2)
    assert torch.equal(loop(scheduler, x, **times), whole)


def test_a_new_run_begins_anew():
    scheduler = WindowedScheduler.from_scheduler(DPMSolverMultistepScheduler(), stop=5)
    first = loop(scheduler, start(), num_inference_steps=STEPS)
    scheduler.keep_rows([0])
    assert torch.equal(loop(scheduler, start(), num_inference_steps=STEPS), first)


def test_image_to_image_ends_early_and_is_not_resumed():
    base = toys.build("StableDiffusionXL")
    parts = {key: value for key, value in base.components.items() if value is not None}
    pipe = StableDiffusionXLImg2ImgPipeline(**parts, requires_aesthetics_score=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler()
    arguments = {"image": toys.picture(), "strength": 0.6, "num_inference_steps": 6, "output_type": "latent"}

    def run():
        return pipe(toys.PROMPT, generator=torch.Generator().manual_seed(0), **arguments).images

    whole = run()
    windowed = pipe.scheduler = WindowedScheduler.from_scheduler(pipe.scheduler)
    assert torch.equal(run(), whole)
    windowed.set_window(0, 5)
    assert not torch.equal(run(), whole)
    windowed.set_window(5)
    with pytest.raises(ValueError, match="only runs from noise can be resumed"):
        run()


CHILDREN = [*DIFFUSION.values(), *(make(FlowMatchEulerDiscreteScheduler(shift=2.0)) for make in FLOW.values())]


@pytest.mark.parametrize("child", CHILDREN, ids=[*DIFFUSION, *(f"flow {name}" for name in FLOW)])
def test_save_and_load(child, tmp_path):
    scheduler = WindowedScheduler.from_scheduler(child, stop=4)
    scheduler.save_pretrained(tmp_path)
    loaded = WindowedScheduler.from_pretrained(tmp_path)
    assert type(loaded.child) is type(scheduler.child)
    assert (loaded.config.start, loaded.config.stop) == (0, 4)
    hidden = {key: value for key, value in child.config.items() if not key.startswith("_")}
    assert {key: loaded.child.config[key] for key in hidden} == hidden
    assert torch.equal(
        loop(loaded, start(), num_inference_steps=STEPS), loop(scheduler, start(), num_inference_steps=STEPS)
    )


def test_a_pipeline_saves_and_loads_it(pipes, tmp_path):
    pipe = pipes["StableDiffusionXL"]
    pipe.scheduler = WindowedScheduler.from_scheduler(EulerDiscreteScheduler(), stop=2)
    pipe.save_pretrained(tmp_path)
    loaded = DiffusionPipeline.from_pretrained(tmp_path)
    assert isinstance(loaded.scheduler, WindowedScheduler)
    assert isinstance(loaded.scheduler.child, EulerDiscreteScheduler)
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(call(loaded, generators()), call(pipe, generators()))


class TestErrors:
    @pytest.mark.parametrize("window", [(-1, 3), (3, 3), (4, 2)])
    def test_an_empty_window(self, window):
        with pytest.raises(ValueError, match="give 0 <= start < stop"):
            WindowedScheduler(*window)
        with pytest.raises(ValueError, match="give 0 <= start < stop"):
            WindowedScheduler().set_window(*window)

    def test_a_window_beyond_the_run(self):
        scheduler = WindowedScheduler.from_scheduler(HeunDiscreteScheduler(), stop=STEPS)
        scheduler.set_timesteps(STEPS)
        scheduler.set_window(0, STEPS + 1)
        with pytest.raises(ValueError, match=f"reaches step {STEPS + 1}, but the run has {STEPS}"):
            scheduler.set_timesteps(STEPS)

    def test_a_run_that_was_not_begun_or_stands_elsewhere(self):
        scheduler = WindowedScheduler.from_scheduler(DDIMScheduler(), start=3)
        with pytest.raises(ValueError, match=r"never begun; run \[0, 3\) first"):
            scheduler.set_timesteps(STEPS)
        scheduler.set_window(0, 2)
        x = loop(scheduler, start(), num_inference_steps=STEPS)
        scheduler.set_window(3)
        with pytest.raises(ValueError, match="starts at step 3, but the run stands at step 2"):
            loop(scheduler, x, num_inference_steps=STEPS)

    def test_a_run_of_other_steps(self):
        scheduler = WindowedScheduler.from_scheduler(DDIMScheduler(), stop=2)
        x = loop(scheduler, start(), num_inference_steps=STEPS)
        scheduler.set_window(2)
        with pytest.raises(ValueError, match=r"begun with .*7.* cannot be resumed with .*8"):
            loop(scheduler, x, num_inference_steps=8)

    def test_a_batch_that_shrinks_untold(self):
        scheduler = WindowedScheduler.from_scheduler(DPMSolverMultistepScheduler(), stop=2)
        x = loop(scheduler, start(), num_inference_steps=STEPS)
        scheduler.set_window(2)
        with pytest.raises(ValueError, match="has 3 rows and this step 1; call keep_rows"):
            loop(scheduler, x[:1], num_inference_steps=STEPS)

    def test_unknown_classes_and_arguments(self):
        with pytest.raises(ValueError, match=r"unknown child class 'NoScheduler'; known: .*FlowSDEScheduler"):
            WindowedScheduler(child_class="NoScheduler")
        with pytest.raises(ValueError, match="does not name its scheduler class; use WindowedScheduler"):
            WindowedScheduler.from_config(DDIMScheduler().config)
        with pytest.raises(ValueError, match=r"DDIMScheduler.set_timesteps takes no sigmas, mu"):
            WindowedScheduler.from_scheduler(DDIMScheduler()).set_timesteps(sigmas=np.linspace(1, 0, 3), mu=1.0)


def test_a_class_of_the_users_own_is_the_child():
    class Mine(DDIMScheduler):
        pass

    scheduler = WindowedScheduler.from_scheduler(Mine(num_train_timesteps=500), stop=3)
    assert type(scheduler.child) is Mine
    assert len(scheduler) == 500
    again = WindowedScheduler.from_scheduler(scheduler)
    assert (type(again.child), again.config.stop) == (Mine, None)
