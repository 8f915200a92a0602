import pytest
import torch
from safetensors.torch import load_file
from samplesmith.training.embedded import aesthetic
from stopped_runs import StopError, stop_at


@pytest.fixture
def _separable(monkeypatch):
    """Features of which the first tells a clean picture from a degraded one; the autoencoder is never asked."""

    def pairs(count, autoencoder, seed):
        generator = torch.Generator().manual_seed(seed)
        clean, degraded = torch.randn(2, count, 8, generator=generator)
        clean[:, 0], degraded[:, 0] = clean[:, 0].abs() + 0.1, -degraded[:, 0].abs() - 0.1
        return clean, degraded, [aesthetic.DEGRADATIONS[i % 5] for i in range(count)]

    monkeypatch.setattr(aesthetic, "pairs", pairs)
    monkeypatch.setattr(aesthetic, "HELD_OUT_PAIRS", 100)


@pytest.mark.usefixtures("_separable")
def test_the_head_tells_the_pairs_apart_on_its_scale(tmp_path):
    accuracies = aesthetic.train(tmp_path, None, 100, seed=0)
    assert set(accuracies) == {"all", *aesthetic.DEGRADATIONS}
    assert min(accuracies.values()) > 0.9
    head = load_file(tmp_path / "emoji-aesthetic/model.safetensors")
    clean, degraded, _ = aesthetic.pairs(100, None, 0)
    means = [(x @ head["weight"][0].float() + head["bias"].float()).mean().item() for x in (clean, degraded)]
    assert means == pytest.approx([aesthetic.CLEAN_MEAN, aesthetic.DEGRADED_MEAN], abs=0.02)


@pytest.mark.usefixtures("_separable")
def test_a_stopped_run_leaves_the_same_head(tmp_path, monkeypatch):
    monkeypatch.setattr(aesthetic, "EPOCHS", 30)
    monkeypatch.setattr(aesthetic, "EVALUATE_EVERY", 10)
    aesthetic.train(tmp_path / "whole", None, 100, seed=0)
    with monkeypatch.context() as patch:
        stop_at(patch, 1000)
        with pytest.raises(StopError):
            aesthetic.train(tmp_path / "cut", None, 100, seed=0)
    aesthetic.train(tmp_path / "cut", None, 100, seed=0)
    first, second = ((tmp_path / name / "emoji-aesthetic/model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert first == second


@pytest.mark.slow
def test_pairs_are_those_of_the_seed_and_show_every_degradation(autoencoder):
    clean, degraded, kinds = aesthetic.pairs(250, autoencoder, seed=3)
    assert clean.shape == degraded.shape == (250, 128)
    assert sorted(set(kinds)) == sorted(aesthetic.DEGRADATIONS)
    assert torch.allclose(clean.norm(dim=1), torch.ones(250), atol=1e-2)
    again = aesthetic.pairs(50, autoencoder, seed=3)
    assert torch.equal(again[0], clean[:50])
    assert not torch.allclose(clean, degraded, atol=0.01)
