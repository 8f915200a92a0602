"""Steps forward, back and forward again, on fields with closed forms."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from samplesmith import ZigzagScheduler
from samplesmith.samplers.zigzag import Leg, legs

LINE = {"clip_sample": False}
FIRST_ORDER = [
    DDIMScheduler(**LINE),
    DDIMScheduler(**LINE, prediction_type="v_prediction"),
    EulerDiscreteScheduler(),
    FlowMatchEulerDiscreteScheduler(shift=3.0),
    DPMSolverMultistepScheduler(solver_order=1),
]


def name_of(scheduler):
    return f"{type(scheduler).__name__}-{scheduler.config.get('prediction_type')}"


def x_t(seed=0):
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def run(scheduler, field, steps=5):
    """A pipeline's loop with `field(leg, sample, t)` as its model."""
    scheduler.set_timesteps(steps)
    sample, calls = x_t() * scheduler.init_noise_sigma if hasattr(scheduler, "init_noise_sigma") else x_t(), []
    for t in scheduler.timesteps:
        leg = getattr(scheduler, "leg", Leg.ZIG)
        calls.append((leg, float(t)))
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(sample, t)
        sample = scheduler.step(field(leg, sample, t), t, sample, return_dict=False)[0]
    return sample, calls


STRONG, WEAK = x_t(1), x_t(2)


def constant(leg, sample, t):
    return WEAK if leg is Leg.ZAG else STRONG


@pytest.mark.parametrize("scheduler", FIRST_ORDER, ids=name_of)
@pytest.mark.parametrize("rounds", [1, 2])
def test_constant_fields_move_the_sample_by_b_and_k_times_b_minus_a(scheduler, rounds):
    """The first-order statement of W2SD is exact where the model's output is constant along the step."""
    if scheduler.config.get("prediction_type") == "v_prediction":
        pytest.skip("a constant v is no constant field: its noise and clean sample turn with the time")
    effective = STRONG + rounds * (STRONG - WEAK)
    zigzag = ZigzagScheduler.from_scheduler(scheduler, rounds=rounds)
    got, _ = run(zigzag, constant)
    last = len(zigzag.child.timesteps) - 1
    times = zigzag.child.timesteps

    def plain(leg, sample, t):
        return STRONG if t == times[last] else effective

    expected, _ = run(type(scheduler).from_config(scheduler.config), plain)
    assert torch.allclose(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("scheduler", FIRST_ORDER, ids=name_of)
def test_an_inversion_by_the_same_prediction_undoes_the_step(scheduler):
    """Exact legs: the prediction of the step, held in its own terms at the end, leads back to where the step began."""
    zigzag = ZigzagScheduler.from_scheduler(scheduler)
    zigzag.set_timesteps(5)
    sample, output = x_t(), STRONG
    t = zigzag.timesteps[0]
    if hasattr(zigzag, "scale_model_input"):
        zigzag.scale_model_input(sample, t)
    stepped = zigzag.step(output, t, sample, return_dict=False)[0]
    assert zigzag.leg is Leg.ZAG
    if scheduler.config.get("prediction_type") == "v_prediction":
        from samplesmith.samplers.clean_prediction import known_path, place_of
        from samplesmith.samplers.predictions import Prediction

        path = known_path(zigzag.child)
        (_, here), (_, there) = (place_of(zigzag.child, path, step) for step in (0, 1))
        output = Prediction.read("v_prediction", output, sample, path, here).write("v_prediction", path, there)
    back = zigzag.step(output, zigzag.timesteps[1], stepped, return_dict=False)[0]
    assert torch.allclose(back, sample, rtol=1e-4, atol=2e-4)


def test_a_weak_leg_at_the_end_leaves_one_strong_step():
    """Weak forward after weak inversion cancels, so `again` has to be the strong one (newer pages, section 15)."""
    zigzag = ZigzagScheduler.from_scheduler(FlowMatchEulerDiscreteScheduler())
    got, _ = run(zigzag, lambda leg, sample, t: STRONG if leg is Leg.ZIG else WEAK)
    plain, _ = run(FlowMatchEulerDiscreteScheduler(), lambda leg, sample, t: STRONG)
    assert torch.allclose(got, plain, atol=1e-5)


def test_the_model_is_asked_at_the_time_that_the_step_led_to():
    zigzag = ZigzagScheduler.from_scheduler(DDIMScheduler(**LINE))
    _, calls = run(zigzag, constant, steps=4)
    z, a, again = Leg.ZIG, Leg.ZAG, Leg.AGAIN
    assert calls == [
        (z, 750.0), (a, 500.0), (again, 750.0), (z, 500.0), (a, 250.0), (again, 500.0), (z, 250.0), (a, 0.0),
        (again, 250.0), (z, 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("scheduler", FIRST_ORDER, ids=name_of)
@pytest.mark.parametrize("settings", [{"rounds": 0}, {"until": 0.0}])
def test_without_zigzag_it_is_the_child_bit_for_bit(scheduler, settings):
    def field(leg, sample, t):
        return sample.cos()

    plain, _ = run(type(scheduler).from_config(scheduler.config), field)
    assert torch.equal(run(ZigzagScheduler.from_scheduler(scheduler, **settings), field)[0], plain)


def test_legs():
    assert [leg for _, leg in legs(3, 1, 0.5)] == [Leg.ZIG, Leg.ZAG, Leg.AGAIN, Leg.ZIG, Leg.ZAG, Leg.AGAIN, Leg.ZIG]
    assert [step for step, _ in legs(4, 2, 0.25)] == [0] * 5 + [1, 2, 3]
    assert legs(1, 3, 1.0) == [(0, Leg.ZIG)]


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (FlowMatchHeunDiscreteScheduler(), "calls the model more than once for a step"),
        (PNDMScheduler(skip_prk_steps=True), "has no inverse"),
        (DPMSolverMultistepScheduler(), "has no inverse"),
        (UniPCMultistepScheduler(), "has no inverse"),
        (DDPMScheduler(), "has no inverse"),
        (EulerAncestralDiscreteScheduler(), "has no inverse"),
        (FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), "has no inverse"),
    ],
    ids=lambda one: type(one).__name__ if not isinstance(one, str) else "",
)
def test_steps_that_have_no_exact_inversion_are_refused(scheduler, message):
    with pytest.raises(ValueError, match=message):
        ZigzagScheduler.from_scheduler(scheduler).set_timesteps(5)


def test_settings_and_image_to_image():
    with pytest.raises(ValueError, match="give rounds from 0, and a share of the steps"):
        ZigzagScheduler.from_scheduler(DDIMScheduler(), until=1.5)
    zigzag = ZigzagScheduler.from_scheduler(FlowMatchEulerDiscreteScheduler())
    zigzag.set_timesteps(4)
    zigzag.set_begin_index(2 * zigzag.order)
    t = zigzag.timesteps[6]
    sample = zigzag.step(STRONG, t, x_t(), return_dict=False)[0]
    child = FlowMatchEulerDiscreteScheduler()
    child.set_timesteps(4)
    child.set_begin_index(2)
    assert torch.equal(sample, child.step(STRONG, child.timesteps[2], x_t(), return_dict=False)[0])
    partial = ZigzagScheduler.from_scheduler(FlowMatchEulerDiscreteScheduler(), until=0.5)
    partial.set_timesteps(sigmas=np.linspace(1, 0.25, 4))
    assert partial.order == 1
    with pytest.raises(ValueError, match="zigzag in all of its steps only"):
        partial.set_begin_index(3)
