import json

import numpy as np
import pytest
import torch
import toys
from PIL import Image
from samplesmith.verifiers import PreferenceVerifier
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

PROMPTS = ["a cat on pink", "three dogs left of a tree on blue", "two frogs on white"]


def save(folder, side=32, crop=32):
    """A CLIP model of transformers with random weights and the emoji models' tokenizer, as PickScore's is saved."""
    text = toys.clip_text(projected=True).config.to_dict()
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": side,
        "patch_size": 8,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    pixels = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": crop, "width": crop})
    model.save_pretrained(folder)
    CLIPProcessor(pixels, toys.tokenizer()).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "pick"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save(folder)
    return folder


def logits(folder, pictures, prompts):
    """What PickScore's model card computes."""
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    inputs = processor(images=pictures, text=prompts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits_per_image


def pictures(side, count=3):
    rng = np.random.default_rng(0)
    smooth = rng.random((count, 4, 4, 3))
    return [
        Image.fromarray((one * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC) for one in smooth
    ]


def test_it_is_the_logit_of_each_image_for_its_own_prompt(folder):
    verifier = PreferenceVerifier.load(folder)
    assert verifier.name == "pick"
    expected = logits(folder, pictures(32), PROMPTS).diagonal()
    assert torch.allclose(verifier(pictures(32), PROMPTS), expected, atol=1e-3)
    assert verifier.scale == pytest.approx(0.2 * verifier.logit_scale)


def test_other_sizes_are_brought_to_the_models_own_as_its_processor_does(folder):
    verifier = PreferenceVerifier.load(folder)
    for side in (96, 20):
        expected = logits(folder, pictures(side), PROMPTS[:1])[:, 0]
        assert torch.allclose(verifier(pictures(side), PROMPTS[0]), expected, atol=1e-3)


def test_a_score_depends_on_its_own_prompt_alone(folder):
    """The longest prompt of a batch sets no padding that another would feel."""
    verifier = PreferenceVerifier.load(folder)
    alone = [verifier(pictures(32)[k : k + 1], PROMPTS[k]).item() for k in range(3)]
    assert PreferenceVerifier.load(folder)(pictures(32), PROMPTS).tolist() == pytest.approx(alone, abs=1e-4)


def test_differentiable(folder):
    x = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)).requires_grad_()
    PreferenceVerifier.load(folder)(x, "a cat on pink").backward()
    assert x.grad.abs().sum() > 0


def test_a_prompt_beyond_the_context_warns(folder):
    with pytest.warns(UserWarning, match="pick sees the prompt cut to 14 tokens"):
        PreferenceVerifier.load(folder)(pictures(32, 1), "a cat and a dog and a frog and a fish and a car on pink")


def test_an_open_clip_model_as_hpsv2s_gives_its_logit(emoji_clip):
    verifier = PreferenceVerifier(emoji_clip, "hpsv2")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    factor = emoji_clip.model.logit_scale.exp().item()
    assert factor > 2
    assert torch.allclose(verifier(images, "a cat on pink"), factor * emoji_clip(images, "a cat on pink"), rtol=1e-5)
    assert (verifier.name, emoji_clip.name) == ("hpsv2", "emoji-clip")


def test_a_pickle_is_not_read(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    for file in folder.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({"logit_scale": Bomb()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"gives no CLIP model of transformers with safetensors: .*model.safetensors"):
        PreferenceVerifier.load(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_missing_weights_are_not_drawn(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"its weights lack visual_projection\.weight"):
        PreferenceVerifier.load(tmp_path)


def test_another_kind_of_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(ValueError, match="describes a model of type 'siglip'"):
        PreferenceVerifier.load(tmp_path)


def test_a_processor_that_crops_to_another_size_is_refused(tmp_path):
    with torch.random.fork_rng():
        save(tmp_path, crop=24)
    with pytest.raises(ValueError, match=r"takes 32 x 32 px but its preprocessing gives 24 x 24"):
        PreferenceVerifier.load(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no such/folder/here", "is neither a folder nor a hub id"),
        ("nobody/nothing", "'nobody/nothing' gives no CLIP model"),
    ],
)
def test_unknown_sources_are_one_sentence(source, message):
    with pytest.raises(ValueError, match=message) as caught:
        PreferenceVerifier.load(source)
    assert "\n" not in str(caught.value)
