"""The models that ship: each loads by its name, and its card says what it is."""

import json

import pytest
from samplesmith import assets


def test_every_shipped_model_has_a_card_and_a_model_card():
    assert {"emoji-sd3", "emoji-clip", "emoji-detector", "emoji-aesthetic"} <= set(assets.names())
    for name in assets.names():
        assert assets.card(name)["kind"] in ("pipeline", "verifier", "weak model")
        assert (assets.path(name) / "README.md").read_text().startswith("# ")


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
