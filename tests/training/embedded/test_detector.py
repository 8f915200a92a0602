import numpy as np
import pytest
from samplesmith import scenes
from samplesmith.models.scene_detector import SceneDetector
from samplesmith.training.embedded import detector
from samplesmith.training.embedded.generated_scenes import GeneratedScene
from stopped_runs import StopError, assert_same_weights, stop_at


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_weights_and_what_it_leaves_loads(tmp_path, monkeypatch, autoencoder):
    for name, value in {"EVALUATE_EVERY": 1, "BATCH": 8, "HELD_OUT": 8}.items():
        monkeypatch.setattr(detector, name, value)
    monkeypatch.setattr(detector, "UNSEEN", 2)
    pictures, drawn = scenes.draw_batch(np.random.default_rng(0), 6)
    generated = [
        GeneratedScene(image, one.background, one.sprites[1:], one.sprites[:1], ())
        for image, one in zip(pictures, drawn, strict=True)
    ]
    whole = detector.train(tmp_path / "whole", autoencoder, 32, 0, generated)
    with monkeypatch.context() as patch:
        stop_at(patch, 16)
        with pytest.raises(StopError):
            detector.train(tmp_path / "cut", autoencoder, 32, 0, generated)
    assert_same_weights(whole, detector.train(tmp_path / "cut", autoencoder, 32, 0, generated))
    assert SceneDetector.from_pretrained(tmp_path / "cut/emoji-detector").config == whole.config
