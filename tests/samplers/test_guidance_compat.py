"""What `samplers/compat.py` knows of how pipelines guide, watched in diffusers."""

import inspect

import diffusers
import pytest
import torch
import toys
from samplesmith.samplers import compat
from samplesmith.samplers.hooks.networks import argument_names

GUIDES = {
    "StableDiffusionPipeline": "uncond-first",
    "StableDiffusionXLControlNetPipeline": "uncond-first",
    "StableDiffusion3Pipeline": "uncond-first",
    "PixArtSigmaPipeline": "uncond-first",
    "CogVideoXPipeline": "uncond-first",
    "DiTPipeline": "cond-first",
    "LuminaPipeline": "cond-first",
    "StableCascadeDecoderPipeline": "cond-first",
    "StableCascadePriorPipeline": "cond-first",
    "FluxPipeline": "separate",
    "QwenImagePipeline": "separate",
    "ChromaPipeline": "separate",
    "WanPipeline": "separate",
    "Lumina2Pipeline": "separate",
    "Kandinsky5T2IPipeline": "separate",
    "StableDiffusionPAGPipeline": None,
    "StableDiffusionSAGPipeline": None,
    "StableDiffusionInstructPix2PixPipeline": None,
    "OmniGenPipeline": None,
    "DDPMPipeline": None,
}


@pytest.mark.parametrize("name", GUIDES)
def test_how_a_pipeline_guides_is_read_in_its_loop(name):
    pipe = object.__new__(getattr(diffusers, name))
    assert compat.guidance_layout(pipe) == GUIDES[name]


def test_a_loop_without_a_source_tells_nothing():
    namespace = {}
    exec("class Pipe:\n    def __call__(self): pass", namespace)
    assert compat.guidance_layout(namespace["Pipe"]()) is None


def test_a_pipelines_scale_is_that_of_its_two_predictions():
    """Beside `true_cfg_scale`, `guidance_scale` is told to the model."""
    pipe = toys.build("StableDiffusion")
    assert compat.own_guidance_scale(pipe) is None, "before a call"
    pipe._guidance_scale = 3
    assert (compat.own_guidance_scale(pipe), compat.says_it_guides(pipe)) == (3.0, True)
    flux = toys.build("Flux true CFG")
    flux._guidance_scale = 3.5
    assert compat.own_guidance_scale(flux) is None
    assert compat.says_it_guides(flux) is None
    assert compat.says_it_guides(toys.build("DiT")) is None


def test_controlnets_take_the_picture_that_controls():
    pipe = toys.build("ControlNet")
    assert compat.returns_residuals(argument_names(pipe.controlnet))
    assert not compat.returns_residuals(argument_names(pipe.unet))


def test_rows_that_do_not_come_first():
    """HiDream's text encoder gives the states of each layer, AnimateDiff repeats the text for each frame."""
    hidream = inspect.getsource(diffusers.HiDreamImageTransformer2DModel.forward)
    assert "encoder_hidden_states_llama3" in hidream
    assert "repeat_interleave(repeats=num_frames" in inspect.getsource(diffusers.AnimateDiffPipeline.__call__)
    named = set(inspect.signature(diffusers.FluxTransformer2DModel.forward).parameters)
    assert {"img_ids", "txt_ids"} <= named & compat.NO_ROWS


def test_a_pooled_condition():
    tokens, pooled = torch.ones(2, 3, 5), torch.zeros(2, 4)
    assert compat.pooled_condition({"pooled_projections": pooled, "encoder_hidden_states": tokens}) is pooled
    assert compat.pooled_condition({"added_cond_kwargs": {"text_embeds": pooled}}) is pooled
    assert compat.pooled_condition({"encoder_hidden_states": tokens}).tolist() == [[1.0] * 5] * 2
    assert compat.pooled_condition({"class_labels": torch.ones(2)}) is None


@pytest.mark.parametrize("name", ["FluxPipeline", "StableDiffusion3Pipeline", "QwenImagePipeline"])
def test_a_skipped_block_hands_on_what_it_got_in_its_own_order(name):
    block = toys.build(name).transformer.transformer_blocks[0]
    returned = inspect.getsource(type(block).forward).rsplit("return ", 1)[1]
    hidden, text = torch.zeros(1), torch.ones(1)
    states = {"hidden_states": hidden, "encoder_hidden_states": text}
    first = states[returned.split(",")[0].strip()]
    assert compat.skipped_block(block, (), states)[0] is first
    with pytest.raises(ValueError, match="what Identity returns is not known"):
        compat.skipped_block(torch.nn.Identity(), (), states)
