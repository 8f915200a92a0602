import shutil

import numpy as np
import pytest
import samplesmith
import torch
import toys
from diffusers import StableDiffusion3Pipeline
from samplesmith import assets


def test_the_shipped_pipeline_is_a_plain_one(emoji_pipe):
    assert type(emoji_pipe) is StableDiffusion3Pipeline
    assert emoji_pipe.text_encoder_3 is None
    assert {
        p.dtype for part in emoji_pipe.components.values() if hasattr(part, "parameters") for p in part.parameters()
    } == {torch.float32}


def test_the_stock_class_loads_and_runs_the_shipped_folder():
    pipe = StableDiffusion3Pipeline.from_pretrained(
        assets.path("emoji-sd3"), text_encoder_3=None, tokenizer_3=None, dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        "a star on blue", generator=torch.Generator().manual_seed(0), **assets.call_defaults("emoji-sd3")
    ).images
    assert images[0].size == (128, 128)
    corner = np.asarray(images[0])[:8].reshape(-1, 3).mean(0)
    assert np.abs(corner - samplesmith.scenes.BACKGROUNDS["blue"]).max() < 30


def test_the_call_defaults_hold_the_short_sequence():
    assert assets.call_defaults("emoji-sd3")["max_sequence_length"] <= 16


def test_a_folder_without_its_t5(tmp_path):
    toys.build("StableDiffusion3").save_pretrained(tmp_path / "sd3")
    pipe = samplesmith.load(tmp_path / "sd3")
    assert pipe.tokenizer_3 is None
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    latents = pipe(toys.PROMPT, output_type="latent", generator=generator, max_sequence_length=4, **toys.SMALL).images
    assert latents.isfinite().all()


def test_half_precision_on_disk_is_one_dtype_in_memory(tmp_path):
    toys.build("StableDiffusion3").to(torch.float16).save_pretrained(tmp_path / "sd3")
    pipe = samplesmith.load(tmp_path / "sd3")
    assert {pipe.text_encoder.dtype, pipe.transformer.dtype, pipe.vae.dtype} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("emoji-sd4", "unknown model 'emoji-sd4': neither shipped"),
        ("somewhere/none.safetensors", "no file somewhere/none.safetensors"),
        ("nobody/nothing", "is no folder here and could not be fetched"),
    ],
)
def test_unknown_models_are_one_sentence(name, message):
    with pytest.raises(ValueError, match=message):
        samplesmith.load(name)


def test_a_folder_that_is_no_pipeline(tmp_path):
    with pytest.raises(ValueError, match=r"has no model_index\.json"):
        samplesmith.load(tmp_path)
    shutil.copytree(assets.path("emoji-sd3") / "scheduler", tmp_path / "scheduler")
    with pytest.raises(ValueError, match=r"has no model_index\.json"):
        samplesmith.load(tmp_path / "scheduler")


def test_unknown_dtype():
    with pytest.raises(ValueError, match="unknown dtype 'int8'; known: float32"):
        samplesmith.load("emoji-sd3", dtype="int8")
