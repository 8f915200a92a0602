"""Zigzag on unmodified pipelines: what it costs, what it equals, and that it comes off."""

import pytest
import torch
import toys
from guided_runs import SCALE, Scaled, denoiser, is_untouched, run
from samplesmith.samplers import WeakToStrongConfig, ZigzagConfig, apply_weak_to_strong, apply_zigzag, remove_zigzag
from samplesmith.samplers.hooks import GuidanceAt, PipelineGuidance, SkippedLayers, WeakToStrong

NAMES = ["StableDiffusion", "StableDiffusionXL", "StableDiffusion3", "DiT", "Flux true CFG"]


def applied(pipe, config, name, **arguments):
    hook = apply_zigzag(pipe, config)
    made = run(pipe, name, **arguments)
    hook.remove()
    return made


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_what_is_bit_for_bit(name):
    pipe = toys.build(name)
    own = pipe.scheduler
    plain, _ = run(pipe, name, rows=2)
    assert torch.equal(applied(pipe, ZigzagConfig(until=0.0), name, rows=2)[0], plain)
    zigzag, counted = applied(pipe, ZigzagConfig(guidance_scale=SCALE), name, rows=2)
    if name == "Flux true CFG":  # the conditional call comes first, before it is known what it will be for
        assert counted == [2] * 2 * (3 * 2 + 1)
    else:
        assert counted == [4, 2, 4, 4, 2, 4, 4]
    assert zigzag.isfinite().all()
    assert not torch.allclose(zigzag, plain)
    assert pipe.scheduler is own
    assert is_untouched(denoiser(pipe))
    assert torch.equal(run(pipe, name, rows=2)[0], plain)


@pytest.mark.parametrize("name", ["StableDiffusion3", "Flux true CFG"])
def test_a_zigzag_is_its_three_legs(name):
    """By hand, on the first of two steps: y = x - h g(x), x~ = y + h u(y), x' = x~ - h g(x~)."""
    pipe = toys.build(name)
    inverse, _ = applied(pipe, ZigzagConfig(guidance_scale=SCALE), name, steps=2)
    network, seen = denoiser(pipe), []
    hook = apply_zigzag(pipe, ZigzagConfig(guidance_scale=SCALE))
    own = type(pipe.scheduler).step
    outputs = []

    def step(output, t, sample, **kwargs):
        after = own(pipe.scheduler, output, t, sample, **kwargs)
        seen.append((sample, after[0]))
        outputs.append(output)
        return after

    pipe.scheduler.step = step
    run(pipe, name, steps=2)
    sigmas = pipe.scheduler.sigmas
    del pipe.scheduler.step
    hook.remove()
    h = sigmas[0] - sigmas[1]
    (x, y), (_, back), (again, after), _ = seen
    assert torch.allclose(y, x - h * outputs[0], atol=1e-5)
    assert torch.allclose(back, y + h * outputs[1], atol=1e-5)
    assert torch.equal(back, again)
    assert torch.allclose(after, back - h * outputs[2], atol=1e-5)
    assert torch.equal(inverse, seen[-1][1])
    # The weak leg is the unconditional prediction at (y, t'), which a run without guidance of the empty prompt has.
    evaluated = []
    handle = network.register_forward_hook(lambda module, args, out: evaluated.append(out[0]))
    run(pipe, name, steps=2)
    handle.remove()
    assert not torch.allclose(outputs[1], outputs[0])


def test_w2sds_general_pair_and_z_core():
    """Any two rules; Z-CoRe² inverts and steps again from the conditional half."""
    pipe, name = toys.build("StableDiffusion3"), "StableDiffusion3"
    pair = ZigzagConfig(zag=WeakToStrong(SkippedLayers([1]), 0.0, of_guided=False), until=0.5)
    assert applied(pipe, pair, name, steps=4)[1] == [2, 1, 1, 2, 2, 1, 1, 2, 2, 2]
    core = ZigzagConfig.core(Scaled(), inversion_scale=1.0, until=0.5)
    assert applied(pipe, core, name, steps=4)[1] == [2, 1, 1, 2, 1, 1, 2, 2]
    same = ZigzagConfig(zag=GuidanceAt(SCALE))
    by_scale, _ = applied(pipe, same, name, steps=4)
    by_rule, _ = applied(pipe, ZigzagConfig(zag=PipelineGuidance()), name, steps=4)
    assert torch.allclose(by_scale, by_rule, atol=1e-5)


def test_z_core_with_one_weak_prediction_in_both_legs_is_nearly_plain_guidance():
    """Why the two legs ask for different scales: with small steps the inversion and the step again cancel."""
    pipe, name = toys.build("StableDiffusion3"), "StableDiffusion3"
    plain, _ = run(pipe, name, steps=40)
    weak = WeakToStrong(Scaled(), 0.0, of_guided=False)
    cancelled, _ = applied(pipe, ZigzagConfig(zag=weak, again=weak), name, steps=40)
    zigzag, _ = applied(pipe, ZigzagConfig(), name, steps=40)
    assert (cancelled - plain).abs().max() < 0.1 * (zigzag - plain).abs().max()


def test_two_methods_at_once_are_refused():
    pipe = toys.build("StableDiffusion")
    own = pipe.scheduler
    apply_zigzag(pipe)
    with pytest.raises(ValueError, match="has a guidance hook already"):
        apply_weak_to_strong(pipe, WeakToStrongConfig())
    with pytest.raises(ValueError, match=r"zigzag does not go around ZigzagScheduler|has a guidance hook already"):
        apply_zigzag(pipe)
    remove_zigzag(pipe)
    assert pipe.scheduler is own
    assert is_untouched(pipe.unet)
