import functools

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from samplesmith.training.embedded import autoencoder
from stopped_runs import StopError, assert_same_weights, stop_at


@pytest.fixture
def _small(monkeypatch):
    """Small batches, measured on few pictures."""
    monkeypatch.setattr(autoencoder, "BATCH", 4)
    monkeypatch.setattr(autoencoder, "HELD_OUT", 16)
    monkeypatch.setattr(autoencoder, "EVALUATE_EVERY", 2)
    monkeypatch.setattr(autoencoder.CropStream, "POOL", 4)
    for name, count in (("psnr_by_object", {"per_object": 1}), ("set_latent_scale", {"count": 8})):
        monkeypatch.setattr(autoencoder, name, functools.partial(getattr(autoencoder, name), **count))


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_a_stopped_run_ends_with_the_same_weights_and_what_it_leaves_loads(tmp_path, monkeypatch):
    """It stops while scenes are left over from the last batches, and goes on to whole scenes."""
    whole = autoencoder.train(tmp_path / "whole", 28, seed=0)
    with monkeypatch.context() as patch:
        stop_at(patch, 8)
        with pytest.raises(StopError):
            autoencoder.train(tmp_path / "cut", 28, seed=0)
    assert_same_weights(whole, autoencoder.train(tmp_path / "cut", 28, seed=0))
    loaded = AutoencoderKL.from_pretrained(tmp_path / "cut/vae")
    assert loaded.config.latent_channels == 8
    assert loaded.config.scaling_factor != 1.0
    assert loaded.config.block_out_channels == [16, 32, 96, 128]
    assert (tmp_path / "cut/side_by_side.png").exists()


def test_crops_go_on_from_their_state():
    """Scenes are drawn for six batches; a stream that goes on shows the rest of them."""
    stream, rng = autoencoder.CropStream(), np.random.default_rng(0)
    stream.POOL = 4
    first = stream.draw(rng, 6, 0.5)
    assert first.shape == (6, autoencoder.CROP, autoencoder.CROP, 3)
    state, position = stream.state_dict(), rng.bit_generator.state
    expected = [stream.draw(rng, 6, 0.5) for _ in range(7)]
    other = autoencoder.CropStream()
    other.POOL = 4
    other.load_state_dict(state)
    rng.bit_generator.state = position
    assert all(np.array_equal(other.draw(rng, 6, 0.5), crops) for crops in expected)


def test_the_loss_is_small_for_equal_pictures_alone():
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert autoencoder.reconstruction_loss(x, x).item() == pytest.approx(1e-3, rel=1e-3)  # charbonnier's sqrt(1e-6)
    constant = autoencoder.reconstruction_loss(x, x + 0.1).item()
    assert constant == pytest.approx((0.01 + 1e-6) ** 0.5 + 5 * 0.01, rel=1e-3)  # no gradient differs
