import pytest
import torch
from samplesmith.models.residual_block import ResidualBlock


@pytest.fixture
def x():
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def block(*args):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidualBlock(*args).eval()


def test_without_its_branch_it_passes_what_is_positive(x):
    one = block(4, 4)
    one.norm2.weight.data.zero_()
    assert torch.equal(one(x), x.relu())


@pytest.mark.parametrize(("channels", "stride"), [(4, 1), (6, 1), (4, 2), (6, 2)])
def test_channels_and_stride(x, channels, stride):
    made = block(4, channels, stride)(x)
    assert made.shape == (2, channels, 8 // stride, 8 // stride)
    assert made.min() >= 0
