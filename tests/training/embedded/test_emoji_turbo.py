"""emoji-turbo's recipe in small: three stages, and a pipeline that finds its other parts in emoji-sd3."""

import pytest
import samplesmith
import torch
from safetensors.torch import load_file
from samplesmith import scenes
from samplesmith.scenes.grammar import PLURALS
from samplesmith.training.checkpoints import FolderError
from samplesmith.training.embedded import emoji_turbo
from samplesmith.training.embedded.latents import LatentScenes, is_validation


@pytest.fixture
def latents(tmp_path):
    """A few scenes with noise for latents."""
    every = [f"two {thing} on {colour}" for thing in PLURALS.values() for colour in scenes.BACKGROUNDS]
    held = [caption for caption in every if is_validation(scenes.parse(caption))]
    captions = held[:2] + [caption for caption in every if caption not in held][:10]
    generator = torch.Generator().manual_seed(0)
    data = {
        "captions": captions,
        "latents": torch.randn(len(captions), 8, 16, 16, generator=generator).half(),
        "maps": torch.zeros(len(captions), 64, 24, dtype=torch.uint8),
    }
    file = tmp_path / "latents.pt"
    torch.save(data, file)
    return file


@pytest.mark.slow
def test_three_stages_leave_a_stock_pipeline_of_few_steps(tmp_path, latents, monkeypatch):
    monkeypatch.setattr(emoji_turbo, "BATCHES", {"tsm": 2, "own": 12, "dm": 2})
    monkeypatch.setattr("samplesmith.training.distillation.stages.MEASURED", 2)
    with pytest.raises(FolderError, match="end the stage own first"):
        emoji_turbo.train(tmp_path / "turbo", latents, "dm", 1)
    for stage in ("tsm", "own", "dm"):
        emoji_turbo.train(tmp_path / "turbo", latents, stage, 1)
    folder = tmp_path / "turbo/pipeline"
    assert not [part for part in emoji_turbo.SHARED if (folder / part).exists()]
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 16e6
    pipe = samplesmith.load(folder)
    pipe.set_progress_bar_config(disable=True)
    student = load_file(tmp_path / "turbo/dm/student/diffusion_pytorch_model.safetensors")
    before = samplesmith.load("emoji-sd3").transformer.state_dict()
    name = "transformer_blocks.2.attn.to_q.weight"
    moved, left = (student[name] - before[name]).norm(), (student[name] - pipe.transformer.state_dict()[name]).norm()
    assert left < 0.5 * moved
    generator = torch.Generator().manual_seed(0)
    call = {**emoji_turbo.call_defaults("dm"), "num_inference_steps": 1, "height": 128, "width": 128}
    assert pipe("two cats on pink", generator=generator, **call).images[0].size == (128, 128)


def test_no_latents_is_one_sentence(tmp_path):
    with pytest.raises(FolderError, match=r"no file .*latents.pt; the recipe flow leaves"):
        emoji_turbo.train(tmp_path, tmp_path / "latents.pt", "tsm")


def test_captions_are_encoded_as_the_pipeline_does(emoji_pipe, latents):
    data = emoji_turbo.Captioned(
        LatentScenes.of(torch.load(latents, weights_only=True), emoji_pipe.tokenizer), emoji_pipe.text_encoder
    )
    null = data.null(2)
    with torch.no_grad():
        hidden, _, pooled, _ = emoji_pipe.encode_prompt(["", ""], None, None, max_sequence_length=1)
    assert torch.allclose(null["encoder_hidden_states"], hidden, atol=1e-5)
    assert torch.allclose(null["pooled_projections"], pooled, atol=1e-5)
