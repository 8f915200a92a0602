"""A folder goes on with the run that it holds, and with no other: names are not enough to know it by."""

import json
import re

import numpy as np
import pytest
import samplesmith
import torch
import toys
from chat_server import ChatServer, says
from fakes import Brightness
from PIL import Image
from samplesmith.pipelines import NoiseSearch, RecordsError
from samplesmith.pipelines.search.run_description import describe, differences, weights_of
from samplesmith.verifiers import CallableVerifier, VLMVerifier


@pytest.fixture
def pipe():
    return toys.build("StableDiffusion")


def search(pipe, verifier, folder, judge=None):
    arguments = {"num_candidates": 2, "progress": False, "output_dir": folder, **toys.SMALL}
    return NoiseSearch(pipe, verifier, judge=judge)(toys.PROMPT, **arguments)


def refused(difference, *arguments, **named):
    with pytest.raises(RecordsError, match=rf"holds another run \({re.escape(difference)}"):
        search(*arguments, **named)


def test_other_weights_under_the_same_name(pipe, tmp_path):
    search(pipe, Brightness(), tmp_path)
    assert len(search(pipe, Brightness(), tmp_path).records) == 2
    with torch.no_grad():
        next(pipe.unet.parameters()).flatten()[0] += 1
    refused("weights.unet was 'sha256:", pipe, Brightness(), tmp_path)


def test_another_folder_of_the_same_name(pipe, tmp_path):
    for name, seed in (("a", None), ("b", 1)):
        if seed is not None:
            with torch.no_grad():
                pipe.vae.decoder.conv_out.weight.mul_(1.5)
        pipe.save_pretrained(tmp_path / name / "model")
    models = [samplesmith.load(tmp_path / name / "model") for name in "ab"]
    search(models[0], Brightness(), tmp_path / "out")
    refused("weights.vae was 'sha256:", models[1], Brightness(), tmp_path / "out")
    search(samplesmith.load(tmp_path / "a/model"), Brightness(), tmp_path / "out")


def test_a_verifier_of_the_same_name(pipe, tmp_path):
    def dark(images, prompts):
        return -images.mean((1, 2, 3))

    search(pipe, Brightness(), tmp_path / "one")
    refused("verifier_identity.settings.factor was 1.0, now 2.0", pipe, Brightness(factor=2.0), tmp_path / "one")
    refused("judge was None, now 'dark'", pipe, Brightness(), tmp_path / "one", judge=CallableVerifier(dark))

    search(pipe, 2 * Brightness("a") + Brightness("b"), tmp_path / "sum")
    other = 2 * Brightness("a") + Brightness("b", factor=3.0)
    refused("verifier_identity.settings.parts[1].verifier.settings.factor was 1.0", pipe, other, tmp_path / "sum")


def test_another_address_or_question(pipe, tmp_path):
    with ChatServer(says('{"score": 5}')) as first, ChatServer(says('{"score": 7}')) as second:
        model = "judge"
        search(pipe, VLMVerifier(first.url, model), tmp_path)
        place = "verifier_identity.settings"
        refused(f"{place}.address was 'http://", pipe, VLMVerifier(second.url, model), tmp_path)
        asked = VLMVerifier(first.url, model, question="Is it {prompt}?")
        refused(f"{place}.question was 'How well", pipe, asked, tmp_path)
        assert len(second.requests) == 0


def test_a_module_that_has_not_changed_is_hashed_once(pipe, monkeypatch):
    from samplesmith.pipelines.search import run_description

    hashed = []
    original = run_description.hash_weights
    monkeypatch.setattr(run_description, "hash_weights", lambda module: hashed.append(module) or original(module))
    first = weights_of(pipe)
    assert weights_of(pipe) == first
    assert len(hashed) == len(first) == 3
    assert set(first) == {"text_encoder", "unet", "vae"}
    pipe.unet.load_state_dict({key: value + 1 for key, value in pipe.unet.state_dict().items()})
    second = weights_of(pipe)
    assert [name for name in first if first[name] != second[name]] == ["unet"]
    assert len(hashed) == 4


def test_arguments_are_described_by_what_they_hold():
    """Values that differ are told apart, also those whose type says nothing."""
    one, other = (Image.fromarray(np.full((4, 4), 0, np.uint8)) for _ in range(2))
    assert describe(one) == describe(other)
    one.putpalette([255, 0, 0])
    other.putpalette([0, 255, 0])
    pairs = [
        (one, other),
        (np.int64(10), np.int64(20)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.float16, torch.bfloat16),
        (float("inf"), float("nan")),
        ([{"scale": np.float32(1)}], [{"scale": np.float32(2)}]),
        (lambda x: x, lambda x: -x),
    ]
    for a, b in pairs:
        assert describe(a) != describe(b)
        json.dumps([describe(a), describe(b)], allow_nan=False)


def test_differences_name_the_place():
    before = {"a": {"b": [1, {"c": 2}], "d": None}, "e": 1}
    assert differences(before, {"a": {"b": [1, {"c": 3}], "d": None}, "e": 1}) == ["a.b[1].c was 2, now 3"]
    assert differences(before, {"a": {"b": [1], "d": 0}}) == [
        "a.b was [1, {'c': 2}], now [1]",
        "a.d was None, now 0",
        "e was 1, now None",
    ]
    assert differences(before, before) == []
