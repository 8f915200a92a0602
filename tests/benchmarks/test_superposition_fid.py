"""OR of two models by Fréchet distance: of one model twice it is that model's mixture, and what is made is kept."""

import json

import numpy as np
import pytest
import superposition_fid as benchmark
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel
from samplesmith import fashion
from samplesmith.pipelines import ClassConditionalPipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small random model of all classes, saved."""
    folder = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = DiTTransformer2DModel(
            num_attention_heads=1,
            attention_head_dim=16,
            in_channels=1,
            num_layers=1,
            sample_size=fashion.PADDED_SIZE,
            patch_size=8,
            num_embeds_ada_norm=len(fashion.CLASSES),
            norm_num_groups=1,
        )
        torch.nn.init.normal_(transformer.proj_out_2.weight)
    ClassConditionalPipeline(DDIMScheduler(clip_sample=False), transformer=transformer.eval()).save_pretrained(folder)
    return str(folder)


def test_one_model_twice_and_a_rerun(model, tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    monkeypatch.setattr(fashion, "load", lambda split: (images, np.arange(60) % 10))
    options = ["--models", model, model, "--images", "40", "--chunk", "20", "--steps", "3"]
    options += ["--work", str(tmp_path), "--output", str(tmp_path / "found.json")]
    benchmark.main(options)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["arms"]["or"]["fid"] == pytest.approx(found["arms"]["mixture"]["fid"], rel=1e-3)
    assert found["ratios"]["or / mixture"]["ratio"] == pytest.approx(1, abs=1e-3)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 3 * 2 + 1

    def made(*given):
        raise AssertionError("a chunk was made again")

    monkeypatch.setattr(benchmark.Samples, "_made", made)
    benchmark.main(options)
    assert json.loads((tmp_path / "found.json").read_text()) == found
    files[0].unlink()
    with pytest.raises(AssertionError, match="made again"):
        benchmark.main(options)
