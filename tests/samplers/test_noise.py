import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samplesmith.samplers.noise import direction_seed, rotate


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, math.pi / 2), st.integers(2, 300), st.integers(0, 10**6))
def test_the_norm_and_the_angle_are_exact(angle, size, seed):
    noise, direction = draw(2, 3, size, seed=seed).unbind()
    moved = rotate(noise, direction, angle)
    assert torch.allclose(moved.norm(dim=1), noise.norm(dim=1), rtol=1e-5)
    cosine = (moved.double() * noise.double()).sum(1) / (moved.double().norm(dim=1) * noise.double().norm(dim=1))
    assert torch.allclose(cosine, torch.full_like(cosine, math.cos(angle)), atol=1e-5)


def test_a_moved_noise_is_a_gaussian_draw():
    """Its elements over many rows: mean 0, variance 1, independent of each other."""
    noise, direction = draw(2, 20_000, 3).unbind()
    moved = rotate(noise, direction, 0.7)
    assert moved.mean(0).abs().max() < 0.03
    assert (torch.cov(moved.T) - torch.eye(3)).abs().max() < 0.04


def test_an_angle_a_row_and_none_at_all():
    noise, direction = draw(2, 2, 4, 5).unbind()
    moved = rotate(noise, direction, [0.0, 0.3])
    assert torch.equal(moved[0], noise[0])
    assert torch.equal(moved[1:], rotate(noise[1:], direction[1:], 0.3))
    assert rotate(noise.bfloat16(), direction.bfloat16(), 0.3).dtype == torch.bfloat16


def test_seeds_of_directions_differ_and_stay():
    seeds = {direction_seed(s, i, k) for s in range(5) for i in range(5) for k in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert direction_seed(3, 1, 2) == 5839918186241800584, "records of earlier searches could not be made again"
