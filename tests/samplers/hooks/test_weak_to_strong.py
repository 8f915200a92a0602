"""The identities of weak-to-strong guidance on unmodified pipelines, and what it costs."""

import warnings

import pytest
import torch
import toys
from guided_runs import LAYOUTS, SCALE, Recorded, Scaled, denoiser, guided_predictions, is_untouched, run
from samplesmith.models.weak_model import WeakModel
from samplesmith.pipelines.counting import count_nfe
from samplesmith.samplers import (
    SkippedLayers,
    TimeShiftScheduler,
    WeakToStrongConfig,
    WindowedScheduler,
    apply_per_sample_time,
    apply_weak_to_strong,
    remove_weak_to_strong,
)
from samplesmith.samplers.hooks import OtherNetwork, PipelineGuidance

CALLS = [{}, {"rows": 3}, {"num_images_per_prompt": 2}]
ALL_FAST = WeakToStrongConfig(strong_until=0.0)


def calls_of(name):
    """Batch 1 and 3, and two images of a prompt; a pipeline that has no such argument makes rows alone."""
    return CALLS[:2] if name in ("DiT", "LuminaPipeline") else CALLS


def applied(pipe, config, name, **arguments):
    hook = apply_weak_to_strong(pipe, config)
    made = run(pipe, name, **arguments)
    hook.remove()
    return made


@pytest.mark.parametrize("name", LAYOUTS)
def test_fast_without_a_weak_model_is_the_conditional_sampler_bit_for_bit(name):
    pipe = toys.build(name)
    for arguments in calls_of(name):
        unguided, expected = run(pipe, name, scale=1.0, **arguments)
        fast, rows = applied(pipe, ALL_FAST, name, **arguments)
        guided, both = run(pipe, name, **arguments)
        assert torch.equal(fast, unguided)
        assert not torch.equal(fast, guided)
        assert rows == expected
        assert 2 * sum(rows) == sum(both), "half of the rows"
    assert is_untouched(denoiser(pipe))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_scale_of_one_is_guidance_bit_for_bit_whatever_the_weak_model(name):
    pipe = toys.build(name)
    for arguments in calls_of(name):
        guided, _ = run(pipe, name, **arguments)
        config = WeakToStrongConfig(Scaled(), scale=1.0, strong_until=1.0)
        assert torch.equal(applied(pipe, config, name, **arguments)[0], guided)


@pytest.mark.parametrize("name", ["StableDiffusion", "StableDiffusionXL", "StableDiffusion3", "DiT", "Flux true CFG"])
def test_an_oracle_is_guidance_in_fast_and_in_slow_steps(name):
    """r = g: fast is g from half of the rows, slow is g at any scale."""
    pipe, steps = toys.build(name), 3
    arguments = {"rows": 2, "steps": steps}
    guided, both = run(pipe, name, **arguments)
    oracle = guided_predictions(pipe, name, LAYOUTS[name], **arguments)
    reach = 1e-4 * float(guided.abs().max())
    fast, rows = applied(pipe, WeakToStrongConfig(Recorded(oracle), strong_until=0.0), name, **arguments)
    assert torch.allclose(fast, guided, atol=reach, rtol=0)
    assert 2 * sum(rows) == sum(both)
    slow, rows = applied(pipe, WeakToStrongConfig(Recorded(oracle), scale=1.7, strong_until=1.0), name, **arguments)
    assert torch.allclose(slow, guided, atol=reach, rtol=0)
    assert rows == both


@pytest.mark.parametrize("name", LAYOUTS)
def test_slow_leads_away_from_the_weak_prediction(name):
    """At w = 3 and r = .7 c: r + s (g - r), by the scheduler's own step in the first one."""
    if name == "QwenImagePipeline":
        pytest.skip("it rescales the guided prediction by the norm of c', as the docs say")
    pipe, seen = toys.build(name), []
    own = pipe.scheduler.step
    config = WeakToStrongConfig(Scaled(), scale=1.5, strong_until=1.0)
    predictions = guided_predictions(pipe, name, LAYOUTS[name], steps=1)
    conditional = guided_predictions_at_one(pipe, name)
    pipe.scheduler.step = lambda output, *args, **kwargs: seen.append(output) or own(output, *args, **kwargs)
    applied(pipe, config, name, steps=1)
    run(pipe, name, steps=1)
    del pipe.scheduler.step
    weak = 0.7 * conditional
    expected = weak + 1.5 * (predictions[0] - weak)
    got, plain = seen
    # What a pipeline makes of the combined prediction (a sign, some channels), it makes of both.
    ratio = ratio_of(plain, predictions[0])
    rows, channels = len(weak), got.shape[1]
    if name == "LuminaPipeline":  # guides three channels
        got, expected = got[:, :3], expected[:, :3]
        channels = 3
    assert torch.allclose(got[:rows, :channels], ratio * expected[:, :channels], atol=1e-5, rtol=1e-4)


def guided_predictions_at_one(pipe, name):
    """The conditional prediction of the first step."""
    outputs = []
    hook = denoiser(pipe).register_forward_hook(lambda module, args, out: outputs.append(out[0]))
    run(pipe, name, steps=1)
    hook.remove()
    if LAYOUTS[name] == "separate":
        return outputs[0]
    halves = outputs[0].chunk(2)
    return halves[1] if LAYOUTS[name] == "uncond-first" else halves[0]


def ratio_of(plain, prediction):
    """1 or -1."""
    same = torch.allclose(plain.flatten()[0], prediction[: len(plain)].flatten()[0], atol=1e-5)
    return 1 if same else -1


def test_an_interval_of_guidance_costs_what_it_guides():
    pipe = toys.build("StableDiffusion3")
    _, rows = applied(pipe, WeakToStrongConfig.interval(0.25, 0.75), "StableDiffusion3", steps=8, rows=2)
    assert rows == [2, 2, 4, 4, 4, 4, 2, 2]
    _, rows = applied(pipe, WeakToStrongConfig(Scaled(), strong_until=0.3), "StableDiffusion3", steps=10)
    assert rows == [2] * 3 + [1] * 7


def test_segmented_guidance_costs_two_rows_in_every_step():
    """SGG: guidance, then c + w (c - skip); each is two evaluations, and the skipping one is another prediction."""
    pipe = toys.build("StableDiffusion3")
    plain, _ = run(pipe, "StableDiffusion3", steps=4)
    segmented, rows = applied(pipe, WeakToStrongConfig.segmented([1]), "StableDiffusion3", steps=4)
    interval, _ = applied(pipe, WeakToStrongConfig.interval(0, 0.5), "StableDiffusion3", steps=4)
    assert rows == [2, 2, 1, 1, 1, 1]
    assert not torch.allclose(segmented, interval)
    assert not torch.allclose(segmented, plain)
    nothing, _ = applied(pipe, WeakToStrongConfig.segmented([1], scale=0.0), "StableDiffusion3", steps=4)
    assert torch.equal(nothing, interval)
    assert all("forward" not in vars(module) for module in pipe.transformer.modules())


def test_another_network_can_be_the_weak_one():
    pipe, weak = toys.build("StableDiffusion"), toys.build("StableDiffusion").unet
    config = WeakToStrongConfig(OtherNetwork(weak), strong_until=0.0)
    unguided, _ = run(pipe, "StableDiffusion", scale=1.0)
    same, rows = applied(pipe, config, "StableDiffusion")
    assert torch.equal(same, unguided), "the same weights"
    assert rows == [1] * 3


def test_a_weak_model_is_told_what_the_pipeline_knows_and_warns_outside_of_its_range():
    pipe = toys.build("StableDiffusion3")
    with torch.random.fork_rng():
        model = WeakModel(8, condition_width=64, width=16, heads=2, guidance_range=(1.0, 4.0))
    unguided, _ = run(pipe, "StableDiffusion3", scale=1.0, rows=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast, _ = applied(pipe, WeakToStrongConfig(model, strong_until=0.0), "StableDiffusion3", rows=2)
    assert torch.equal(fast, unguided), "untrained it is the conditional prediction"
    with pytest.warns(UserWarning, match="from 1 to 4 and is asked for 5") as caught:
        applied(pipe, WeakToStrongConfig(model, strong_until=0.0), "StableDiffusion3", scale=5.0)
    assert len([one for one in caught if "guess" in str(one.message)]) == 1, "once, not in each step"
    flux = toys.build("Flux true CFG")
    apply_weak_to_strong(flux, WeakToStrongConfig(model, strong_until=0.0))
    with pytest.raises(ValueError, match="FluxPipeline does not show its guidance scale"):
        run(flux, "Flux true CFG")


def test_calls_without_guidance_pass():
    """Where the pipeline says it does not guide, rows of equal samples are no halves, as in a superposition."""
    pipe = toys.build("StableDiffusion3")
    noise = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    plain = run(pipe, "StableDiffusion3", rows=2, scale=1.0, latents=noise)
    same = applied(pipe, WeakToStrongConfig(Scaled()), "StableDiffusion3", rows=2, scale=1.0, latents=noise)
    assert torch.equal(same[0], plain[0])
    dit = toys.build("DiT")
    plain = run(dit, "DiT", rows=2, scale=1.0)
    assert torch.equal(applied(dit, WeakToStrongConfig(Scaled()), "DiT", rows=2, scale=1.0)[0], plain[0])
    flux = toys.build("Flux true CFG")
    apply_weak_to_strong(flux, ALL_FAST)
    with pytest.raises(ValueError, match="FluxPipeline made no unconditional call in the step before"):
        run(flux, "Flux true CFG", scale=1.0)
    remove_weak_to_strong(flux)
    run(flux, "Flux true CFG", scale=1.0)


def test_skip_layer_guidances_own_call_passes():
    pipe, name = toys.build("StableDiffusion3"), "StableDiffusion3Pipeline, skipped layers"
    arguments = {"rows": 2, "steps": 8, "skip_layer_guidance_stop": 0.5}
    plain, both = run(pipe, name, **arguments)
    assert 2 in both
    same, rows = applied(pipe, WeakToStrongConfig(Scaled(), scale=1.0, strong_until=1.0), name, **arguments)
    assert torch.equal(same, plain)
    assert rows == both
    _, rows = applied(pipe, ALL_FAST, name, **arguments)
    assert rows == [2] * len(both)


def test_the_position_is_that_of_the_whole_run():
    """Image-to-image begins within the list of times; a window and a time shift show other times."""
    name = "StableDiffusionImg2ImgPipeline"
    pipe = toys.build(name)
    config = WeakToStrongConfig.interval(0.0, 0.5)
    for steps, strength, expected in ((8, 0.75, [2, 2, 1, 1, 1, 1]), (8, 0.5, [1] * 4)):
        assert applied(pipe, config, name, steps=steps, strength=strength)[1] == expected
    pipe = toys.build("StableDiffusion")
    own = pipe.scheduler
    pipe.scheduler = WindowedScheduler.from_scheduler(own)
    pipe.scheduler.set_window(0, 2)
    latents, first = applied(pipe, config, "StableDiffusion", steps=6)
    pipe.scheduler.set_window(2, 6)
    assert (first, applied(pipe, config, "StableDiffusion", steps=6, latents=latents)[1]) == ([2, 2], [2, 1, 1, 1])
    pipe.scheduler = TimeShiftScheduler.from_scheduler(own, window=40, cutoff=10)
    assert applied(pipe, config, "StableDiffusion", steps=6, rows=2)[1] == [4, 4, 4, 2, 2, 2]
    times = apply_per_sample_time(pipe, pipe.scheduler)
    together, rows = applied(pipe, config, "StableDiffusion", steps=6, rows=2)
    alone, _ = applied(pipe, config, "StableDiffusion", steps=6)
    times.remove()
    assert rows == [4, 4, 4, 2, 2, 2]
    assert torch.allclose(together[0], alone[0], rtol=1e-3, atol=1e-3 * float(alone.abs().max()))


@pytest.mark.parametrize("name", ["StableDiffusion", "Flux true CFG"])
def test_offloaded_and_again(name):
    plain = applied(toys.build(name), ALL_FAST, name)
    pipe = toys.build(name)
    pipe.enable_model_cpu_offload(device="cpu")
    hook = apply_weak_to_strong(pipe, ALL_FAST)
    for _ in range(2):
        latents, rows = run(pipe, name)
        assert torch.equal(latents, plain[0])
        assert rows == plain[1]
    hook.remove()
    guided, both = run(toys.build(name), name)
    for _ in range(2):
        latents, rows = run(pipe, name)
        assert torch.equal(latents, guided)
        assert rows == both


@pytest.mark.parametrize("name", ["StableDiffusion3", "Flux true CFG"])
@pytest.mark.parametrize("hooked_first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_compiled(name, hooked_first):
    config = WeakToStrongConfig(Scaled(), strong_until=0.5)
    plain = applied(toys.build(name), config, name)
    pipe = toys.build(name)
    if hooked_first:
        apply_weak_to_strong(pipe, config)
    pipe.transformer.compile(backend="eager")
    if not hooked_first:
        apply_weak_to_strong(pipe, config)
    latents, rows = run(pipe, name)
    assert torch.allclose(latents, plain[0], atol=1e-5)
    assert rows == plain[1]


def test_removal_and_a_second_one():
    pipe = toys.build("StableDiffusion")
    hook = apply_weak_to_strong(pipe)
    with pytest.raises(ValueError, match="StableDiffusionPipeline has a guidance hook already; remove it first"):
        apply_weak_to_strong(pipe)
    with count_nfe(pipe) as inside:
        run(pipe, "StableDiffusion")
    remove_weak_to_strong(pipe)
    remove_weak_to_strong(pipe)
    hook.remove()
    assert is_untouched(pipe.unet)
    assert inside.nfe == 4


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("StableDiffusion", {"strong_from": 0.5, "strong_until": 0.2}, "give 0 <= strong_from <= strong_until <= 1"),
        ("StableDiffusion", {"scale": -1.0}, "give at least 0"),
        ("StableDiffusion", {"layout": "sideways"}, "unknown layout 'sideways'; known: uncond-first, cond-first"),
        ("StableDiffusion", {"weak": SkippedLayers([0])}, "UNet2DConditionModel has no list of transformer blocks"),
        ("StableDiffusion3", {"weak": SkippedLayers([7])}, "has 3 layers; skip some of 0 to 2"),
        ("StableDiffusionPAGPipeline", {}, "in a way that is not known; if it guides by two, give layout="),
        ("StableDiffusionInstructPix2PixPipeline", {}, "combines its predictions in a way that is not known"),
        ("KandinskyCombinedPipeline", {}, "has 2 schedulers; give a pipeline of one stage"),
    ],
)
def test_what_does_not_fit_is_one_sentence(name, settings, message):
    pipe = toys.build(name)
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        apply_weak_to_strong(pipe, WeakToStrongConfig(**settings))
    assert message in str(error.value)


def test_without_need_the_weak_model_is_not_asked():
    strong, rest = WeakToStrongConfig(Scaled(), scale=1.0, rest_scale=1.0).rules()
    assert isinstance(strong, PipelineGuidance)
    assert rest.weak_predictors() == []
    assert SCALE > 1
