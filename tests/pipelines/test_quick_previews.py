"""Quick pictures of latents: exact where the truth is linear, and what they change in a search."""

import numpy as np
import pytest
import torch
import toys
from diffusers import AutoencoderTiny
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch, decode
from samplesmith.pipelines.latent_score import LatentScore
from samplesmith.pipelines.quick_previews import FILE_NAME, LinearPreview, TinyPreview, check_preview, make_preview
from samplesmith.samplers import FlowSDEScheduler

CALL = {"num_inference_steps": 4, "budget": 24, "seed": 3, "progress": False, "batch_size": 3}


@pytest.fixture(scope="module")
def pipe():
    made = toys.build("StableDiffusion3")
    made.scheduler = FlowSDEScheduler(shift=3.0, diffusion="square", norm=3.0)
    return made


def tiny(channels):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            latent_channels=channels,
        ).eval()


def test_a_linear_picture_is_fitted_exactly(tmp_path):
    generator = torch.Generator().manual_seed(0)
    truth = LinearPreview(
        torch.randn(12, 4, 3, 3, generator=generator) / 150, torch.rand(12, generator=generator) / 5 + 0.4
    )
    latents = torch.randn(16, 4, 6, 5, generator=generator)
    pictures = truth.pictures(latents)
    assert pictures.shape == (16, 3, 12, 10)
    assert ((pictures > 0) & (pictures < 1)).all(), "nothing is clipped, so it is linear"
    found = LinearPreview.fit(latents, pictures)
    assert found.patch == 2
    assert found.explained > 0.9999
    assert torch.allclose(found.pictures(latents), pictures, atol=1e-3)
    found.save(tmp_path / FILE_NAME)
    again = LinearPreview.load(tmp_path / FILE_NAME)
    assert torch.equal(again.pictures(latents), found.pictures(latents))
    assert again.explained == pytest.approx(found.explained)
    noise = LinearPreview.fit(latents, torch.rand(16, 3, 12, 10, generator=generator))
    assert noise.explained < 0.1, "pictures that latents say nothing of"


def test_a_search_scores_unfinished_nodes_by_it_and_finished_ones_by_the_pipelines_own_decode(pipe):
    channels = pipe.vae.config.latent_channels
    patch = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    linear = LinearPreview(torch.full((3 * patch**2, channels, 3, 3), 0.01), torch.full((3 * patch**2,), 0.5))
    arguments = {**toys.TOYS["StableDiffusion3"][2], **CALL}
    plain = NoiseSearch(pipe, Brightness(), "svdd:children=2")("a cat", **arguments)
    quick = NoiseSearch(pipe, Brightness(), "svdd:children=2", preview=linear)("a cat", **arguments)
    small = NoiseSearch(pipe, Brightness(), "svdd:children=2", preview=TinyPreview(tiny(channels)))(
        "a cat", **arguments
    )
    assert quick.records[0]["id"] == plain.records[0]["id"]
    assert quick.records[0]["score"] != plain.records[0]["score"]
    finished = sum(record["status"] == "finished" for record in quick.records)
    assert quick.ledger.decodes == finished
    assert small.ledger.decodes == len(small.records), "a tiny autoencoder's decodes count too"
    best = quick.best[0]
    assert np.abs(np.asarray(best.reproduce(pipe)).astype(int) - np.asarray(best.image)).max() <= 1
    first = quick.evaluated[0]
    assert np.abs(np.asarray(first.scored_again(pipe)).astype(int) - np.asarray(first.image)).max() <= 1


def test_another_preview_is_another_run(pipe, tmp_path):
    channels = pipe.vae.config.latent_channels
    arguments = {**toys.TOYS["StableDiffusion3"][2], **CALL, "output_dir": tmp_path}
    weights = torch.zeros(12, channels, 3, 3), torch.full((12,), 0.5)
    NoiseSearch(pipe, Brightness(), "svdd", preview=LinearPreview(*weights))("a cat", **arguments)
    with pytest.raises(ValueError, match="preview"):
        NoiseSearch(pipe, Brightness(), "svdd")("a cat", **arguments)


def test_packed_latents_and_scores_in_the_loop():
    flux = toys.build("Flux")
    latents = _packed(flux)

    shape = decode(flux, latents, 32, 32).shape
    channels = flux.vae.config.latent_channels
    patch = flux.vae_scale_factor
    linear = LinearPreview(torch.zeros(3 * patch**2, channels, 3, 3), torch.full((3 * patch**2,), 0.25))
    assert linear(flux, latents, 32, 32).shape == shape
    score = LatentScore(flux, Brightness(), "a cat", 32, 32, preview=linear)
    assert score(latents, [0, 1]).tolist() == pytest.approx([64 / 255] * 2, abs=2e-3)


def _packed(flux):
    channels = flux.vae.config.latent_channels
    positions = (32 // (2 * flux.vae_scale_factor)) ** 2
    return torch.randn(2, positions, 4 * channels, generator=torch.Generator().manual_seed(0))


def test_by_name(pipe, tmp_path):
    assert make_preview("full", pipe) is None
    for spec, message in (
        ("small", "unknown preview 'small'; known: tiny, latent"),
        ("latent:model=x", "latent has no setting 'model'; known: file"),
    ):
        with pytest.raises(ValueError, match=message):
            check_preview(spec)
    with pytest.raises(ValueError, match="no linear preview nothing; `samplesmith calibrate` writes"):
        make_preview("latent:file=nothing", pipe)
    with pytest.raises(ValueError, match="the tiny autoencoder nowhere cannot be loaded"):
        make_preview("tiny:model=nowhere", pipe)
    tiny(4).save_pretrained(tmp_path)
    assert isinstance(make_preview(f"tiny:model={tmp_path}", pipe), TinyPreview)
    linear = LinearPreview(torch.zeros(12, 4, 3, 3), torch.zeros(12))
    with pytest.raises(ValueError, match="was fitted to latents of 4 channels"):
        linear(pipe, torch.zeros(1, 5, 4, 4))
    with pytest.raises(ValueError, match="fitted to eight pictures or more"):
        LinearPreview.fit(torch.zeros(4, 4, 3, 3), torch.zeros(4, 3, 6, 6))
