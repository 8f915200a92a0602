import numpy as np
import torch
from samplesmith.training.randomness import Randomness, initial_weights


def draws(randomness):
    return randomness.rng.random(3).tolist(), torch.rand(3, generator=randomness.generator).tolist()


def test_it_goes_on_from_its_state():
    randomness = Randomness(3)
    draws(randomness)
    state, expected = randomness.state_dict(), draws(randomness)
    other = Randomness(4)
    other.load_state_dict(state)
    assert draws(other) == expected


def test_each_process_draws_its_own_and_the_first_what_a_single_one_would():
    first, second, third = (draws(Randomness(3, process)) for process in range(3))
    assert first == (
        np.random.default_rng(3).random(3).tolist(), torch.rand(3, generator=torch.Generator().manual_seed(3)).tolist()
    )  # fmt: skip
    assert len({tuple(numbers) for both in (first, second, third) for numbers in both}) == 6


def test_first_weights_are_those_of_the_seed_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    weights = []
    for seed in (0, 0, 1):
        with initial_weights(seed):
            weights.append(torch.nn.Linear(2, 2).weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), before)
