import pytest
import torch
from diffusers import AutoencoderKL
from samplesmith import assets


@pytest.fixture
def _forked():
    """For tests whose own modules draw weights from the global generator."""
    with torch.random.fork_rng():
        yield


@pytest.fixture(scope="session")
def autoencoder():
    """That of emoji-sd3."""
    folder = assets.path("emoji-sd3") / "vae"
    return AutoencoderKL.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
