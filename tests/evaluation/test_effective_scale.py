import pytest
import torch
from samplesmith.evaluation.effective_scale import effective_scale


def drawn():
    return torch.randn(3, 2, 8, 4, 4, generator=torch.Generator().manual_seed(0)).unbind(0)


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0, 4.5])
def test_plain_guidance_is_its_own_scale(scale):
    u, c, _ = drawn()
    assert torch.allclose(effective_scale(u + scale * (c - u), u, c), torch.full((2,), scale).double(), atol=1e-5)


def test_what_stands_across_the_guidance_does_not_count():
    u, c, other = drawn()
    towards = (c - u).flatten(1)
    across = other.flatten(1) - (other.flatten(1) * towards).sum(1, True) / towards.square().sum(1, True) * towards
    found = effective_scale(u + 2 * (c - u) + 5 * across.view_as(u), u, c)
    assert torch.allclose(found, torch.full((2,), 2.0).double(), atol=1e-5)


def test_it_is_the_same_in_every_form_of_the_prediction():
    """x0 = (x - sigma eps) / alpha."""
    u, c, x = drawn()
    star = u + 3 * (c - u) + 0.1 * x
    clean = [(x - 0.6 * one) / 0.8 for one in (star, u, c)]
    assert torch.allclose(effective_scale(*clean), effective_scale(star, u, c), atol=1e-5)
