"""The recipe of emoji-clip-preview in small."""

import json

import numpy as np
import pytest
import torch
import toys
from safetensors.torch import load_file
from samplesmith import assets, scenes
from samplesmith.pipelines import record_previews
from samplesmith.pipelines.decoding import decode
from samplesmith.training.embedded import clip, clip_preview
from samplesmith.training.embedded.clip_preview import clean_predictions
from samplesmith.training.embedded.pixels import images_to_tensor
from samplesmith.training.embedded.text import MARKS
from samplesmith.verifiers import CLIPVerifier

CAPTIONS = ["a cat on pink", "two dogs on blue"]


@pytest.fixture(autouse=True)
def _forked():
    with torch.random.fork_rng():
        yield


@pytest.fixture(scope="module")
def pipe():
    return toys.build("StableDiffusion3")


def pictures(side=32):
    return images_to_tensor(np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8))


def test_at_full_noise_it_is_the_pipelines_own_first_preview(pipe):
    """Where sigma is 1 nothing of the picture is left, and the noise is the pipeline's for the seed."""
    call = {"num_inference_steps": 2, "guidance_scale": 3.0, "max_sequence_length": 4}
    with record_previews(pipe, [0]) as previews:
        pipe(CAPTIONS, generator=torch.Generator().manual_seed(5), height=32, width=32, output_type="latent", **call)
    expected = 2 * decode(pipe, previews.latents[0]) - 1
    generator = torch.Generator().manual_seed(5)
    found = clean_predictions(pipe, pictures(), CAPTIONS, torch.ones(2), generator, 3.0, 4)
    assert torch.allclose(found, expected, atol=1e-4)
    unguided = clean_predictions(pipe, pictures(), CAPTIONS, torch.ones(2), generator.manual_seed(5), 1.0, 4)
    assert not torch.allclose(unguided, expected, atol=1e-3)


def test_without_noise_it_is_the_autoencoders_picture(pipe):
    x = pictures()
    with torch.no_grad():
        expected = pipe.vae.decode(pipe.vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
    found = clean_predictions(pipe, x, CAPTIONS, torch.zeros(2), torch.Generator(), 3.0, 4)
    assert torch.allclose(found, expected, atol=1e-4)


def test_each_row_has_its_own_noise_level(pipe):
    x, sigmas = pictures(), torch.tensor([0.0, 0.9])
    one, other = (clean_predictions(pipe, x, CAPTIONS, s, torch.Generator().manual_seed(0), 3.0, 4)
                  for s in (sigmas, torch.zeros(2)))  # fmt: skip
    assert torch.allclose(one[0], other[0], atol=1e-4)
    assert (one[1] - other[1]).abs().max() > 0.01


@pytest.mark.slow
def test_the_recipe_goes_on_from_emoji_clip(tmp_path, monkeypatch):
    for name, value in {"BATCH": 8, "HELD_OUT": 20, "CHOICES": 3}.items():
        monkeypatch.setattr(clip, name, value)
    seen = []

    def predict(x, captions, sigmas, generator):
        seen.append((len(captions), float(sigmas.min()), float(sigmas.max())))
        return x.flip(-1)

    start = assets.path("emoji-clip")
    measure = clip_preview.PreviewAccuracy(predict, scenes=20)
    seen.clear()
    look = clip_preview.as_previews(predict)
    clip.train(tmp_path, look, 8, 0, "emoji-clip-preview", start, 1e-6, measures=(measure,))
    assert len(seen) == 1
    assert seen[0][0] == 8  # half of 8 right pictures and 8 nearly right ones
    assert clip_preview.SIGMAS[0] <= seen[0][1] < seen[0][2] <= clip_preview.SIGMAS[1]
    logged = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert set(logged["better_preview_at"]) == {"0.3", "0.5", "0.7", "0.9"}

    verifier = CLIPVerifier.load(tmp_path / "emoji-clip-preview")
    assert (verifier.name, verifier.preprocess.size) == ("emoji-clip-preview", (scenes.IMAGE_SIZE,) * 2)
    before = CLIPVerifier.load(start)
    words = list(scenes.VOCABULARY)
    assert torch.equal(verifier.tokenizer(words), before.tokenizer(words))
    moved = (verifier.text_features(CAPTIONS) * before.text_features(CAPTIONS)).sum(1)
    assert moved.min() > 0.999  # hardly, at so low a rate


@pytest.mark.slow
def test_the_result_is_a_mean_of_old_and_new_weights(tmp_path, monkeypatch):
    for name, value in {"BATCH": 8, "HELD_OUT": 20, "CHOICES": 3}.items():
        monkeypatch.setattr(clip, name, value)
    start, name = assets.path("emoji-clip"), "emoji-clip-preview"
    for share in (0.0, 0.25, 1.0):
        clip.train(tmp_path / f"{share}", lambda loop, x, captions: x, 8, 0, name, start, 1e-2, share)
    old, mean, new = (load_file(tmp_path / f"{share}/{name}" / clip.WEIGHTS) for share in (0.0, 0.25, 1.0))
    given = load_file(start / clip.WEIGHTS)
    for key in ("visual.conv1.weight", "token_embedding.weight", "visual.bn1.running_mean"):
        # New words have rows of their own behind the known ones, and the marks stand behind all.
        known = len(given[key]) - len(MARKS) if key == "token_embedding.weight" else None
        a, b, c, kept = (one[key][:known].float() for one in (old, mean, new, given))
        assert torch.equal(a, kept)
        assert not torch.equal(c, kept)
        assert torch.allclose(b, 0.75 * a + 0.25 * c, rtol=2e-3, atol=1e-5)
