"""The Fashion-MNIST recipes in small, on synthetic pictures: they learn, their models load, a stopped run goes on."""

import json

import numpy as np
import pytest
import samplesmith
import torch
from diffusers import DDPMScheduler
from PIL import Image
from samplesmith import fashion
from samplesmith.training.embedded import fashion_classifier, fashion_ddpm
from samplesmith.training.embedded.run import Run
from samplesmith.verifiers import FashionClassifier


def stripes(count: int, seed: int, classes=tuple(range(10))) -> tuple[torch.Tensor, torch.Tensor]:
    """Class k is a bright row and a bright column that its number places, under a little noise; in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(classes)[torch.arange(count) % len(classes)]
    images = 0.2 * torch.rand(count, 1, 32, 32, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 4 + 5 * (label // 2) : 7 + 5 * (label // 2)] += 0.7
        if label % 2:
            image[0, :, 14:18] += 0.7
    return images.clamp(0, 1), labels


def signed(split):
    return split[0] * 2 - 1, split[1]


class StopError(Exception):
    pass


def stop_at(monkeypatch, images: int) -> None:
    original = Run.save

    def save(self):
        original(self)
        if self.images == images:
            raise StopError

    monkeypatch.setattr(Run, "save", save)


def train_classifier(folder, total_images):
    return fashion_classifier.train(folder, stripes(320, 0), stripes(100, 1), total_images, seed=0)


def train_ddpm(folder, total_images, classes=tuple(range(10))):
    training, held_out = signed(stripes(64, 0, classes)), signed(stripes(16, 1, classes))
    return fashion_ddpm.train(folder, "fashion-x", training, held_out, total_images, seed=0, compiled=False)


@pytest.fixture
def small(monkeypatch):
    """Small models and batches, a checkpoint a step."""
    monkeypatch.setattr(fashion_classifier, "BATCH", 32)
    monkeypatch.setattr(fashion_classifier, "FashionClassifier", lambda: FashionClassifier(width=8))
    monkeypatch.setattr(fashion_ddpm, "BATCH", 8)
    original = fashion_ddpm.build_transformer
    monkeypatch.setattr(fashion_ddpm, "build_transformer", lambda: original(width=32, layers=1))
    for recipe in (fashion_classifier, fashion_ddpm):
        monkeypatch.setattr(recipe, "EVALUATE_EVERY", 1)
        monkeypatch.setattr(recipe, "LOG_EVERY", 1)
    monkeypatch.setattr(fashion_ddpm, "SHEET_ROWS", 1)


@pytest.mark.usefixtures("small")
def test_classifier_learns_and_what_it_leaves_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_classifier, "EVALUATE_EVERY", 60)
    monkeypatch.setattr(fashion_classifier, "WARM_UP_STEPS", 5)
    model = train_classifier(tmp_path, 60 * 32)
    held_out = stripes(100, 1)
    accuracy = fashion_classifier.accuracy(model, *held_out)
    assert accuracy > 0.5  # chance is 0.1
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["accuracy"] == round(accuracy, 5)
    loaded = FashionClassifier.from_pretrained(tmp_path / "fashion-classifier", dtype=torch.float32).eval()
    assert torch.allclose(loaded(held_out[0]), model(held_out[0]), atol=0.05)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("train", "step"), [(train_classifier, 32), (train_ddpm, 8)])
def test_a_stopped_run_ends_with_the_same_weights(tmp_path, monkeypatch, train, step):
    def weights(result):
        return (result if isinstance(result, FashionClassifier) else result.transformer).state_dict()

    whole = weights(train(tmp_path / "whole", 3 * step))
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(StopError):
            train(tmp_path / "cut", 3 * step)
    resumed = weights(train(tmp_path / "cut", 3 * step))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.usefixtures("small")
def test_ddpm_recipe_leaves_a_pipeline_of_its_classes_and_a_sheet(tmp_path):
    train_ddpm(tmp_path, 16, classes=fashion.TOPS)
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


@pytest.mark.usefixtures("small")
def test_ddpm_error_falls(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_ddpm, "EVALUATE_EVERY", 20)
    monkeypatch.setattr(fashion_ddpm, "WARM_UP_STEPS", 10)
    train_ddpm(tmp_path, 80 * 8)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    errors = [line["validation"] for line in lines if "validation" in line]
    assert errors[-1] < 0.8 * errors[0]


def test_noised_images_are_those_of_the_scheduler():
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 5, 1, 4, 4, generator=generator)
    scheduler, times = DDPMScheduler(), torch.tensor([0, 1, 500, 998, 999])
    x = fashion_ddpm.noise_images(x0, noise, scheduler.alphas_cumprod[times])
    assert torch.allclose(x, scheduler.add_noise(x0, noise, times), atol=1e-6)


def test_loss_weights_never_exceed_one_and_cap_the_error_of_the_picture():
    alphas_cumprod = DDPMScheduler().alphas_cumprod
    weights = fashion_ddpm.loss_weights(alphas_cumprod)
    snr = alphas_cumprod / (1 - alphas_cumprod)
    assert torch.equal(weights[snr <= 5], torch.ones_like(weights[snr <= 5]))
    assert torch.allclose((weights * snr)[snr > 5], torch.tensor(5.0))


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
