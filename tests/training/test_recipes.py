"""Each recipe in small: it runs, what it leaves loads, and a stopped run ends with the same weights as a whole one."""

import json
import os
import subprocess
import sys

import pytest
import torch
from diffusers import AutoencoderKL
from samplesmith import assets, load, scenes
from samplesmith.models.scene_detector import SceneDetector
from samplesmith.training.embedded import autoencoder, clip, detector, diffusion, flow, generator
from samplesmith.training.embedded.run import Run
from samplesmith.training.embedded.text import build_tokenizer, token_ids
from samplesmith.verifiers import CLIPVerifier


@pytest.fixture(autouse=True)
def _forked():
    with torch.random.fork_rng():
        yield


@pytest.fixture(scope="module")
def trained_autoencoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    with torch.random.fork_rng():
        autoencoder.train(folder, total_images=32, seed=0)
    return AutoencoderKL.from_pretrained(folder / "vae")


def test_run_resumes_with_the_same_generators(tmp_path):
    layer = torch.nn.Linear(2, 2)
    run = Run(tmp_path, seed=3, total_images=100, modules={"layer": layer})
    run.rng.random(5)
    torch.rand(5, generator=run.generator)
    run.advance(64)
    run.save()
    expected = run.rng.random(3).tolist(), torch.rand(3, generator=run.generator).tolist()
    again = Run(tmp_path, seed=3, total_images=100, modules={"layer": torch.nn.Linear(2, 2)})
    assert (again.rng.random(3).tolist(), torch.rand(3, generator=again.generator).tolist()) == expected
    assert (again.images, again.progress) == (64, 0.64)
    assert torch.equal(again.modules["layer"].weight, layer.weight)
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["resumed"] == "yes"


@pytest.mark.slow
def test_a_stopped_detector_run_ends_with_the_same_weights(tmp_path, monkeypatch, trained_autoencoder):
    monkeypatch.setattr(detector, "EVALUATE_EVERY", 1)
    monkeypatch.setattr(detector, "exact_match", lambda *args: 0.0)
    monkeypatch.setattr(detector, "BATCH", 8)
    whole = detector.train(tmp_path / "whole", trained_autoencoder, total_images=32, seed=0)

    class Stop(Exception):
        pass

    original = Run.save

    def stop_half_way(self):
        original(self)
        if self.images == 16:
            raise Stop

    monkeypatch.setattr(Run, "save", stop_half_way)
    with pytest.raises(Stop):
        detector.train(tmp_path / "cut", trained_autoencoder, total_images=32, seed=0)
    monkeypatch.setattr(Run, "save", original)
    resumed = detector.train(tmp_path / "cut", trained_autoencoder, total_images=32, seed=0)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert SceneDetector.from_pretrained(tmp_path / "cut/emoji-detector").config["malformed"]


def test_autoencoder_recipe(trained_autoencoder):
    assert trained_autoencoder.config.latent_channels == 8
    assert trained_autoencoder.config.scaling_factor != 1.0
    assert trained_autoencoder.config.block_out_channels == [16, 32, 96, 128]


@pytest.mark.slow
def test_clip_recipe(tmp_path, trained_autoencoder, monkeypatch):
    monkeypatch.setattr(clip, "BATCH", 8)
    clip.train(tmp_path, clip.as_generated(trained_autoencoder), total_images=8, seed=0)
    verifier = CLIPVerifier.load(tmp_path / "emoji-clip")
    assert verifier.preprocess.size == (scenes.IMAGE_SIZE, scenes.IMAGE_SIZE)
    assert verifier.text_features(["two cats on blue"]).shape == (1, 128)


def drawn_by(folder, **arguments):
    pipe = load(folder)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return pipe("with a cat", num_inference_steps=1, generator=generator, height=128, width=128, **arguments).images[0]


@pytest.mark.slow
def test_flow_recipe_and_going_on_from_its_weights(tmp_path, trained_autoencoder, monkeypatch):
    monkeypatch.setattr(generator, "BATCH", 4)
    settings = {"total_images": 8, "scene_count": 300, "seed": 0, "compiled": False}
    flow.train(tmp_path / "new", trained_autoencoder, **settings)
    assert drawn_by(tmp_path / "new/pipeline", max_sequence_length=1).size == (128, 128)
    assert '"dtype": "float32"' in (tmp_path / "new/pipeline/text_encoder/config.json").read_text()
    flow.train(tmp_path / "on", trained_autoencoder, **settings, start=tmp_path / "new/pipeline")
    assert drawn_by(tmp_path / "on/pipeline", max_sequence_length=1).size == (128, 128)


@pytest.mark.slow
def test_diffusion_recipe(tmp_path, trained_autoencoder, monkeypatch):
    monkeypatch.setattr(generator, "BATCH", 4)
    diffusion.train(tmp_path, trained_autoencoder, total_images=8, scene_count=300, seed=0, compiled=False)
    assert drawn_by(tmp_path / "pipeline").size == (128, 128)
    files = [tmp_path / "pipeline" / name for name in ("unet", "text_encoder")]
    weights = sum(file.stat().st_size for folder in files for file in folder.glob("*.safetensors"))
    assert weights < 16e6


def test_new_words_change_nothing_for_old_captions(tmp_path):
    """Weights of a smaller vocabulary go on with embeddings for the words that it lacks."""
    start = assets.path("emoji-sd3")
    net, tokenizer = flow.first_weights(tmp_path, 0, start)
    pipe = load("emoji-sd3")
    x, sigma = torch.randn(1, 8, 16, 16), torch.full((1, 1, 1, 1), 0.5)
    with torch.no_grad():
        embedded = pipe.encode_prompt("five fish on pink", None, None, max_sequence_length=1)
        stock = pipe.transformer(x, embedded[0], embedded[2], torch.tensor([500.0]), return_dict=False)[0]
        ours = net.eval().velocity(x, sigma, token_ids(tokenizer, ["five fish on pink"]))
        digits = net.velocity(x, sigma, token_ids(tokenizer, ["5 fish on pink"]))
    assert torch.allclose(ours, stock, atol=1e-5)
    assert torch.allclose(digits, stock, atol=1e-5)


def test_n_zero_tokens_act_as_one_with_a_bias_of_log_n(tmp_path, trained_autoencoder):
    """So the number may change between training and use: the velocity moves smoothly with it."""
    torch.manual_seed(0)
    net = flow.Flow(flow.build_transformer(width=64, layers=3), flow.build_text_encoder(build_tokenizer(tmp_path)))
    for parameter in net.denoiser.parameters():  # zero gates and outputs would hide the tokens
        parameter.data += 0.05 * torch.randn(parameter.shape)
    ids = token_ids(build_tokenizer(tmp_path), ["a cat on pink"])
    x, sigma = torch.randn(1, 8, 16, 16), torch.full((1, 1, 1, 1), 0.5)
    with torch.no_grad():
        one, two, many = (net.velocity(x, sigma, ids, n) for n in (1, 2, 256))
    assert 0 < (one - two).norm() < (one - many).norm() < one.norm()


def test_interpolant_is_linear():
    x0, noise = torch.randn(2, 4), torch.randn(2, 4)
    x, velocity = flow.interpolate(x0, noise, torch.tensor(0.25))
    assert torch.allclose(x - 0.25 * velocity, x0)
    assert torch.allclose(x + 0.75 * velocity, noise)


def test_every_word_is_one_token(tmp_path):
    tokenizer = build_tokenizer(tmp_path)
    for word in scenes.VOCABULARY:
        assert len(tokenizer(word).input_ids) == 3, word


def test_words_have_the_same_numbers_in_every_process(tmp_path):
    """A resumed run builds its tokenizer anew. Hash maps, the trainer's and Python's, are seeded by the process."""
    build_tokenizer(tmp_path / "here")
    code = "import sys, pathlib; from samplesmith.training.embedded.text import build_tokenizer as build; "
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code + "build(pathlib.Path(sys.argv[1]))", tmp_path / seed]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    files = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("here", "1", "2")]
    assert files[0] == files[1] == files[2]
