import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samplesmith import scenes
from samplesmith.scenes import parse
from samplesmith.training.embedded.attributes import IGNORED, AttributeHeads, counts_target
from samplesmith.training.embedded.clip import also_true, contrastive_loss, nearly_right


def test_nearly_right_contradicts_the_caption_of_any_form():
    rng = np.random.default_rng(0)
    for _ in range(150):
        drawn = scenes.draw(rng, scenes.sample_scene(rng))
        asked = scenes.sample_description(rng, drawn.scene)
        assert drawn.shows(asked)
        assert not nearly_right(rng, drawn, asked).shows(asked)


def test_a_caption_that_is_true_of_another_picture_is_no_rival_there():
    rng = np.random.default_rng(1)
    drawn = [scenes.draw(rng, parse(text)) for text in ("a cat on blue", "a cat and a dog on blue", "a dog on pink")]
    true = also_true([parse("with a cat"), parse("on blue"), parse("with a dog")], drawn)
    assert true.tolist() == [[False, True, False], [True, False, False], [False, True, False]]

    features = F.normalize(torch.randn(3, 3, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    image, negative, text = features
    hard = image[:, None].flip(-1)
    both = torch.cat([true, torch.zeros(3, 3, dtype=torch.bool)], 1)
    none = contrastive_loss(image, negative, text, hard, 5.0, torch.zeros_like(both))
    to_text = torch.cat([image @ text.T, torch.einsum("bd,bhd->bh", image, hard)], 1)
    to_image = text @ torch.cat([image, negative]).T
    expected = (F.cross_entropy(5 * to_text, torch.arange(3)) + F.cross_entropy(5 * to_image, torch.arange(3))) / 2
    assert none.item() == pytest.approx(expected.item())
    scale = torch.tensor(5.0, requires_grad=True)
    masked = contrastive_loss(image, negative, text, hard, scale, both)
    assert masked < none
    masked.backward()
    assert scale.grad.isfinite()
    assert scale.grad != 0


def test_nothing_is_read_of_what_a_caption_leaves_free():
    assert counts_target([{"cat": 2}], [True])[0].tolist()[:3] == [2, IGNORED, IGNORED]
    assert counts_target([{"cat": 2}])[0].tolist()[:3] == [2, 0, 0]
    with torch.random.fork_rng():
        heads = AttributeHeads(8)
    embedding = torch.zeros(1, 8)
    open_, named = parse("with a cat"), parse("with a cat on blue")
    losses = [heads.loss(embedding, [one.counts], [one], 1, [True]) for one in (open_, named)]
    assert losses[0] < losses[1]
    assert torch.isfinite(heads.loss(embedding, [{}], [parse("on blue")], 1, [True]))
