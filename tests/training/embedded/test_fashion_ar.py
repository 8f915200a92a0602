"""The recipe of the autoregressive model in small, on synthetic pictures: codes, classes, a weak model of logits."""

import numpy as np
import pytest
import torch
from PIL import Image
from samplesmith.models.weak_logits import WeakLogitsModel
from samplesmith.pipelines.token_pictures import TokenPictures
from samplesmith.samplers.hooks import WeakToStrongConfig
from samplesmith.training import reflect
from samplesmith.training.embedded import fashion_ar
from samplesmith.training.reflect import ReflectSettings
from stopped_runs import StopError, assert_same_weights, stop_at
from stripes import signed, stripes


@pytest.fixture
def small(monkeypatch):
    """Small models, batches and collections."""
    build_vq, build_model = fashion_ar.build_vq, fashion_ar.build_model
    monkeypatch.setattr(fashion_ar, "build_vq", lambda: build_vq((8, 8, 8)))
    monkeypatch.setattr(fashion_ar, "build_model", lambda: build_model(width=16, layers=1))
    monkeypatch.setattr(fashion_ar, "BATCH", 8)
    monkeypatch.setattr(fashion_ar, "LOG_EVERY", 1)
    monkeypatch.setattr(fashion_ar, "EVALUATE_EVERY", 1)
    draws = fashion_ar.CollectSettings
    monkeypatch.setattr(fashion_ar, "CollectSettings", lambda **_: draws(keep_steps=2, batch_size=10))
    weak = ReflectSettings((1.0, 4.0), width=16, total_items=16, batch_size=8, evaluate_every=1)
    monkeypatch.setattr(fashion_ar, "WEAK", weak)


def train(folder, total_images):
    return fashion_ar.train(folder, signed(stripes(64, 0)), signed(stripes(16, 1)), total_images, seed=0)


@pytest.mark.usefixtures("small")
def test_a_stopped_run_ends_with_the_same_weights_and_leaves_three_models(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", 72)
    with monkeypatch.context() as patch:
        stop_at(patch, 32)  # in the causal model's part: the VQ model's is 24 images long
        with pytest.raises(StopError):
            train(tmp_path / "cut", 72)
    again = train(tmp_path / "cut", 72)
    assert_same_weights(whole.model, again.model)
    assert_same_weights(whole.vq, again.vq)

    loaded = TokenPictures.from_pretrained(tmp_path / "whole/fashion-ar")
    weak = WeakLogitsModel.from_pretrained(tmp_path / "whole/reflected" / reflect.MODEL)
    assert (loaded.codes, loaded.classes, loaded.side, loaded.no_class) == (256, 10, 8, 266)
    plain = loaded([3, 9], [0, 1], 2.0)
    fast = loaded([3, 9], [0, 1], 2.0, WeakToStrongConfig(weak, strong_until=0.0))
    assert plain.shape == fast.shape == (2, 32, 32, 1)
    assert np.array_equal(loaded([3, 9], [0, 1], 2.0), plain)
    with pytest.raises(ValueError, match="there is no class 10; give labels from 0 to 9"):
        loaded([10], [0])
    fashion_ar.draw_sheet(loaded, tmp_path / "sheet.png", rows=1)
    assert Image.open(tmp_path / "sheet.png").size == (320, 32)


def test_a_picture_is_its_codes(small):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pictures = TokenPictures(fashion_ar.build_model().eval(), fashion_ar.build_vq().eval())
    x, _ = signed(stripes(4, 0))
    codes = pictures.encode(x)
    assert codes.shape == (4, 64)
    with torch.no_grad():
        decoded = pictures.vq(x).sample
    expected = ((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.abs(pictures.decode(codes).astype(int) - expected).max() <= 1


def test_the_loss_is_the_cross_entropy_of_the_next_code():
    """Of a model that is sure of code 5: the mean over the codes that are something else."""

    class Sure:
        def __call__(self, ids):
            logits = torch.zeros(*ids.shape, 267)
            logits[..., 5] = 20.0
            return type("Output", (), {"logits": logits})

    codes = torch.tensor([[5, 5, 7, 5]])
    assert fashion_ar.code_loss(Sure(), codes, torch.tensor([2])).item() == pytest.approx(20 / 4, abs=1e-3)


def test_codes_without_a_vector_begin_anew(small):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vq = fashion_ar.build_vq()
    task = fashion_ar.VQTask(vq, torch.zeros(1), torch.zeros(1))
    latents = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    before = len(vq.quantize(latents)[2][2].unique())
    task._restart(latents, torch.Generator().manual_seed(0))
    assert before < 100
    assert len(vq.quantize(latents)[2][2].unique()) > before + 10


def test_the_shipped_form_takes_less_than_two_megabytes():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [fashion_ar.build_vq(), fashion_ar.build_model(), WeakLogitsModel(267, width=fashion_ar.WEAK.width)]
    count = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert 2 * sum(count) < 2e6, count
