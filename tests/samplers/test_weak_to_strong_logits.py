"""The identities of weak-to-strong guidance on logits, and the forwards that it saves."""

import pytest
import torch
from samplesmith.samplers.hooks import WeakToStrongConfig
from samplesmith.samplers.token_sampling import inverse_cdf, sample_tokens
from samplesmith.samplers.weak_to_strong_logits import WeakToStrongLogitsProcessor
from small_llama import small_llama
from transformers import LogitsProcessorList

TOKENS, SCALE, NULL = 6, 3.0, 22
CLASSES = torch.tensor([[20], [21], [20]])


@pytest.fixture(scope="module")
def model():
    return small_llama(2)


class Forwards:
    """Counts a model's calls and their tokens."""

    def __init__(self, model):
        self.calls, self.tokens = 0, 0
        self.handle = model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, module, args, kwargs):
        ids = args[0] if args else kwargs["input_ids"]
        self.calls, self.tokens = self.calls + 1, self.tokens + ids.numel()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.handle.remove()


def generators():
    return [torch.Generator().manual_seed(k) for k in range(len(CLASSES))]


def drawn(model, config, scale=SCALE):
    processor = WeakToStrongLogitsProcessor(model, torch.tensor([[NULL]]), TOKENS, scale, config)
    return sample_tokens(model, CLASSES, TOKENS, generators(), [processor])


class Guided:
    """Plain guidance, by two forwards of the whole sequence."""

    def __init__(self, model):
        self.model = model

    def __call__(self, ids, scores):
        without = torch.cat([torch.full_like(ids[:, :1], NULL), ids[:, 1:]], dim=1)
        c, u = (self.model(one).logits[:, -1].log_softmax(-1) for one in (ids, without))
        return u + SCALE * (c - u)


def scaled(prediction, **others):
    return 0.5 * prediction


@pytest.mark.parametrize("weak", [None, scaled])
def test_slow_at_a_scale_of_one_is_plain_guidance(model, weak):
    expected = sample_tokens(model, CLASSES, TOKENS, generators(), [Guided(model)])
    assert torch.equal(drawn(model, WeakToStrongConfig(weak, scale=1.0, strong_until=1.0)), expected)
    assert not torch.equal(expected, sample_tokens(model, CLASSES, TOKENS, generators()))


def test_fast_without_a_weak_model_is_the_conditional_sampler_from_half_of_the_forwards(model):
    with Forwards(model) as plain:
        expected = sample_tokens(model, CLASSES, TOKENS, generators())
    with Forwards(model) as fast:
        assert torch.equal(drawn(model, WeakToStrongConfig(strong_until=0.0)), expected)
    with Forwards(model) as slow:
        drawn(model, WeakToStrongConfig(scale=1.0, strong_until=1.0))
    assert (plain.calls, fast.calls, slow.calls) == (TOKENS, TOKENS, 2 * TOKENS)
    assert slow.tokens == 2 * plain.tokens, "the unconditional sequence has a cache"


@pytest.mark.parametrize("scale", [0.0, 1.7])
def test_each_token_is_its_formula(model, scale):
    """r + s (g - r) within [2, 4), a share of c and r outside; the cache catches up on the first two tokens."""
    config = WeakToStrongConfig(scaled, scale=scale, strong_from=2 / TOKENS, strong_until=4 / TOKENS, rest_scale=0.3)
    processor = WeakToStrongLogitsProcessor(model, torch.tensor([[NULL]]), TOKENS, SCALE, config)
    ids = CLASSES
    for k in range(TOKENS):
        logits = model(ids).logits[:, -1].detach()
        got = processor(ids, logits)
        c = logits.log_softmax(-1)
        g = Guided(model)(ids, logits).detach()
        p, s = (g, scale) if 2 <= k < 4 else (c, 0.3)
        assert torch.allclose(got, 0.5 * c + s * (p - 0.5 * c), atol=1e-4), k
        ids = torch.cat([ids, got.argmax(-1, keepdim=True)], dim=1)


def test_generate_takes_it_and_begins_anew(model):
    processor = WeakToStrongLogitsProcessor(
        model, torch.tensor([[NULL]]), TOKENS, SCALE, WeakToStrongConfig(scale=1.0, strong_until=1.0)
    )
    made = []
    for _ in range(2):
        processor.begin()
        options = {"max_new_tokens": TOKENS, "do_sample": False, "attention_mask": torch.ones_like(CLASSES)}
        made.append(model.generate(CLASSES, logits_processor=LogitsProcessorList([processor]), **options))
    ids = CLASSES
    for _ in range(TOKENS):
        ids = torch.cat([ids, Guided(model)(ids, None).argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(made[0], ids)
    assert torch.equal(made[1], ids)


def test_rows_are_drawn_alone(model):
    whole = sample_tokens(model, CLASSES, TOKENS, generators())
    for row in range(3):
        alone = sample_tokens(model, CLASSES[row : row + 1], TOKENS, generators()[row : row + 1])
        assert torch.equal(alone[0], whole[row])
    with pytest.raises(ValueError, match="2 generators for 3 rows"):
        sample_tokens(model, CLASSES, TOKENS, generators()[:2])


def test_the_inverse_of_the_distribution():
    """Of 0.5, 0, 0.3, 0.2: never the token of no probability, and each in its share."""
    p = torch.tensor([[0.5, 0.0, 0.3, 0.2]])
    uniform = (torch.arange(1000) + 0.5) / 1000
    found = inverse_cdf(p.expand(1000, -1), uniform)
    assert torch.bincount(found, minlength=4).tolist() == [500, 0, 300, 200]
    assert inverse_cdf(p, torch.tensor([0.0])).tolist() == [0]


def test_no_token_to_come(model):
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        WeakToStrongLogitsProcessor(model, torch.tensor([[NULL]]), 0, SCALE)
