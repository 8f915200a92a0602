import pytest
from drawn_pictures import drawn_by
from samplesmith.training.embedded import denoisers, diffusion


@pytest.mark.slow
def test_diffusion_recipe(tmp_path, autoencoder, monkeypatch):
    monkeypatch.setattr(denoisers, "BATCH", 4)
    diffusion.train(tmp_path, autoencoder, total_images=8, scene_count=300, seed=0)
    assert drawn_by(tmp_path / "pipeline").size == (128, 128)
    files = [tmp_path / "pipeline" / name for name in ("unet", "text_encoder")]
    weights = sum(file.stat().st_size for folder in files for file in folder.glob("*.safetensors"))
    assert weights < 16e6
