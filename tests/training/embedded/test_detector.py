import pytest
from samplesmith.models.scene_detector import SceneDetector
from samplesmith.training.embedded import detector
from stopped_runs import StopError, assert_same_weights, stop_at


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_weights_and_what_it_leaves_loads(tmp_path, monkeypatch, autoencoder):
    for name, value in {"EVALUATE_EVERY": 1, "BATCH": 8, "HELD_OUT": 8}.items():
        monkeypatch.setattr(detector, name, value)
    whole = detector.train(tmp_path / "whole", autoencoder, total_images=32, seed=0)
    with monkeypatch.context() as patch:
        stop_at(patch, 16)
        with pytest.raises(StopError):
            detector.train(tmp_path / "cut", autoencoder, total_images=32, seed=0)
    assert_same_weights(whole, detector.train(tmp_path / "cut", autoencoder, total_images=32, seed=0))
    assert SceneDetector.from_pretrained(tmp_path / "cut/emoji-detector").config["malformed"]
