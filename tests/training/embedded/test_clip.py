import json

import pytest
from samplesmith import scenes
from samplesmith.training.embedded import clip
from samplesmith.verifiers import CLIPVerifier
from stopped_runs import StopError, assert_same_weights, stop_at


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_weights_and_what_it_leaves_loads(tmp_path, monkeypatch, autoencoder):
    for name, value in {"BATCH": 8, "HELD_OUT": 20, "CHOICES": 3, "EVALUATE_EVERY": 1}.items():
        monkeypatch.setattr(clip, name, value)
    look = clip.as_generated(autoencoder)
    whole = clip.train(tmp_path / "whole", look, total_images=24, seed=0)
    with monkeypatch.context() as patch:
        stop_at(patch, 8)
        with pytest.raises(StopError):
            clip.train(tmp_path / "cut", look, total_images=24, seed=0)
    assert_same_weights(whole, clip.train(tmp_path / "cut", look, total_images=24, seed=0))
    verifier = CLIPVerifier.load(tmp_path / "cut/emoji-clip")
    assert verifier.preprocess.size == (scenes.IMAGE_SIZE, scenes.IMAGE_SIZE)
    assert verifier.text_features(["two cats on blue"]).shape == (1, 128)
    figures = json.loads((tmp_path / "cut/log.jsonl").read_text().splitlines()[-1])
    assert 0 <= figures["picked"] <= 1
    assert 0 <= figures["better_than_spoiled"] <= 1
