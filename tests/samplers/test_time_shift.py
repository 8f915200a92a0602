import pytest
import torch
import toys
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    TCDScheduler,
    UnCLIPScheduler,
)
from fakes import watch
from samplesmith.samplers import TimeShiftScheduler, WindowedScheduler, apply_per_sample_time
from samplesmith.samplers.variance_match import forward_variance

SD_SOLVERS = {
    "ddim": DDIMScheduler,
    "pndm": lambda: PNDMScheduler(skip_prk_steps=True),
    "dpmsolver++": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
}


def run(pipe, rows=2, steps=8, name="StableDiffusion", **extra):
    _, prompt, arguments = toys.TOYS[name]
    generators = [torch.Generator().manual_seed(k) for k in range(rows)]
    call = {**arguments, "num_inference_steps": steps, "guidance_scale": 5.0, **extra}
    return pipe(prompt, num_images_per_prompt=rows, generator=generators, output_type="latent", **call).images


class TestWindowZeroIsTheParent:
    @pytest.mark.parametrize("solver", SD_SOLVERS)
    @pytest.mark.parametrize("rows", [1, 4])
    @pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
    def test_stable_diffusion(self, solver, rows, guidance_scale):
        pipe = toys.build("StableDiffusion")
        pipe.scheduler = SD_SOLVERS[solver]()
        expected = run(pipe, rows, guidance_scale=guidance_scale)
        pipe.scheduler = TimeShiftScheduler.from_scheduler(pipe.scheduler, window=0)
        assert torch.equal(run(pipe, rows, guidance_scale=guidance_scale), expected)

    @pytest.mark.parametrize("name", ["StableDiffusion3", "Flux", "StableDiffusionXL", "DiT"])
    def test_other_pipelines(self, name):
        pipe = toys.build(name)
        results = []
        for scheduler in (pipe.scheduler, TimeShiftScheduler.from_scheduler(pipe.scheduler, window=0)):
            pipe.scheduler = scheduler
            if name == "DiT":
                generator = torch.Generator().manual_seed(0)
                results.append(
                    torch.tensor(pipe([1], generator=generator, num_inference_steps=4, output_type="np").images)
                )
            else:
                results.append(run(pipe, name=name))
        assert torch.equal(*results)

    def test_image_to_image(self):
        pipe = toys.build("Img2Img")
        results = []
        for scheduler in (EulerDiscreteScheduler(), None):
            pipe.scheduler = scheduler or TimeShiftScheduler.from_scheduler(pipe.scheduler, window=0)
            generator = torch.Generator().manual_seed(0)
            call = {"image": toys.picture(), "strength": 0.6, "num_inference_steps": 6}
            results.append(pipe(toys.PROMPT, generator=generator, output_type="latent", **call).images)
        assert torch.equal(*results)


@pytest.mark.parametrize("variant", ["paper", "reference"])
@pytest.mark.parametrize("solver", SD_SOLVERS)
def test_a_window_changes_the_samples_and_repeats(solver, variant):
    pipe = toys.build("StableDiffusion")
    pipe.scheduler = SD_SOLVERS[solver]()
    plain = run(pipe)
    pipe.scheduler = TimeShiftScheduler.from_scheduler(pipe.scheduler, window=80, cutoff=100, variant=variant)
    first = run(pipe)
    assert first.isfinite().all()
    assert not torch.equal(first, plain)
    assert torch.equal(run(pipe), first)
    table = pipe.scheduler.child.alphas_cumprod
    assert torch.equal(table, SD_SOLVERS[solver]().alphas_cumprod), "the child's table must be put back"


@pytest.mark.parametrize("name", ["StableDiffusion3", "Flux"])
def test_flow_pipelines_run(name):
    pipe = toys.build(name)
    pipe.scheduler = TimeShiftScheduler.from_scheduler(pipe.scheduler, window=100, data_variance=0.3)
    assert run(pipe, name=name).isfinite().all()


class TestShift:
    def scheduler(self, **settings):
        scheduler = TimeShiftScheduler(solver="ddim", **{"window": 60, "cutoff": 200, **settings})
        scheduler.set_timesteps(10)
        return scheduler

    def sample_with_variance(self, *variances):
        x = torch.randn(len(variances), 3, 16, 16, generator=torch.Generator().manual_seed(0))
        x = (x - x.mean((1, 2, 3), keepdim=True)) / x.flatten(1).std(1).view(-1, 1, 1, 1)
        return x * torch.tensor(variances).sqrt().view(-1, 1, 1, 1)

    def choose(self, scheduler, *variances, index=4):
        """Times that the scheduler picks where a step ends with these variances."""
        scheduler._choose(self.sample_with_variance(*variances), index, scheduler.grid[index].item())
        return scheduler

    def test_the_time_whose_variance_fits_is_found(self):
        """On the grid t = 501 is next; a sample of time 515's variance moves the call to 515."""
        scheduler = self.scheduler()
        next_time = scheduler.grid[4].item()
        wanted = next_time + 14
        variance = float(forward_variance(scheduler.child, 0.0)[wanted])
        assert self.choose(scheduler, variance).timesteps[4] == wanted
        assert torch.equal(scheduler.grid, scheduler.child.timesteps), "the solver's own grid stays"

    def test_it_saturates_at_the_edge_of_the_window(self):
        scheduler = self.scheduler()
        assert self.choose(scheduler, 9.0).timesteps[4] == scheduler.grid[4].item() + 30
        assert self.choose(scheduler, 0.0).timesteps[4] == scheduler.grid[4].item() - 30

    def test_data_variance_makes_the_match_unbiased(self):
        """A sample that lies exactly on the forward process is not shifted, where the paper's match would be."""
        biased, unbiased = self.scheduler(), self.scheduler(data_variance=0.4)
        time = biased.grid[4].item()
        alpha_bar = float(biased.child.alphas_cumprod[time])
        variance = alpha_bar * 0.4 + 1 - alpha_bar
        assert self.choose(unbiased, variance).timesteps[4] == time
        assert self.choose(biased, variance).timesteps[4] > time

    def test_no_shift_at_or_below_the_cutoff_nor_after_the_last_step(self):
        scheduler = self.scheduler(cutoff=500)
        x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        for t in scheduler.timesteps:
            x = scheduler.step(0.5 * x, t, x).prev_sample
        moved = scheduler.timesteps != scheduler.grid
        assert not moved[scheduler.grid <= 500].any()


def test_per_sample_time_is_independent_of_the_batch():
    """Read at the model: row 0 is called at the same times alone and beside others, under guidance too."""
    pipe = toys.build("StableDiffusion")
    pipe.scheduler = TimeShiftScheduler.from_scheduler(DDIMScheduler(), window=900, cutoff=1)
    seen = []

    def times(rows):
        seen.clear()
        run(pipe, rows=rows)
        return torch.stack([torch.as_tensor(t).expand(2 * rows) for t in seen])

    hook = apply_per_sample_time(pipe.unet, pipe.scheduler)
    watch(pipe.unet, lambda args, kwargs: seen.append(args[1]))
    three, one = times(3), times(1)
    assert torch.equal(three[:, [0, 3]], one)
    assert (three[:, 0] != three[:, 1]).any()
    hook.remove()
    shared = times(3)
    assert torch.equal(shared[:, 0], shared[:, 1])
    assert not torch.equal(shared[:, [0, 3]], one), "the shared shift depends on batch mates"


def test_no_host_sync_in_a_loop():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Syncs(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.found += "_local_scalar_dense" in str(func)
            return func(*args, **(kwargs or {}))

    for solver in ("ddim", "pndm", "dpmsolver++"):
        scheduler = TimeShiftScheduler.from_scheduler(SD_SOLVERS[solver](), window=60)
        scheduler.set_timesteps(8)
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        with Syncs() as counted:
            for t in scheduler.timesteps:
                x = scheduler.step(0.5 * scheduler.scale_model_input(x, t), t, x, return_dict=False)[0]
        assert counted.found == 0, solver


def test_saving_and_loading_keeps_the_settings(tmp_path):
    pipe = toys.build("StableDiffusion")
    pipe.scheduler = DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=3, final_sigmas_type="zero")
    pipe.scheduler = TimeShiftScheduler.from_scheduler(pipe.scheduler, window=70, cutoff=150)
    expected = run(pipe)
    pipe.scheduler.save_pretrained(tmp_path)
    again = TimeShiftScheduler.from_pretrained(tmp_path)
    assert (again.config.window, again.config.solver) == (70, "DPMSolverMultistepScheduler")
    assert again.child.config.solver_order == 3
    pipe.scheduler = again
    assert torch.equal(run(pipe), expected)


def test_a_saved_pipeline_gives_it_back(tmp_path):
    pipe = toys.build("StableDiffusionXL")
    pipe.scheduler = TimeShiftScheduler.from_scheduler(pipe.scheduler, window=70)
    expected = run(pipe, name="StableDiffusionXL")
    pipe.save_pretrained(tmp_path)
    with torch.random.fork_rng():
        loaded = DiffusionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.scheduler, TimeShiftScheduler)
    assert torch.equal(run(loaded, name="StableDiffusionXL"), expected)


def test_from_config_needs_the_class(tmp_path):
    with pytest.raises(ValueError, match="does not name its scheduler class"):
        TimeShiftScheduler.from_config(DDIMScheduler().config)
    assert TimeShiftScheduler.from_config(DDIMScheduler().config, solver="pndm").config.solver == "PNDMScheduler"
    PNDMScheduler().save_pretrained(tmp_path)
    loaded = PNDMScheduler.from_pretrained(tmp_path)
    assert TimeShiftScheduler.from_config(loaded.config).config.solver == "PNDMScheduler"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimeShiftScheduler(solver="rk4"), "unknown solver 'rk4'; known: ddim"),
        (lambda: TimeShiftScheduler(variant="mine"), "unknown variant 'mine'"),
        (lambda: TimeShiftScheduler(window=-1), "window is -1"),
        (lambda: TimeShiftScheduler(window=2000).child, "window is 2000 and cutoff 500; both lie within the 1000"),
        (lambda: TimeShiftScheduler(cutoff=-5).child, "cutoff -5"),
        (lambda: TimeShiftScheduler().set_timesteps(0), "num_inference_steps is 0"),
        (lambda: TimeShiftScheduler.from_scheduler(HeunDiscreteScheduler()).child, "is of order 2"),
        (
            lambda: TimeShiftScheduler().set_timesteps(5, sigmas=[1.0]),
            "takes no sigmas; it takes num_inference_steps, device",
        ),
    ],
)
def test_bad_settings_are_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_pipeline_that_never_scales_is_told():
    scheduler = TimeShiftScheduler.from_scheduler(EulerDiscreteScheduler())
    scheduler.set_timesteps(4)
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="needs scale_model_input before each model call"):
        scheduler.step(x, scheduler.timesteps[0], x)


def seeded():
    return torch.Generator().manual_seed(0)


RUNS_STOCK = {
    "few training times": (lambda: DDIMScheduler(num_train_timesteps=100), lambda s, x: s.set_timesteps(10)),
    "zero terminal SNR of default betas": (
        lambda: EulerDiscreteScheduler(rescale_betas_zero_snr=True),
        lambda s, x: s.set_timesteps(10),
    ),
    "scaling before the times are set": (DDIMScheduler, lambda s, x: s.scale_model_input(x, 0)),
    "a step before the times are set": (
        DDPMScheduler,
        lambda s, x: s.step(x, 5, x, generator=seeded())[0],
    ),
    "a time off the grid": (DDIMScheduler, lambda s, x: (s.set_timesteps(10), s.step(x, 1, x)[0])[1]),
    "no order": (UnCLIPScheduler, lambda s, x: s.set_timesteps(10)),
    "no betas and no flow": (EDMEulerScheduler, lambda s, x: s.set_timesteps(10)),
    "order 2": (HeunDiscreteScheduler, lambda s, x: s.set_timesteps(10)),
    "no step's noise asked for": (
        TCDScheduler,  # its own default is 0.3
        lambda s, x: (s.set_timesteps(4), s.step(x, s.timesteps[0], x, generator=torch.Generator().manual_seed(0))[0])[
            1
        ],
    ),
}


@pytest.mark.parametrize("how", RUNS_STOCK)
def test_with_window_0_whatever_runs_stock_runs(how):
    make, call = RUNS_STOCK[how]
    x = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    stock, ours = make(), TimeShiftScheduler.from_scheduler(make(), window=0)
    expected, out = call(stock, x), call(ours, x)
    assert (expected is None and out is None) or torch.equal(out, expected)
    assert torch.equal(ours.timesteps, stock.timesteps)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DDIMScheduler(num_train_timesteps=100), "cutoff 500; both lie within the 100 training times"),
        (lambda: EulerDiscreteScheduler(rescale_betas_zero_snr=True), "must be finite and fall strictly"),
        (EDMEulerScheduler, "its path is not known|both lie within"),
        (lambda: FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "inverted sigmas, whose path is not known"),
        (HeunDiscreteScheduler, "is of order 2; time shift needs a solver of order 1"),
        (lambda: WindowedScheduler.from_scheduler(DDIMScheduler()), "time shift goes inside of WindowedScheduler"),
    ],
)
def test_with_a_window_what_cannot_work_is_refused_when_it_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        TimeShiftScheduler.from_scheduler(make(), window=40)


def test_with_a_window_a_time_off_the_grid_is_one_sentence():
    scheduler = TimeShiftScheduler()
    scheduler.set_timesteps(10)
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="timestep 7 is not on the grid"):
        scheduler.step(x, 7, x)


@pytest.mark.parametrize("kind", [DDPMScheduler, LCMScheduler])
def test_the_reference_variant_moves_the_target_of_each_step(kind):
    """The table's entry that the step reads is another time's while it is read, and stays after it."""
    outs = []
    for window in (0, 200):
        scheduler = TimeShiftScheduler.from_scheduler(kind(), window=window, cutoff=100, variant="reference")
        scheduler.set_timesteps(6)
        x = 3 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        draw = torch.Generator().manual_seed(1)
        for t in scheduler.timesteps[:3]:
            x = scheduler.step(0.2 * x, t, x, generator=draw, return_dict=False)[0]
        outs.append(x)
        assert torch.equal(scheduler.alphas_cumprod, kind().alphas_cumprod)
    assert not torch.allclose(*outs, atol=1e-3)


def test_the_reference_variant_is_refused_where_the_target_is_not_known():
    scheduler = TimeShiftScheduler.from_scheduler(TCDScheduler(), variant="reference")
    with pytest.raises(ValueError, match="target of its step is not known"):
        scheduler.set_timesteps(4)


@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler])
def test_noise_is_added_at_the_times_that_are_given_after_a_step_too(kind):
    """The child keeps no place of ours, and a shifted time stands for that of the grid."""
    clean, noise = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    ours, stock = TimeShiftScheduler.from_scheduler(kind(), window=100, cutoff=50), kind()
    for one in (ours, stock):
        one.set_timesteps(10)
    x = clean
    for t in ours.timesteps[:4]:
        seen = ours.scale_model_input(x, t) if hasattr(stock, "scale_model_input") else x
        x = ours.step(0.4 * seen, t, x, return_dict=False)[0]
    assert (ours.timesteps != ours.grid).any()
    assert ours.begin_index is None
    for at in (1, 4, 8):
        outs = []
        for one in (ours, stock):
            times = one.timesteps[at : at + 1].repeat(2)
            flow = hasattr(one, "scale_noise")
            outs.append(one.scale_noise(clean, times, noise) if flow else one.add_noise(clean, noise, times))
        assert torch.equal(*outs)


def test_settings_that_are_registered_later_count():
    scheduler = TimeShiftScheduler(window=0)
    scheduler.register_to_config(window=200, cutoff=0)
    scheduler.set_timesteps(5)
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler.step(0.2 * x, scheduler.timesteps[0], x)
    assert scheduler.timesteps[1] != scheduler.grid[1]
    scheduler.register_to_config(window=-1)
    with pytest.raises(ValueError, match="window is -1"):
        scheduler.set_timesteps(5)


def test_a_flat_variance_warns():
    scheduler = TimeShiftScheduler(data_variance=1.0)
    with pytest.warns(UserWarning, match="says nothing of time"):
        scheduler.set_timesteps(10)
