"""NFEs are what the denoiser was called for, whatever the scheduler and the guidance make of the step count."""

import pytest
import torch
import toys
from diffusers import EulerDiscreteScheduler, HeunDiscreteScheduler, KDPM2DiscreteScheduler, PNDMScheduler
from samplesmith.pipelines.ledger import count_nfe, denoisers


def nfe(pipe, **arguments) -> int:
    with count_nfe(pipe) as ledger:
        pipe(toys.PROMPT, output_type="latent", generator=torch.Generator().manual_seed(0), **arguments)
    return ledger.nfe


@pytest.mark.parametrize(
    ("scheduler", "calls"),
    [
        (EulerDiscreteScheduler(), 10),
        (PNDMScheduler(skip_prk_steps=True), 11),
        (HeunDiscreteScheduler(), 19),
        (KDPM2DiscreteScheduler(), 19),
    ],
)
@pytest.mark.parametrize(("guidance_scale", "rows"), [(1.0, 1), (5.0, 2)])
def test_solvers(scheduler, calls, guidance_scale, rows):
    pipe = toys.build("StableDiffusion")
    pipe.scheduler = scheduler
    size = {**toys.SMALL, "num_inference_steps": 10}
    assert nfe(pipe, guidance_scale=guidance_scale, num_images_per_prompt=3, **size) == 3 * rows * calls


def test_skip_layer_guidance_adds_calls():
    pipe = toys.build("StableDiffusion3")
    size = {**toys.SMALL, "num_inference_steps": 10, "max_sequence_length": 4, "guidance_scale": 5.0}
    plain = nfe(pipe, **size)
    assert plain == 20
    skipping = nfe(pipe, skip_guidance_layers=[1], skip_layer_guidance_start=0.0, skip_layer_guidance_stop=0.5, **size)
    assert plain < skipping < 30


def test_flux_guidance_is_no_cfg_but_true_cfg_is():
    pipe = toys.build("Flux")
    size = {**toys.SMALL, "max_sequence_length": 8}
    assert nfe(pipe, guidance_scale=3.5, **size) == 2
    assert nfe(pipe, true_cfg_scale=2.0, negative_prompt="a dog", **size) == 4


def test_a_pipeline_without_a_denoiser_is_one_sentence():
    with pytest.raises(ValueError, match="object has no network that takes a sample and a time"):
        denoisers(object())
