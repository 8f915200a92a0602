import pytest
import torch
from drawn_pictures import drawn_by
from samplesmith.pipelines.loading import load
from samplesmith.training.embedded import denoisers, diffusion


@pytest.mark.slow
def test_diffusion_recipe(tmp_path, autoencoder, monkeypatch):
    monkeypatch.setattr(denoisers, "BATCH", 4)
    diffusion.train(tmp_path, autoencoder, total_images=8, scene_count=300, seed=0)
    assert drawn_by(tmp_path / "pipeline").size == (128, 128)
    files = [tmp_path / "pipeline" / name for name in ("unet", "text_encoder")]
    weights = sum(file.stat().st_size for folder in files for file in folder.glob("*.safetensors"))
    assert weights < 16e6


@pytest.mark.parametrize("name", ["emoji-sd3", "emoji-sd"])
def test_it_begins_with_the_parts_that_its_start_has(tmp_path, name):
    """A flow has the words and the text encoder of it, another emoji-sd the UNet too."""
    start = load(name)
    net, tokenizer = diffusion.first_weights(tmp_path, 0, start)
    assert tokenizer.get_vocab() == start.tokenizer.get_vocab()
    assert (tmp_path / "tokenizer_config.json").exists()
    begun = net.text_encoder.state_dict()
    told = {name.removeprefix("text_model."): value for name, value in start.text_encoder.state_dict().items()}
    known = {name: value for name, value in told.items() if name != "text_projection.weight"}
    assert begun.keys() == known.keys()
    assert all(torch.equal(begun[name], value) for name, value in known.items())
    output = net.denoiser.conv_out.weight
    assert torch.equal(output, start.unet.conv_out.weight) if name == "emoji-sd" else not output.any()
