"""The models that ship: each loads by its name, and its card says what it is."""

import json

import pytest
import torch
from samplesmith import assets
from samplesmith.models.fashion_classifier import load_classifier
from samplesmith.models.weak_logits import WeakLogitsModel
from samplesmith.pipelines.token_pictures import TokenPictures
from samplesmith.samplers.hooks import WeakToStrongConfig


def test_every_shipped_model_has_a_card_and_a_model_card():
    assert {"emoji-sd3", "emoji-clip", "emoji-detector", "emoji-aesthetic"} <= set(assets.names())
    for name in assets.names():
        assert assets.card(name)["kind"] in ("pipeline", "verifier", "weak model", "token pictures")
        assert (assets.path(name) / "README.md").read_text().startswith("# ")


def test_the_model_of_tokens_draws_what_its_class_says_and_its_weak_model_halves_the_forwards():
    pictures = TokenPictures.from_pretrained("fashion-ar")
    weak = WeakLogitsModel.from_pretrained(assets.path("fashion-ar") / "weak-model", dtype=torch.float32).eval()
    labels, rows = [seed % 10 for seed in range(40)], []
    pictures.model.register_forward_hook(lambda module, inputs, output: rows.append(len(output.logits)))
    drawn = pictures(labels, range(40), 2.0, WeakToStrongConfig(weak, strong_until=0.0))
    assert sum(rows) == 40 * pictures.tokens
    classifier = load_classifier(assets.path("fashion-classifier"))
    with torch.no_grad():
        told = classifier(torch.from_numpy(drawn).movedim(-1, 1).float() / 255).argmax(1)
    assert (told == torch.tensor(labels)).float().mean() > 0.6


def test_weights_stay_small():
    files = [file for name in assets.names() for file in assets.path(name).rglob("*.safetensors")]
    assert max(file.stat().st_size for file in files) < 30e6
    assert sum(file.stat().st_size for file in files) <= 108e6


def test_configs_name_no_path_of_a_machine():
    for name in assets.names():
        for file in assets.path(name).rglob("*config*.json"):
            assert "_name_or_path" not in json.loads(file.read_text()), file


@pytest.mark.parametrize("name", ["emoji-sd4", "../emoji-sd3", "", "emoji-sprites"])
def test_unknown_name_is_one_sentence(name):
    with pytest.raises(ValueError, match="no shipped model is called"):
        assets.path(name)
