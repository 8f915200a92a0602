"""What halving cannot do is one sentence, told before anything is paid for."""

import pytest
import torch
import toys
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, PNDMScheduler, StableDiffusionPipeline
from fakes import Brightness
from halved import search
from samplesmith.pipelines import NoiseSearch
from samplesmith.pipelines.counting import count_nfe
from samplesmith.pipelines.pause_checks import check_steps_alike
from samplesmith.pipelines.paused_rows import _Window
from samplesmith.pipelines.search.needs import CHECKS
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler
from samplesmith.samplers.strategies import Need, Random
from samplesmith.verifiers import RankEnsemble, SelfSupervisedVerifier


@pytest.fixture(scope="module")
def built():
    return toys.build("StableDiffusion3")


@pytest.fixture
def pipe(built):
    """SD3, with a scheduler of its own."""
    built.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return built


def test_pipelines_whose_runs_cannot_be_resumed():
    for name, sentence in (
        ("DiT", "DiTPipeline has no prepare_latents"),
        ("Img2Img", "StableDiffusionImg2ImgPipeline starts from a noised picture"),
        ("FluxFillPipeline", "FluxFillPipeline starts from a noised picture"),
        ("KandinskyV22CombinedPipeline", "KandinskyV22CombinedPipeline has no prepare_latents"),
    ):
        with pytest.raises(ValueError, match=sentence):
            NoiseSearch(toys.build(name), Brightness(), "halving")


def test_pipelines_that_draw_start_or_end_otherwise():
    """Told before any model call."""

    class Drawing(StableDiffusionPipeline):
        """Draws before each loop, as pipelines do that encode a picture."""

        def prepare_extra_step_kwargs(self, generator, eta):
            torch.randn(1, generator=generator[0])
            return super().prepare_extra_step_kwargs(generator, eta)

    parts = toys.build("StableDiffusion").components
    for kind, sentence in (
        (Drawing, "draws from its generators between the noise and its first step"),
        (StableDiffusionPipeline, "cannot be decoded"),
    ):
        pipe = kind(**parts, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
        before, arguments = pipe.scheduler, toys.TOYS["StableDiffusion"][2]
        if kind is not Drawing:
            pipe.vae.decode = lambda *args, **kwargs: 1 / 0
        with pytest.raises(ValueError, match=sentence), count_nfe(pipe) as counted:
            NoiseSearch(pipe, Brightness(), "halving")(toys.PROMPT, num_candidates=4, progress=False, **arguments)
        assert (pipe.scheduler, counted.nfe) == (before, 0)


def test_priors_and_random_numbers_of_no_seed():
    for name, sentence in (
        ("StableUnCLIPPipeline", "calls a network before the steps of its scheduler begin"),
        ("StableDiffusion3ControlNetPipeline", "prepares something with random numbers of no generator"),
    ):
        pipe, (_, prompt, arguments) = toys.build(name), toys.TOYS[name]
        with (
            torch.random.fork_rng(),
            pytest.raises(ValueError, match=sentence),
            count_nfe(pipe) as counted,
        ):
            NoiseSearch(pipe, Brightness(), "halving")(prompt, num_candidates=2, progress=False, **arguments)
        assert counted.nfe == 0


def test_latents_that_are_changed_before_the_first_step():
    """Told by the first step that the pipeline makes."""
    scheduler = WindowedScheduler.from_scheduler(DDIMScheduler())
    scheduler.set_timesteps(2)
    window = _Window(scheduler, torch.ones(1, 4, 2, 2), stops=True)
    with pytest.raises(ValueError, match="changes its latents between prepare_latents and its first step"):
        window.step(scheduler.step, torch.zeros(1, 4, 2, 2), scheduler.timesteps[0], 0.5 * torch.ones(1, 4, 2, 2))


def test_schedulers_whose_rows_cannot_go_on_alone(pipe):
    class Brownian(DDIMScheduler):
        noise_sampler = "as DPMSolverSDEScheduler has one, which needs a package"

    for scheduler, sentence in (
        (TimeShiftScheduler.from_scheduler(PNDMScheduler(skip_prk_steps=True)), "a time shift fits its times"),
        (Brownian(), "draws the noise of a whole batch"),
        (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "inverted sigmas"),
    ):
        pipe.scheduler = scheduler
        with pytest.raises(ValueError, match=sentence):
            NoiseSearch(pipe, Brightness(), "halving")


def test_verifiers_that_do_not_score_previews(pipe):
    with pytest.raises(ValueError, match="self-supervised compares finished images with previews"):
        NoiseSearch(pipe, SelfSupervisedVerifier(torch.flatten), "halving")
    with pytest.raises(ValueError, match="ranks whole pools"):
        NoiseSearch(pipe, RankEnsemble([Brightness("a"), Brightness("b")]), "halving")


@pytest.mark.parametrize(
    "argument",
    [{"skip_guidance_layers": [0]}, {"callback_on_step_end": lambda *_: {}}, {"skip_layer_guidance_start": 0.5}],
    ids=lambda argument: next(iter(argument)),
)
def test_arguments_that_go_by_the_number_of_the_step(pipe, argument):
    with pytest.raises(ValueError, match=rf"{next(iter(argument))} goes by the number of the step"):
        search(pipe, **argument)
    search(pipe, num_candidates=1, skip_layer_guidance_start=0.01)  # the pipeline's own default


def test_an_argument_is_no_step_because_of_its_letters():
    pipe = toys.build("Flux2KleinPipeline")
    check_steps_alike(pipe, {"text_encoder_out_layers": (1,), "guidance_scale": 3.0})
    pipe = toys.build("ControlNet")
    check_steps_alike(pipe, {"controlnet_conditioning_scale": 0.5, "guidance_scale": 3.0, "guess_mode": True})
    with pytest.raises(ValueError, match="control_guidance_end goes by the number of the step"):
        check_steps_alike(pipe, {"control_guidance_end": 0.5})


def test_a_score_that_stops(pipe):
    with pytest.raises(ValueError, match="halving scores candidates before they are finished; leave stop_at out"):
        search(pipe, stop_at=0.5)


class AmongSteps(Random):
    name = "among-steps"
    needs = frozenset({Need.STOCHASTIC_STEPS})


def test_noise_of_steps_that_draw_none():
    pipe = toys.build("StableDiffusion3")
    with pytest.raises(ValueError, match=r"among-steps chooses among the noises of steps, .* draws none; use a stoch"):
        NoiseSearch(pipe, Brightness(), AmongSteps())
    pipe.scheduler = FlowSDEScheduler(shift=3.0, diffusion="square")
    NoiseSearch(pipe, Brightness(), AmongSteps())


@pytest.mark.parametrize("strategy", ["svdd", "code", "smc", "rbf", "threshold", "tree"])
def test_an_ode_is_refused_before_anything_is_paid_for(strategy):
    """Copies of one particle would stay one."""
    pipe = toys.build("StableDiffusion3")
    with pytest.raises(ValueError, match=rf"{strategy} chooses among the noises of steps, .* draws none; use a stoch"):
        NoiseSearch(pipe, Brightness(), strategy)
    pipe = toys.build("StableDiffusion")
    pipe.scheduler = DDIMScheduler()
    call = {**toys.SMALL, "budget": 60, "progress": False}
    with (
        pytest.raises(ValueError, match=r"DDIMScheduler draw no noise at eta=0\.0, .* give eta=1"),
        count_nfe(pipe) as nfe,
    ):
        NoiseSearch(pipe, Brightness(), strategy)(toys.PROMPT, **call)
    assert nfe.nfe == 0


def test_search_over_paths_needs_no_noise_in_steps():
    pipe = toys.build("StableDiffusion3")
    found = NoiseSearch(pipe, Brightness(), "sop:back=1,on=2")
    call = {**toys.TOYS["StableDiffusion3"][2], "num_inference_steps": 4}
    result = found("a cat", budget=30, progress=False, **call)
    assert result.best[0].finished


def test_every_need_is_checked():
    assert set(CHECKS) == set(Need)
