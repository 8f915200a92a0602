import numpy as np
import pytest
import torch
import torch.nn.functional as F
from samplesmith import scenes
from samplesmith.scenes import parse
from samplesmith.training.embedded.contrastive import also_true, contrastive_loss


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
