"""That diffusers still has what `samplers/compat.py` reads: an entry that fails here is to be read anew."""

import copy
import inspect
from pathlib import Path

import diffusers
import pytest
import torch
import toys
from diffusers import (
    BriaPipeline,
    CMStochasticIterativeScheduler,
    CogVideoXDPMScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    TCDScheduler,
    UnCLIPScheduler,
    UniPCMultistepScheduler,
)
from samplesmith.samplers import compat

FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
LINEAR_FLOWS = [
    FlowMatchEulerDiscreteScheduler(shift=2.0),
    FlowMatchHeunDiscreteScheduler(),
    DPMSolverMultistepScheduler(**FLOW, flow_shift=3.0),
    UniPCMultistepScheduler(**FLOW, flow_shift=3.0),
    DEISMultistepScheduler(**FLOW, flow_shift=2.0),
]
DIFFUSIONS = [DDIMScheduler, DDPMScheduler, PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler]
KEEP_VARIANCE = [
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    UniPCMultistepScheduler,
    DEISMultistepScheduler,
]
LET_IT_GROW = [
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    KDPM2DiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
]


def pair(*shape):
    return torch.randn(2, *(shape or (2, 3, 4, 4)), generator=torch.Generator().manual_seed(3)).unbind()


def stepped(scheduler, index, x, output, **extra):
    """Sample after a step from the middle of a run, by the scheduler's own list of times."""
    scheduler = copy.deepcopy(scheduler)
    t = scheduler.timesteps[index]
    if hasattr(scheduler, "scale_model_input"):
        scheduler.scale_model_input(x, t)
    return scheduler.step(output, t, x, return_dict=False, **extra)[0]


def cosmos():
    scheduler = FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    scheduler.register_to_config(sigma_max=80.0, sigma_min=0.002, sigma_data=1.0, final_sigmas_type="sigma_min")
    return scheduler


def test_noising_methods_tell_schedulers_apart():
    """Each name stands in some schedulers of diffusers and is missing in others."""
    kinds = [*LET_IT_GROW, *KEEP_VARIANCE, FlowMatchEulerDiscreteScheduler, UnCLIPScheduler, DDIMScheduler]
    for name in compat.ONLY_WHERE_THE_CHILD_HAS_THEM:
        assert {hasattr(kind, name) for kind in kinds} == {True, False}


@pytest.mark.parametrize(
    "make",
    [lambda: EulerDiscreteScheduler(500), lambda: EulerDiscreteScheduler(num_train_timesteps=500)],
    ids=["positional", "by name"],
)
def test_a_whole_config_keeps_what_was_set(make):
    scheduler = make()
    scheduler.register_to_config(steps_offset=1)
    assert "_use_default_values" in scheduler.config, "diffusers no longer notes which values are defaults"
    made = DDIMScheduler.from_config(compat.whole_config(scheduler))
    assert (made.config.num_train_timesteps, made.config.steps_offset) == (500, 1)
    # The defaults of the first class stay in the note, so that the second takes its own.
    assert "beta_start" in compat.whole_config(scheduler)["_use_default_values"]


def test_what_was_registered_later_is_noted_as_a_default_by_diffusers():
    """The reason for the entry; where this fails it is not needed any more."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.register_to_config(shift=7.0)
    assert "shift" in scheduler.config["_use_default_values"]
    assert FlowMatchEulerDiscreteScheduler.from_config(scheduler.config).config.shift == 1.0
    assert FlowMatchEulerDiscreteScheduler.from_config(compat.whole_config(scheduler)).config.shift == 7.0


@pytest.mark.parametrize("kind", [*DIFFUSIONS, FlowMatchEulerDiscreteScheduler, FlowMatchLCMScheduler, TCDScheduler])
def test_most_steps_take_one_time(kind):
    assert compat.takes_one_time(kind())


def test_some_steps_take_more():
    """CogVideoX's DPM-Solver: the time before, and what it predicted there."""
    assert not compat.takes_one_time(CogVideoXDPMScheduler())


def test_a_step_by_two_times_is_seen_where_the_second_may_be_left_out():
    assert not compat.takes_one_time(diffusers.FlowMapEulerDiscreteScheduler())


@pytest.mark.parametrize(
    "kind", [EulerDiscreteScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler, UniPCMultistepScheduler]
)
def test_a_placed_scheduler_steps_from_there_and_noises_by_its_times(kind):
    x, output = pair()
    placed, found = kind(), kind()
    for scheduler in (placed, found):
        scheduler.set_timesteps(6)
    assert placed.step_index is None
    compat.place_step(placed, 2)
    assert placed.step_index == 2
    assert placed.begin_index is None
    assert torch.equal(placed.scale_model_input(x, 0.0), found.scale_model_input(x, found.timesteps[2]))
    t = found.timesteps[2]
    assert torch.equal(placed.step(output, t, x)[0], found.step(output, t, x)[0])
    compat.place_step(placed, 0)
    assert placed.step_index == 3, "a run under way is not moved"


def test_a_scheduler_without_a_counter_is_not_given_one():
    scheduler = DDIMScheduler()
    compat.place_step(scheduler, 2)
    assert not hasattr(scheduler, "_step_index")


@pytest.mark.parametrize("kind", [kind for kind in [*LET_IT_GROW, *KEEP_VARIANCE, *DIFFUSIONS] if kind().order == 1])
def test_input_is_scaled_where_scale_model_input_changes_it(kind):
    scheduler = kind()
    scheduler.set_timesteps(6)
    x = torch.ones(1, 3, 4, 4)
    changes = not torch.equal(scheduler.scale_model_input(x, scheduler.timesteps[0]), x)
    assert compat.scales_input(scheduler) == changes


def test_noise_of_a_whole_batch_is_kept_under_its_name():
    """By the source: making such a scheduler's noise needs a package that is not always there."""
    folder = Path(diffusers.schedulers.__file__).parent
    for module in ("scheduling_dpmsolver_sde.py", "scheduling_cosine_dpmsolver_multistep.py"):
        assert "self.noise_sampler = BrownianTreeNoiseSampler(" in (folder / module).read_text()
    scheduler = DDIMScheduler()
    compat.check_noise_by_row(scheduler)
    scheduler.noise_sampler = object()
    with pytest.raises(ValueError, match="DDIMScheduler draws the noise of a whole batch"):
        compat.check_noise_by_row(scheduler)


@pytest.mark.parametrize("scheduler", LINEAR_FLOWS, ids=lambda one: type(one).__name__)
def test_linear_flows_are_known_and_step_along_the_line(scheduler):
    assert compat.is_linear_flow(scheduler)
    assert not compat.grows_without_bound(scheduler)
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(6)
    assert not compat.exceeds_one(scheduler)
    x0, noise = pair()
    sigma, after = scheduler.sigmas[0], scheduler.sigmas[1]
    stepped = scheduler.step(noise - x0, scheduler.timesteps[0], (1 - sigma) * x0 + sigma * noise)[0]
    assert torch.allclose(stepped, (1 - after) * x0 + after * noise, atol=1e-3)


@pytest.mark.parametrize("kind", [*DIFFUSIONS, UnCLIPScheduler, CMStochasticIterativeScheduler, LCMScheduler])
def test_diffusions_are_no_flows(kind):
    assert not compat.is_linear_flow(kind())
    assert not compat.grows_without_bound(kind())


def test_a_solver_of_flows_says_so_in_two_settings():
    assert compat.predicts_flow(DPMSolverMultistepScheduler(**FLOW).config)
    for half in ({"use_flow_sigmas": True}, {"prediction_type": "flow_prediction"}):
        assert not compat.predicts_flow(UniPCMultistepScheduler(**half).config)


def test_sigmas_far_beyond_one_are_registered_by_the_pipeline():
    """What Cosmos 2 does to its scheduler, in its constructor; the run's sigmas are then beyond 1, too."""
    source = inspect.getsource(diffusers.Cosmos2TextToImagePipeline.__init__)
    assert "sigma_max" in source
    assert "register_to_config" in source
    scheduler = cosmos()
    assert compat.grows_without_bound(scheduler)
    assert not compat.is_linear_flow(scheduler)
    scheduler.set_timesteps(sigmas=torch.linspace(0, 1, 5, dtype=torch.float64))
    assert compat.exceeds_one(scheduler)
    x0, noise = pair()
    sigma, after = scheduler.sigmas[0], scheduler.sigmas[1]
    stepped = scheduler.step(noise, scheduler.timesteps[0], x0 + sigma * noise)[0]
    assert torch.allclose(stepped, x0 + after * noise, atol=1e-3)


def test_a_scheduler_without_sigmas_exceeds_nothing():
    assert not compat.exceeds_one(DDIMScheduler())


@pytest.mark.parametrize("kind", [*KEEP_VARIANCE, *LET_IT_GROW])
def test_variance_is_kept_by_solvers_in_log_snr(kind):
    """By what `add_noise` does to a sample of ones at the run's first time."""
    scheduler = kind()
    scheduler.set_timesteps(6)
    ones = torch.ones(1, 3, 4, 4)
    noised = scheduler.add_noise(ones, torch.zeros_like(ones), scheduler.timesteps[:1])
    shrinks = not torch.equal(noised, ones)
    assert compat.keeps_variance(scheduler) == shrinks == (kind in KEEP_VARIANCE)


@pytest.mark.parametrize("kind", [*LET_IT_GROW, DDIMScheduler])
def test_calls_between_sigmas_are_those_at_times_that_no_sigma_has(kind):
    scheduler = kind()
    scheduler.set_timesteps(6)
    between = kind in (KDPM2DiscreteScheduler, KDPM2AncestralDiscreteScheduler)
    assert compat.calls_between_sigmas(scheduler) == between
    if between:  # its second calls stand at times of their own, where Heun's repeat the next sigma's
        times = scheduler.timesteps[:-1]  # the last, next to 0, rounds to its neighbour on some machines
        assert len(times.unique()) == len(times)


def pndm():
    return PNDMScheduler(skip_prk_steps=True)


@pytest.mark.parametrize(
    "make", [DDIMScheduler, DDPMScheduler, pndm, EulerDiscreteScheduler, DPMSolverMultistepScheduler, LCMScheduler]
)
def test_a_step_reads_its_targets_level_where_we_say(make):
    """The step follows that entry, and no other entry that lies beyond the present time."""
    scheduler = make()
    scheduler.set_timesteps(6)
    index = 2
    name, place = compat.step_target(scheduler, index, scheduler.timesteps.tolist())
    x, output = pair()

    def after(entry=None):
        changed = copy.deepcopy(scheduler)
        if entry is not None:
            table = getattr(changed, name).clone()
            table[entry] *= 0.9
            setattr(changed, name, table)
        extra = {}
        if make in (DDPMScheduler, LCMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler):
            extra = {"generator": torch.Generator().manual_seed(0)}
        return stepped(changed, index, x, output, **extra)

    plain = after()
    assert not torch.equal(after(place), plain)
    own = index if name == "sigmas" else int(scheduler.timesteps[index])
    others = [1, 4, 5] if name == "sigmas" else [place - 1, place + 1]
    assert all(torch.equal(after(other), plain) for other in others if other not in (own, place))


def test_the_target_of_a_solver_that_aims_between_is_not_known():
    scheduler = TCDScheduler()
    scheduler.set_timesteps(4)
    assert compat.step_target(scheduler, 1, scheduler.timesteps.tolist()) is None


def test_a_pipeline_that_asks_for_the_exact_class_scales_every_other():
    """Why flows' schedulers of ours have `scale_model_input`, which diffusers' have not."""
    source = inspect.getsource(BriaPipeline.__call__)
    assert "type(self.scheduler) != FlowMatchEulerDiscreteScheduler" in source
    assert not hasattr(FlowMatchEulerDiscreteScheduler, "scale_model_input")


def rows_stepped(pipe, recipe):
    """Rows of the sample in the scheduler's first step."""
    rows = []

    class Recording(DDIMScheduler):
        def step(self, model_output, timestep, sample, *args, **kwargs):
            rows.append(len(sample))
            return super().step(model_output, timestep, sample, *args, **kwargs)

    pipe.scheduler = Recording.from_config(pipe.scheduler.config)
    pipe(recipe.prompt, **{**recipe.arguments, "num_inference_steps": 1}, generator=torch.Generator().manual_seed(0))
    return rows[0]


def test_frames_are_rows_of_the_scheduler_where_the_unet_has_three_dimensions():
    """And rows are not seen in anything else: the same scheduler gets one row of a clip from AnimateDiff."""
    frames = toys.TOYS["TextToVideoSDPipeline"]
    pipe = toys.build("TextToVideoSDPipeline")
    assert compat.steps_frames_as_rows(pipe)
    assert rows_stepped(pipe, frames) == frames.arguments["num_frames"]
    for name in ("StableDiffusion", "AnimateDiffPipeline"):
        pipe = toys.build(name)
        assert not compat.steps_frames_as_rows(pipe)
        assert rows_stepped(pipe, toys.TOYS[name]) == 1


def test_a_scheduler_stands_where_it_is_told():
    scheduler = EulerDiscreteScheduler()
    scheduler.set_timesteps(6)
    compat.stand_at(scheduler, 4)
    x = torch.ones(1, 3, 4, 4)
    assert torch.equal(scheduler.scale_model_input(x, 0.0), x / (scheduler.sigmas[4] ** 2 + 1) ** 0.5)
    compat.stand_at(scheduler, 1)
    assert scheduler.step_index == 1
    compat.stand_at(DDIMScheduler(), 1)


def test_steps_that_take_a_generator():
    assert compat.takes_generator(DDIMScheduler())
    assert not compat.takes_generator(PNDMScheduler())
