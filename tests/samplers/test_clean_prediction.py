import inspect

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from samplesmith.samplers import FlowSDEScheduler, TimeShiftScheduler, WindowedScheduler
from samplesmith.samplers.clean_prediction import clean_prediction, locate
from samplesmith.samplers.wrapped import innermost

STEPS = 8
MEAN, STD = 0.7, 0.4
DIFFUSION = [
    DDIMScheduler,
    DDPMScheduler,
    PNDMScheduler,
    LCMScheduler,
    TCDScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    DEISMultistepScheduler,
    UniPCMultistepScheduler,
]
FLOW = {
    "euler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "heun": FlowMatchHeunDiscreteScheduler(shift=3.0),
    "sde": FlowSDEScheduler(shift=3.0, diffusion="square"),
    "vp heun": FlowSDEScheduler(shift=3.0, interpolant="vp", integrator="heun"),
    "glass": FlowSDEScheduler(shift=3.0, integrator="glass:inner_steps=3"),
    "shift": TimeShiftScheduler.from_scheduler(FlowMatchEulerDiscreteScheduler(shift=3.0), window=0),
    "dpm++": DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    "unipc": UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
}


def start(rows=2, seed=0):
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def predictions(scheduler, model, steps=STEPS, x=None):
    """Each call's (x0-hat, the model's own clean sample, the scheduler's own where it tells), and the final sample."""
    scheduler.set_timesteps(steps)
    x = start() * getattr(scheduler, "init_noise_sigma", 1.0) if x is None else x
    takes = inspect.signature(scheduler.step).parameters
    extra = {"generator": torch.Generator().manual_seed(1)} if "generator" in takes else {}
    seen = []
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        output, truth = model(scaled, t, scheduler)
        x0 = clean_prediction(scheduler, output, t, x)
        out = scheduler.step(output, t, x, **extra)
        seen.append((x0, truth, getattr(out, "pred_original_sample", None)))
        x = out.prev_sample
    return seen, x


def gaussian(kind):
    """The exact model of data N(MEAN, STD^2): a VP sample at time t, read from the betas alone, to an output of a kind.

    E[x_0 | x] = MEAN + alpha STD^2 (x - alpha MEAN) / (alpha^2 STD^2 + sigma^2).
    """

    def model(x, t, scheduler):
        if kind == "velocity":
            alpha, sigma = 1 - t.double() / 1000, t.double() / 1000
        else:
            products = innermost(scheduler).alphas_cumprod.double()
            ratio = np.interp(float(t), np.arange(1000), (0.5 * ((1 - products) / products).log()).numpy())
            alpha = 1 / np.sqrt(1 + np.exp(2 * ratio))
            sigma = np.sqrt(1 - alpha**2)
        x0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x.double() - alpha * MEAN)
        eps = (x.double() - alpha * x0) / sigma
        outputs = {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0, "velocity": eps - x0}
        return outputs[kind].float(), x0

    return model


def configured(kind, prediction_type="epsilon", **settings):
    takes = inspect.signature(kind.__init__).parameters
    defaults = {"clip_sample": False, "timestep_spacing": "leading"}
    settings = {name: value for name, value in defaults.items() if name in takes} | settings
    return kind(prediction_type=prediction_type, **settings)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("kind", DIFFUSION)
def test_closed_form_on_an_exact_gaussian_model(kind, prediction_type):
    try:
        scheduler = configured(kind, prediction_type)
        seen, _ = predictions(scheduler, gaussian(prediction_type))
    except (NotImplementedError, ValueError) as error:
        pytest.skip(f"the scheduler itself: {error}")
    assert len(seen) >= STEPS
    for x0, truth, _ in seen:
        assert torch.allclose(x0.double(), truth, atol=2e-4), float((x0 - truth).abs().max())


@pytest.mark.parametrize("name", FLOW)
def test_closed_form_on_an_exact_gaussian_flow(name):
    seen, x = predictions(FLOW[name], gaussian("velocity"), steps=40)
    for x0, truth, _ in seen:
        # DPM-Solver and UniPC round the times that they give the model.
        assert torch.allclose(x0.double(), truth, atol=5e-3 if name in ("dpm++", "unipc") else 1e-5)
    # In the variance-preserving clock the last step ends at a time just above 0.
    assert torch.allclose(seen[-1][0], x, atol=1e-3 if name == "vp heun" else 1e-5)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.1)
    assert float(x.std()) == pytest.approx(STD, rel=0.2)


def wild(x, t, scheduler):
    """A model whose clean samples leave every bound."""
    return 3 * torch.sin(5 * x) + 0.001 * t, None


TELLING = [
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
]


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("kind", TELLING)
def test_agrees_with_what_the_scheduler_tells(kind, spacing):
    seen, _ = predictions(configured(kind, timestep_spacing=spacing), wild)
    for x0, _, told in seen:
        assert torch.allclose(x0, told, rtol=1e-4, atol=1e-4 * float(told.abs().max()))


@pytest.mark.parametrize("settings", [{"use_karras_sigmas": True}, {"timestep_type": "continuous"}], ids=str)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_sigmas_of_other_grids(settings, prediction_type):
    """Their times do not tell the sigma, or not well."""
    seen, x = predictions(EulerDiscreteScheduler(prediction_type=prediction_type, **settings), wild)
    for x0, _, told in seen:
        assert torch.allclose(x0, told, atol=1e-5 * float(told.abs().max()))
    assert torch.allclose(seen[-1][0], x, atol=1e-5 * float(x.abs().max()))


@pytest.mark.parametrize(
    "settings",
    [{"clip_sample": True}, {"clip_sample": True, "clip_sample_range": 2.0}, {"thresholding": True}],
    ids=str,
)
@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler])
def test_clipped_where_the_scheduler_clips(kind, settings):
    seen, x = predictions(configured(kind, **settings), wild)
    for x0, _, told in seen:
        assert torch.allclose(x0, told, atol=1e-5)
    assert float(seen[0][0].abs().max()) <= settings.get("clip_sample_range", 1.0)
    assert torch.allclose(seen[-1][0], x, atol=1e-5)


LANDING = [
    kind
    for kind in DIFFUSION
    if kind.__name__ not in ("PNDMScheduler", "LCMScheduler", "TCDScheduler", "DEISMultistepScheduler")
]


@pytest.mark.parametrize("kind", LANDING)
def test_the_last_one_is_the_final_sample(kind):
    """Of solvers whose last step is of first order and ends at no noise; PNDM, LCM, TCD and DEIS end otherwise."""
    (*_, (last, _, _)), x = predictions(configured(kind), wild)
    assert torch.allclose(last, x, atol=1e-4 * float(x.abs().max()))


@pytest.mark.parametrize("wrap", [TimeShiftScheduler.from_scheduler, WindowedScheduler.from_scheduler])
@pytest.mark.parametrize("child", [configured(DDIMScheduler), configured(EulerDiscreteScheduler)])
def test_a_wrapped_scheduler_is_read_as_its_child(wrap, child):
    scheduler = wrap(child)
    child.set_timesteps(STEPS)
    scheduler.set_timesteps(STEPS)
    for index in (0, 3, STEPS - 1):
        t = child.timesteps[index]
        expected = clean_prediction(child, start(seed=2), t, start())
        assert torch.equal(clean_prediction(scheduler, start(seed=2), float(t), start()), expected)
        assert torch.equal(clean_prediction(scheduler, start(seed=2), float(t), start(), index=index), expected)


def test_a_learned_variance_is_left_out():
    scheduler = configured(DDPMScheduler, variance_type="learned_range")
    scheduler.set_timesteps(STEPS)
    output, t = start(seed=2), scheduler.timesteps[2]
    both = torch.cat([output, start(seed=3)], 1)
    assert torch.equal(clean_prediction(scheduler, both, t, start()), clean_prediction(scheduler, output, t, start()))


def test_half_precision_is_computed_in_float32():
    scheduler = configured(DDIMScheduler)
    scheduler.set_timesteps(STEPS)
    t, output, x = scheduler.timesteps[0], start(seed=2).half(), start().half()
    x0 = clean_prediction(scheduler, output, t, x)
    assert x0.dtype == torch.float32
    assert torch.equal(x0, clean_prediction(scheduler, output.float(), t, x.float()))


def test_times_are_found_by_place_and_by_value():
    scheduler = PNDMScheduler(skip_prk_steps=True)
    scheduler.set_timesteps(STEPS)
    assert [locate(scheduler, t) for t in scheduler.timesteps] == list(range(STEPS + 1))
    assert locate(scheduler, scheduler.timesteps[5].clone()) == locate(scheduler, int(scheduler.timesteps[5])) == 5
    with pytest.raises(ValueError, match=r"timestep 1\.5 is not on the grid"):
        locate(scheduler, 1.5)


def test_schedulers_without_a_known_path():
    inverted = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    inverted.set_timesteps(STEPS)
    with pytest.raises(ValueError, match="inverted sigmas"):
        clean_prediction(inverted, start(), inverted.timesteps[0], start())
    edm = EDMEulerScheduler()
    edm.set_timesteps(STEPS)
    with pytest.raises(ValueError, match="its path is not known"):
        clean_prediction(edm, start(), edm.timesteps[0], start())
