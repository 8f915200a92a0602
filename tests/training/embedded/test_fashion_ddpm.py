"""The recipe of the Fashion-MNIST denoisers in small, on synthetic pictures."""

import json

import numpy as np
import pytest
import samplesmith
import torch
from PIL import Image
from samplesmith import fashion
from samplesmith.training.checkpoints import WrongRunError
from samplesmith.training.embedded import denoisers, fashion_ddpm
from stopped_runs import StopError, assert_same_weights, stop_at
from stripes import signed, stripes


def train(folder, total_images, classes=tuple(range(10))):
    training, held_out = signed(stripes(64, 0, classes)), signed(stripes(16, 1, classes))
    return fashion_ddpm.train(folder, "fashion-x", training, held_out, total_images, seed=0, compiled=False)


@pytest.fixture
def _small(monkeypatch):
    """A small model and small batches, a checkpoint for each step."""
    build = fashion_ddpm.build_transformer
    monkeypatch.setattr(fashion_ddpm, "build_transformer", lambda: build(width=32, layers=1))
    monkeypatch.setattr(denoisers, "BATCH", 8)
    monkeypatch.setattr(denoisers, "LOG_EVERY", 1)
    monkeypatch.setattr(fashion_ddpm, "EVALUATE_EVERY", 1)
    monkeypatch.setattr(fashion_ddpm, "SHEET_ROWS", 1)


@pytest.mark.usefixtures("_small")
def test_a_stopped_run_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", 24)
    with monkeypatch.context() as patch:
        stop_at(patch, 8)
        with pytest.raises(StopError):
            train(tmp_path / "cut", 24)
    assert_same_weights(whole.transformer, train(tmp_path / "cut", 24).transformer)


@pytest.mark.usefixtures("_small")
def test_a_folder_of_other_classes_is_refused(tmp_path):
    train(tmp_path, 8)
    with pytest.raises(WrongRunError, match=r"classes was \[0, 1, 2, .+\], now \[0, 2, 3, 4, 6\]"):
        train(tmp_path, 8, classes=fashion.TOPS)


@pytest.mark.usefixtures("_small")
def test_it_leaves_a_pipeline_of_its_classes_and_a_sheet(tmp_path):
    train(tmp_path, 16, classes=fashion.TOPS)
    pipe = samplesmith.load(tmp_path / "fashion-x")
    pipe.set_progress_bar_config(disable=True)
    assert pipe.labels == {fashion.CLASSES[k]: k for k in fashion.TOPS}
    generator = torch.Generator().manual_seed(0)
    images = pipe("Coat", num_inference_steps=2, guidance_scale=2.0, generator=generator).images
    assert images[0].size == (32, 32)
    with pytest.raises(ValueError, match="'Bag' is no class of this model; known: 0"):
        pipe("Bag")
    sheet = np.asarray(Image.open(tmp_path / "sheet_0000016.png"))
    assert sheet.shape == (32, 5 * 32)
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert first["data_variance"] == pytest.approx(signed(stripes(64, 0, fashion.TOPS))[0].var().item(), abs=1e-4)


@pytest.mark.usefixtures("_small")
def test_its_error_falls(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_ddpm, "EVALUATE_EVERY", 20)
    monkeypatch.setattr(denoisers, "WARM_UP_IMAGES", 80)
    train(tmp_path, 80 * 8)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    errors = [line["validation"] for line in lines if "validation" in line]
    assert errors[-1] < 0.8 * errors[0]


def test_times_are_spread_over_the_schedule():
    times = fashion_ddpm.stratified_times(100, 1000, torch.Generator().manual_seed(0))
    assert torch.equal(times // 10, torch.arange(100))
    assert len((times % 10).unique()) == 10


def test_the_shipped_sizes():
    with torch.random.fork_rng():
        count = sum(parameter.numel() for parameter in fashion_ddpm.build_transformer().parameters())
    assert 2 * count < 6e6


def test_a_new_transformer_says_zero_and_leaves_classes_alone():
    with torch.random.fork_rng():
        transformer = fashion_ddpm.build_transformer(width=32, layers=1)
    x = torch.ones(2, 1, 32, 32)
    out = transformer(x, torch.tensor([1, 2]), class_labels=torch.tensor([0, fashion_ddpm.NULL_CLASS])).sample
    assert torch.equal(out, torch.zeros_like(x))


def test_subsets_hold_their_classes_only(tmp_path, monkeypatch):
    labels = np.arange(20, dtype=np.uint8) % 10
    images = np.broadcast_to(labels[:, None, None], (20, 28, 28))
    monkeypatch.setattr(fashion, "load", lambda split, folder: (images, labels))
    seen = []
    for name, classes in fashion_ddpm.MODELS.values():
        pixels, kept = fashion_ddpm.read_split("train", classes)
        assert sorted(set(kept.tolist())) == list(classes)
        assert torch.allclose(pixels[:, 0, 16, 16], kept / 127.5 - 1)
        assert pixels[0, 0, 0, 0] == -1
        seen.append(name)
    assert seen == ["fashion-ddpm", "fashion-tops", "fashion-rest"]
