import json

import pytest
import torch
from samplesmith.models.fashion_classifier import FashionClassifier
from samplesmith.training.embedded import fashion_classifier
from stopped_runs import StopError, assert_same_weights, stop_at
from stripes import stripes


def train(folder, total_images):
    return fashion_classifier.train(folder, stripes(320, 0), stripes(100, 1), total_images, seed=0)


@pytest.fixture
def _small(monkeypatch):
    """A small model and small batches, a checkpoint for each step."""
    monkeypatch.setattr(fashion_classifier, "FashionClassifier", lambda: FashionClassifier(width=8))
    for name, value in {"BATCH": 32, "EVALUATE_EVERY": 1, "LOG_EVERY": 1}.items():
        monkeypatch.setattr(fashion_classifier, name, value)


@pytest.mark.usefixtures("_small")
def test_it_learns_and_what_it_leaves_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_classifier, "EVALUATE_EVERY", 60)
    monkeypatch.setattr(fashion_classifier, "WARM_UP_IMAGES", 160)
    model = train(tmp_path, 60 * 32)
    held_out = stripes(100, 1)
    accuracy = fashion_classifier.accuracy(model, *held_out)
    assert accuracy > 0.5  # chance is 0.1
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["accuracy"] == round(accuracy, 5)
    loaded = FashionClassifier.from_pretrained(tmp_path / "fashion-classifier", dtype=torch.float32).eval()
    assert torch.allclose(loaded(held_out[0]), model(held_out[0]), atol=0.05)


@pytest.mark.usefixtures("_small")
def test_a_stopped_run_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", 96)
    with monkeypatch.context() as patch:
        stop_at(patch, 32)
        with pytest.raises(StopError):
            train(tmp_path / "cut", 96)
    assert_same_weights(whole, train(tmp_path / "cut", 96))


def test_augmenting_keeps_shoes_unmirrored_and_moves_by_at_most_two_pixels():
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(400, 1, 32, 32)
    x[:, :, 4, 6] = 1.0
    labels = torch.tensor([0, 5, 7, 9]).repeat(100)
    seen = fashion_classifier.augment(x, labels, generator)
    assert seen.shape == x.shape
    for label in (0, 5, 7, 9):
        places = seen[labels == label].nonzero()
        assert set(places[:, 2].tolist()) == set(range(2, 7))
        columns = set(places[:, 3].tolist())
        assert columns == (set(range(4, 9)) | set(range(23, 28)) if label == 0 else set(range(4, 9)))


def test_augmenting_blacks_out_a_square():
    generator = torch.Generator().manual_seed(0)
    seen = fashion_classifier.augment(torch.ones(50, 1, 32, 32), torch.zeros(50, dtype=torch.long), generator)
    inner = (seen[:, 0, 2:-2, 2:-2] == 0).sum((1, 2))
    assert inner.max() == fashion_classifier.ERASED_SIDE**2
    assert inner.min() > 0
