import pytest
import torch
from diffusers import DDPMScheduler
from samplesmith.training.embedded import denoisers
from samplesmith.training.schedules import Progress


def test_loss_weights_never_exceed_one_and_cap_the_error_of_the_picture():
    alphas_cumprod = DDPMScheduler().alphas_cumprod
    weights = denoisers.snr_weights(alphas_cumprod)
    snr = alphas_cumprod / (1 - alphas_cumprod)
    assert torch.equal(weights[snr <= 5], torch.ones_like(weights[snr <= 5]))
    assert torch.allclose((weights * snr)[snr > 5], torch.tensor(5.0))


def test_the_schedule_warms_up_holds_and_decays():
    progress = Progress(0, 64, 640_000)
    factors = [denoisers.schedule(progress.at(step)) for step in (0, 149, 299, 5999, 8000, 10_000)]
    assert factors == pytest.approx([1 / 300, 0.5, 1, 1, 0.501, 0.001])


def test_the_average_starts_from_the_first_weights_and_forgets_them():
    decay = denoisers.denoiser_settings(640, 0, 10, first_weights=40, about={}).average_decay
    assert [decay(update) for update in (1, 50, 10**6)] == pytest.approx([41 / 51, 0.9, denoisers.EMA_DECAY])
