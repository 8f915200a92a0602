"""The form of weak models: the guided prediction for any scale, and the conditional one at a scale of one."""

import torch
from samplesmith.models.guided_form import guided_form, per_row


def test_it_is_guidance_where_the_difference_is_known():
    generator = torch.Generator().manual_seed(0)
    u, c = torch.randn(2, 3, 4, 5, 5, generator=generator)
    scale = torch.tensor([1.0, 2.5, 7.0])
    r = guided_form(c, c - u, scale)
    assert torch.allclose(r, u + scale.view(3, 1, 1, 1) * (c - u), atol=1e-5)
    assert torch.equal(r[0], c[0])
    half = guided_form(c[:, 0, 0].half(), (c - u)[:, 0, 0].half(), scale)
    assert half.dtype == torch.float16
    assert torch.allclose(half.float(), r[:, 0, 0], atol=2e-2)


def test_a_number_is_each_rows():
    assert per_row(3, torch.zeros(2, 5)).tolist() == [3.0, 3.0]
    assert per_row(torch.tensor([1, 2]), torch.zeros(2, 5)).tolist() == [1.0, 2.0]
