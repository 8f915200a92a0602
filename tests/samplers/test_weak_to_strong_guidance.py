"""The guider, inside a modular pipeline of diffusers with random weights."""

import pytest
import torch
import toys
from diffusers import ClassifierFreeGuidance, ModularPipeline
from diffusers.modular_pipelines import StableDiffusion3AutoBlocks
from guided_runs import Scaled, is_untouched
from samplesmith import WeakToStrongGuidance
from samplesmith.samplers import SkippedLayers
from samplesmith.samplers.hooks import count_evaluations

SCALE, STEPS = 3.0, 4


@pytest.fixture(scope="module")
def pipe():
    plain = toys.build("StableDiffusion3")
    modular = StableDiffusion3AutoBlocks().init_pipeline()
    parts = ("transformer", "scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    modular.update_components(**{name: getattr(plain, name) for name in parts})
    modular.set_progress_bar_config(disable=True)
    assert isinstance(modular, ModularPipeline)
    return modular


def run(pipe, guider):
    pipe.update_components(guider=guider)
    rows = []
    with count_evaluations(pipe.transformer, rows.append):
        latents = pipe(
            prompt="a cat on pink",
            height=32,
            width=32,
            num_inference_steps=STEPS,
            max_sequence_length=4,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
            output="latents",
        )
    return latents, rows


def test_identities_and_costs(pipe):
    guided, both = run(pipe, ClassifierFreeGuidance(guidance_scale=SCALE))
    unguided, single = run(pipe, ClassifierFreeGuidance(guidance_scale=1.0))
    assert (both, single) == ([1] * 2 * STEPS, [1] * STEPS)
    same, rows = run(pipe, WeakToStrongGuidance(SCALE, scale=1.0, strong_until=1.0, weak=Scaled()))
    assert torch.equal(same, guided)
    assert rows == both
    fast, rows = run(pipe, WeakToStrongGuidance(SCALE, strong_until=0.0))
    assert torch.equal(fast, unguided)
    assert rows == single
    half, rows = run(pipe, WeakToStrongGuidance(SCALE, scale=1.0, strong_until=0.5))
    assert rows == [1] * 6
    stopped, _ = run(pipe, ClassifierFreeGuidance(guidance_scale=SCALE, stop=0.5))
    assert torch.equal(half, stopped), "diffusers' own interval"
    skipping = WeakToStrongGuidance(SCALE, scale=1.0, strong_until=0.5, rest_scale=4.0, weak=SkippedLayers([1]))
    segmented, rows = run(pipe, skipping)
    assert rows == both
    assert not torch.allclose(segmented, half)
    slow, _ = run(pipe, WeakToStrongGuidance(SCALE, scale=1.5, strong_until=1.0, weak=Scaled()))
    assert not torch.allclose(slow, guided)
    off, _ = run(pipe, WeakToStrongGuidance(SCALE, weak=Scaled(), enabled=False))
    assert torch.equal(off, unguided)
    assert is_untouched(pipe.transformer)


def test_it_is_saved_and_copied(tmp_path):
    guider = WeakToStrongGuidance(2.0, scale=1.2, strong_until=0.4, weak=Scaled())
    guider.save_pretrained(tmp_path)
    loaded = WeakToStrongGuidance.from_pretrained(tmp_path)
    assert (loaded.config.scale, loaded.config.strong_until, loaded.weak) == (1.2, 0.4, None)
    copy = guider.new(guidance_scale=5.0)
    assert (copy.guidance_scale, copy.config.scale, copy.weak) == (5.0, 1.2, guider.weak)
    with pytest.raises(ValueError, match="shares of the steps"):
        WeakToStrongGuidance(strong_until=2.0)
