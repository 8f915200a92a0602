"""Settings of our schedulers beyond those of test_every_scheduler.py, checked alike, and small pipelines with them."""

import copy

import numpy as np
import pytest
import torch
import toys
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    PNDMScheduler,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    UNet2DModel,
)
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler

PARENTS = {
    "ddim": DDIMScheduler,
    "pndm": PNDMScheduler,
    "dpmsolver++": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "flow-euler": FlowMatchEulerDiscreteScheduler,
}
SQUARE = {"diffusion": "square", "norm": 3.0}
FLOWS = [
    {"integrator": "heun"},
    {"integrator": "heun", "interpolant": "vp", "grid": "vp"},
    SQUARE,
    {"diffusion": "natural", "interpolant": "vp"},
    {"diffusion": "linear", "integrator": "cps", "norm": 0.5},
    {"diffusion": "constant", "grid": "log-snr"},
    {"integrator": "precise:eta=0.7"},
    {"integrator": "glass:inner_steps=2"},
]
SETTINGS = [("shift", "ddim", {"window": 80, "cutoff": 100, "variant": "reference"})]
SETTINGS += [("flow", "flow-euler", settings) for settings in FLOWS if settings != SQUARE]
EVERY = pytest.mark.parametrize(("kind", "parent", "settings"), SETTINGS, ids=str)
STEPS = 7


def make(kind, parent, settings, **config):
    source = PARENTS[parent](**config)
    cls = TimeShiftScheduler if kind == "shift" else FlowSDEScheduler
    return cls.from_scheduler(source, **settings)


def dummy_model(sample, t):
    """As in diffusers' tests."""
    return sample * (t / (t + 1))


def start():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def full_loop(scheduler, x=None, first=0, **times):
    scheduler.set_timesteps(**(times or {"num_inference_steps": STEPS}))
    if first:
        scheduler.set_begin_index(first)
    x = start() if x is None else x
    for t in scheduler.timesteps[first:]:
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(dummy_model(seen, t), t, x).prev_sample
    return x


@EVERY
class TestEvery:
    def test_the_full_loop_is_finite_and_repeats(self, kind, parent, settings):
        scheduler = make(kind, parent, settings)
        first = full_loop(scheduler)
        assert first.isfinite().all()
        assert torch.equal(full_loop(scheduler), first)
        assert torch.equal(full_loop(copy.deepcopy(scheduler)), first)

    def test_save_and_load(self, kind, parent, settings, tmp_path):
        scheduler = make(kind, parent, settings)
        scheduler.save_pretrained(tmp_path)
        loaded = type(scheduler).from_pretrained(tmp_path)
        for name, value in settings.items():
            assert loaded.config[name] == value
        assert torch.equal(full_loop(loaded), full_loop(scheduler))

    def test_the_config_goes_back_to_the_parent(self, kind, parent, settings):
        scheduler = make(kind, parent, settings, num_train_timesteps=500)
        back = PARENTS[parent].from_config(scheduler.config)
        assert back.config.num_train_timesteps == 500
        expected = PARENTS[parent](num_train_timesteps=500)
        assert torch.equal(full_loop(back), full_loop(expected))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_shape_and_dtype_of_a_step(self, kind, parent, settings, dtype):
        scheduler = make(kind, parent, settings)
        scheduler.set_timesteps(STEPS)
        x = start().to(dtype)
        t = scheduler.timesteps[0]
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        previous = scheduler.step(0.1 * seen, t, x).prev_sample
        assert (previous.shape, previous.dtype) == (x.shape, dtype)
        (again, *_) = make_ready(scheduler, x).step(0.1 * seen, t, x, return_dict=False)
        assert torch.equal(again, previous)

    @pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), None])
    def test_times_lie_on_the_device(self, kind, parent, settings, device):
        scheduler = make(kind, parent, settings)
        scheduler.set_timesteps(STEPS, device=device)
        assert scheduler.timesteps.device.type == "cpu"

    def test_noise_is_added_as_the_parent_does(self, kind, parent, settings):
        scheduler, source = make(kind, parent, settings), PARENTS[parent]()
        noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        # Where times differ, ours at an index is compared with the formula of the parent at that time.
        name = "scale_noise" if parent == "flow-euler" else "add_noise"
        for one in (scheduler, source):
            one.set_timesteps(STEPS)
        if not torch.equal(scheduler.timesteps, source.timesteps):
            t, sigma = scheduler.timesteps[2:3], scheduler.timesteps[2] / 1000
            expected = (1 - sigma) * start() + sigma * noise
        else:
            t = source.timesteps[2:3]
            arguments = (start(), t, noise) if name == "scale_noise" else (start(), noise, t)
            expected = getattr(source, name)(*arguments)
        arguments = (start(), t, noise) if name == "scale_noise" else (start(), noise, t)
        assert torch.allclose(getattr(scheduler, name)(*arguments), expected, atol=1e-6)

    def test_a_run_from_the_middle(self, kind, parent, settings):
        """Image to image: the first steps are skipped, by whole steps of the solver's order."""
        scheduler = make(kind, parent, settings)
        first = 2 * scheduler.order
        x = full_loop(scheduler, first=first)
        assert x.isfinite().all()
        assert torch.equal(full_loop(scheduler, first=first), x)
        assert not torch.equal(full_loop(scheduler), x)

    @pytest.mark.parametrize("steps", [1, 2, 3, 25])
    def test_few_and_many_steps(self, kind, parent, settings, steps):
        scheduler = make(kind, parent, settings)
        assert full_loop(scheduler, num_inference_steps=steps).isfinite().all()


def make_ready(scheduler, x):
    scheduler.set_timesteps(STEPS)
    if hasattr(scheduler, "scale_model_input"):
        scheduler.scale_model_input(x, scheduler.timesteps[0])
    return scheduler


@pytest.mark.parametrize("solver", ["ddim", "pndm", "dpmsolver++", "euler"])
class TestTimeShiftOfTrainedSchedules:
    def test_trained_betas(self, solver):
        betas = np.linspace(0.001, 0.03, 200).tolist()
        scheduler = make("shift", solver, {"window": 10, "cutoff": 20}, trained_betas=betas, num_train_timesteps=200)
        assert torch.allclose(scheduler.child.betas, torch.tensor(betas))
        assert full_loop(scheduler).isfinite().all()

    @pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
    def test_prediction_types(self, solver, prediction_type):
        if (solver, prediction_type) == ("pndm", "sample"):
            pytest.skip("PNDMScheduler itself knows epsilon and v_prediction only")
        config = {"prediction_type": prediction_type}
        shifted = make("shift", solver, {"window": 0}, **config)
        assert torch.equal(full_loop(shifted), full_loop(PARENTS[solver](**config)))
        assert full_loop(make("shift", solver, {"window": 60}, **config)).isfinite().all()

    def test_a_wrong_prediction_type_is_the_parents_error(self, solver):
        with pytest.raises((ValueError, NotImplementedError), match="prediction_type"):
            full_loop(make("shift", solver, {"window": 60}, prediction_type="wrong"))

    @pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
    def test_spacings(self, solver, spacing):
        shifted = make("shift", solver, {"window": 0}, timestep_spacing=spacing)
        assert torch.equal(full_loop(shifted), full_loop(PARENTS[solver](timestep_spacing=spacing)))


def unconditional():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=16,
            in_channels=3,
            out_channels=3,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )
    pipe = DDPMPipeline(unet.eval(), DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run_unconditional(scheduler):
    pipe = unconditional()
    pipe.scheduler = scheduler
    generator = torch.Generator().manual_seed(0)
    return pipe(batch_size=2, num_inference_steps=6, generator=generator, output_type="np").images


@pytest.mark.parametrize("solver", ["ddim", "dpmsolver++"])
def test_ddpm_pipeline(solver):
    stock = PARENTS[solver].from_config(DDPMScheduler().config)
    expected = run_unconditional(stock)
    assert np.array_equal(run_unconditional(TimeShiftScheduler.from_scheduler(stock, window=0)), expected)
    shifted = run_unconditional(TimeShiftScheduler.from_scheduler(stock, window=80, cutoff=100))
    assert not np.array_equal(shifted, expected)


def test_ddpm_pipeline_takes_pndm_from_us():
    """Not from diffusers, whose PNDMScheduler.step knows no generator."""
    shifted = TimeShiftScheduler.from_scheduler(PNDMScheduler(skip_prk_steps=True), window=80, cutoff=100)
    assert np.isfinite(run_unconditional(shifted)).all()


def test_ddpm_pipeline_refuses_a_solver_that_scales():
    pipe = unconditional()
    pipe.scheduler = TimeShiftScheduler.from_scheduler(EulerDiscreteScheduler())
    with pytest.raises(ValueError, match="needs scale_model_input before each model call"):
        pipe(num_inference_steps=3, generator=torch.Generator().manual_seed(0))


IMAGE_TO_IMAGE = {
    "StableDiffusionXL": (StableDiffusionXLImg2ImgPipeline, {}),
    "StableDiffusion3": (StableDiffusion3Img2ImgPipeline, {"max_sequence_length": 4}),
    "Flux": (FluxImg2ImgPipeline, {"max_sequence_length": 8}),
}


@pytest.mark.parametrize("name", IMAGE_TO_IMAGE)
def test_image_to_image(name):
    """The strength decides how much of the picture stays, and the stock run comes out where ours adds nothing."""
    cls, extra = IMAGE_TO_IMAGE[name]
    base = toys.build(name)
    parts = {key: value for key, value in base.components.items() if key != "image_encoder" or value is not None}
    pipe = cls(**parts, **({"requires_aesthetics_score": False} if name == "StableDiffusionXL" else {}))
    pipe.set_progress_bar_config(disable=True)
    stock = pipe.scheduler

    def run(scheduler, strength=0.6):
        pipe.scheduler = scheduler
        return pipe(
            toys.PROMPT,
            image=toys.picture(),
            strength=strength,
            num_inference_steps=6,
            height=32,
            width=32,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
            **extra,
        ).images

    expected = run(stock)
    assert torch.equal(run(TimeShiftScheduler.from_scheduler(stock, window=0)), expected)
    assert run(TimeShiftScheduler.from_scheduler(stock, window=200, cutoff=50)).isfinite().all()
    if name == "StableDiffusionXL":
        return
    assert torch.equal(run(FlowSDEScheduler.from_scheduler(stock, kind="ode")), expected)
    for settings in FLOWS:
        if name == "Flux" and settings.get("integrator", "").startswith(("heun", "glass")):
            continue  # the pipeline itself counts calls as steps and runs out of them
        ours = FlowSDEScheduler.from_scheduler(stock, **settings)
        little, much = run(ours, strength=0.2), run(ours, strength=0.9)
        assert little.isfinite().all()
        assert much.isfinite().all()
        assert not torch.equal(little, much)
