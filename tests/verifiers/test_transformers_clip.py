import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from samplesmith.verifiers.transformers_clip import TransformersPreprocessing, load_transformers_clip
from toy_clip import save_clip
from transformers import CLIPImageProcessor


def test_a_prompt_beyond_the_context_warns(clip_folder):
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="pick sees the prompt cut to 14 tokens"):
        load_transformers_clip(clip_folder)(images, "a cat and a dog and a frog and a fish and a car on pink")


def test_a_processor_that_does_not_scale_to_one_is_refused():
    with pytest.raises(ValueError, match="does not scale 8 bits"):
        TransformersPreprocessing(CLIPImageProcessor(do_rescale=False))


def test_a_pickle_is_not_read(clip_folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    for file in clip_folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({"logit_scale": Bomb()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"gives no CLIP model of transformers with safetensors: .*model.safetensors"):
        load_transformers_clip(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_missing_weights_are_not_drawn(clip_folder, tmp_path):
    for file in clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"its weights lack visual_projection\.weight"):
        load_transformers_clip(tmp_path)


def test_another_kind_of_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(ValueError, match="describes a model of type 'siglip'"):
        load_transformers_clip(tmp_path)


def test_a_processor_that_crops_to_another_size_is_refused(tmp_path):
    with torch.random.fork_rng():
        save_clip(tmp_path, crop=24)
    with pytest.raises(ValueError, match=r"takes 32 x 32 px but its preprocessing gives 24 x 24"):
        load_transformers_clip(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no such/folder/here", "is neither a folder nor a hub id"),
        ("nobody/nothing", "'nobody/nothing' gives no CLIP model"),
    ],
)
def test_unknown_sources_are_one_sentence(source, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_transformers_clip(source)
    assert "\n" not in str(caught.value)
