"""Log-probabilities of tokens on disk are the model's own, and a weak model of them guides from one forward."""

import pytest
import torch
from samplesmith.models.weak_logits import WeakLogitsModel, token_window
from samplesmith.training.collect import CollectSettings
from samplesmith.training.collect_logits import collect_logits
from samplesmith.training.collected import Collected
from samplesmith.training.reflect import MODEL, ReflectSettings, reflect
from small_llama import VOCAB, small_llama

TOKENS, NULL = 6, 22
SETTINGS = CollectSettings(draws=2, keep_steps=3, batch_size=2, dtype=torch.float32)


@pytest.fixture(scope="module")
def model():
    return small_llama(1)


def gathered(model, folder, settings=SETTINGS, prompts=((20,), (21,))):
    return collect_logits(model, prompts, [NULL], TOKENS, folder, settings, 2.0, context=TOKENS, progress=False)


@torch.no_grad()
def test_items_are_the_models_log_probabilities_with_and_without_the_class(model, tmp_path):
    """The window of as many tokens as there are holds the whole sequence."""
    gathered(model, tmp_path)
    collected = Collected(tmp_path)
    assert len(collected) == 4 * 3
    items = collected.take(torch.arange(12))
    assert collected.prompt.tolist() == [k % 2 for k in range(4) for _ in range(3)]
    for k in range(12):
        step = int(items.step[k])
        window = items.sample[k]
        rest = window[len(window) - step :]
        c = model(torch.cat([window[:1], rest])[None]).logits[0, -1].log_softmax(-1)
        u = model(torch.cat([torch.tensor([NULL]), rest])[None]).logits[0, -1].log_softmax(-1)
        assert torch.allclose(items.conditional[k], c, atol=1e-5)
        assert torch.allclose(items.unconditional[k], u, atol=1e-5)
        assert int(window[0]) == 20 + int(collected.prompt[k])


def test_a_folder_goes_on_and_another_model_is_refused(model, tmp_path):
    gathered(model, tmp_path / "whole")
    gathered(model, tmp_path / "cut")
    file = tmp_path / "cut/shard-00001.safetensors"
    expected = file.read_bytes()
    file.write_bytes(expected[:100])
    gathered(model, tmp_path / "cut")
    assert file.read_bytes() == expected == (tmp_path / "whole/shard-00001.safetensors").read_bytes()
    with pytest.raises(ValueError, match="seed was 0, now 1"):
        gathered(model, tmp_path / "cut", CollectSettings(2, 3, batch_size=2, dtype=torch.float32, seed=1))
    with pytest.raises(ValueError, match="all of one length"):
        gathered(model, tmp_path / "other", prompts=((1,), (1, 2)))


def test_reflect_makes_a_weak_model_of_logits(model, tmp_path):
    settings = CollectSettings(draws=20, batch_size=20, dtype=torch.float32)
    gathered(model, tmp_path / "steps", settings)
    form = ReflectSettings((1.0, 4.0), width=32, total_items=9600, batch_size=32, evaluate_every=100, seed=0)
    weak = reflect(tmp_path / "steps", tmp_path / "out", form)
    assert isinstance(weak, WeakLogitsModel)
    saved = WeakLogitsModel.from_pretrained(tmp_path / "out" / MODEL)
    assert (saved.config.vocab_size, saved.config.context) == (VOCAB, TOKENS)
    collected = Collected(tmp_path / "steps")
    items = collected.take(torch.arange(len(collected)))
    guess = weak(items.conditional, items.sample, items.timestep, None, 2.0)
    missed = (guess - items.guided(2.0)).square().mean() / (items.conditional - items.guided(2.0)).square().mean()
    assert missed < 0.5  # 1 before training


@torch.no_grad()
def test_it_begins_as_the_conditional_prediction_and_sees_a_window():
    tokens = torch.tensor([[20, 1, 2, 3], [21, 4, 5, 6]])
    assert token_window(tokens, 2).tolist() == [[20, 2, 3], [21, 5, 6]]
    assert token_window(tokens[:, :2], 3).tolist() == [[20, 20, 20, 1], [21, 21, 21, 4]]
    assert torch.equal(token_window(token_window(tokens, 6), 6), token_window(tokens, 6))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weak = WeakLogitsModel(VOCAB, context=2, width=16)
    c = torch.randn(2, VOCAB, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    call = {"prediction": c, "timestep": 3.0, "condition": None}
    assert torch.equal(weak(sample=tokens, guidance_scale=5.0, **call), c)
    for parameter in weak.parameters():
        parameter.add_(0.1)
    stirred = weak(sample=tokens, guidance_scale=5.0, **call)
    assert torch.equal(weak(sample=token_window(tokens, 2), guidance_scale=5.0, **call), stirred)
    assert torch.equal(weak(sample=tokens, guidance_scale=1.0, **call), c)
    with pytest.raises(ValueError, match=r"shape \(2, 4\); expected \(rows, 23\)"):
        weak(sample=tokens, guidance_scale=5.0, **{**call, "prediction": c[:, :4]})
