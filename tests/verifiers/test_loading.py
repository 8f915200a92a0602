import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from samplesmith import assets
from samplesmith.verifiers import (
    AestheticVerifier,
    CLIPVerifier,
    DetectorVerifier,
    PreferenceVerifier,
    VLMVerifier,
    load_verifier,
)


@pytest.mark.parametrize(
    ("name", "cls"),
    [("emoji-clip", CLIPVerifier), ("emoji-detector", DetectorVerifier), ("emoji-aesthetic", AestheticVerifier)],
)
def test_shipped_verifiers_load_under_their_name(name, cls):
    verifier = load_verifier(name)
    assert type(verifier) is cls
    assert verifier.name == name


def test_a_folder_of_an_open_clip_model():
    assert isinstance(load_verifier(assets.path("emoji-clip")), CLIPVerifier)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("preference:{}", ("{}", None)),
        ("preference:yuvalkirstain/PickScore_v1", ("yuvalkirstain/PickScore_v1", None)),
        ("preference:yuvalkirstain/PickScore_v1@main", ("yuvalkirstain/PickScore_v1", "main")),
    ],
)
def test_preference_names_a_folder_or_a_hub_id_with_its_revision(name, expected, tmp_path, monkeypatch):
    folder = tmp_path / "with@sign:and:colons"
    folder.mkdir()
    asked = []
    monkeypatch.setattr(PreferenceVerifier, "load", lambda source, revision=None: asked.append((source, revision)))
    load_verifier(name.format(folder))
    assert asked == [(expected[0].format(folder), expected[1])]


def test_a_preference_that_does_not_load_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="gives no CLIP model of transformers"):
        load_verifier(f"preference:{tmp_path}")


def test_a_folder_that_is_no_verifier_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"is no verifier: it holds no open_clip_config\.json"):
        load_verifier(tmp_path)


@pytest.mark.parametrize("kind", ["pointer", "torn", "other weights", "part of the weights", "no config"])
@pytest.mark.parametrize("name", ["emoji-detector", "emoji-aesthetic", "fashion-classifier"])
def test_spoiled_files_of_a_shipped_verifier_are_one_sentence(tmp_path, monkeypatch, name, kind):
    for one in {name, "emoji-clip"}:
        shutil.copytree(assets.path(one), tmp_path / one)
    monkeypatch.setattr(assets, "_ROOT", tmp_path)
    (weights,) = (tmp_path / name).glob("*.safetensors")
    if kind == "pointer":
        weights.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif kind == "torn":
        weights.write_bytes(weights.read_bytes()[:100])
    elif kind == "other weights":
        save_file({"stem.0.weight": torch.zeros(3, 3)}, weights, metadata={"format": "pt"})
    elif kind == "part of the weights":
        some = dict(list(load_file(weights).items())[:-1])
        save_file(some, weights, metadata={"format": "pt"})
    elif name == "emoji-aesthetic":
        weights.unlink()
    else:
        (tmp_path / name / "config.json").write_text("{")
    with pytest.raises(ValueError, match=name) as caught:
        load_verifier(name)
    assert "\n" not in str(caught.value)


def test_self_supervised_compares_the_features_of_the_named_verifier(emoji_clip):
    verifier = load_verifier("self-supervised:emoji-clip")
    assert verifier.name == "self-supervised emoji-clip"
    final, early = torch.rand(2, 2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    expected = (emoji_clip.image_features(final) * emoji_clip.image_features(early)).sum(1)
    assert torch.allclose(verifier(final, "x", early), expected, atol=1e-5)
    with pytest.raises(ValueError, match="emoji-detector has no image features to compare"):
        load_verifier("self-supervised:emoji-detector")


def test_a_model_behind_an_endpoint():
    verifier = load_verifier("vlm:qwen2.5vl:7b@http://localhost:11434/v1")
    assert type(verifier) is VLMVerifier
    assert repr(verifier) == "VLMVerifier('http://localhost:11434/v1/chat/completions', 'qwen2.5vl:7b')"
    with pytest.raises(ValueError, match="'vlm:qwen' names no model and address; give vlm:MODEL@BASE_URL"):
        load_verifier("vlm:qwen")


@pytest.mark.parametrize(
    "name", ["emoji-clop", "clip:ViT-B-32", "", "emoji-sd3", "a:b:c:d:e", "vlm", "preference:", "self-supervised:clop"]
)
def test_unknown_names_are_one_sentence_that_lists_the_known(name):
    with pytest.raises(ValueError, match=r"unknown verifier .*emoji-clip.*preference:HUB_ID.*vlm:MODEL@BASE_URL"):
        load_verifier(name)
