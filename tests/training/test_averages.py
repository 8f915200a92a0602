import copy

import pytest
import torch
from samplesmith.training.averages import moving_average, rising_decay


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


def test_decay_rises_to_its_limit():
    decays = [rising_decay(update, 0.9, 1, 10) for update in (1, 10, 89, 1000)]
    assert decays == pytest.approx([2 / 11, 11 / 20, 0.9, 0.9])


@pytest.mark.parametrize("buffers", [False, True])
def test_an_average_is_its_formula(network, buffers):
    """The first weights are what it starts from; a count of batches is copied in any case."""
    average = moving_average(network, lambda update: update / (1 + update), buffers)
    expected = copy.deepcopy(network.state_dict())
    generator = torch.Generator().manual_seed(0)
    for update in range(1, 6):
        network(torch.randn(6, 3, generator=generator))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += torch.randn(parameter.shape, generator=generator)
        average.update_parameters(network)
        decay = update / (1 + update)
        for name, value in network.state_dict().items():
            averaged = value.is_floating_point() and (buffers or not name.startswith("1.running"))
            expected[name] = decay * expected[name] + (1 - decay) * value if averaged else value.clone()
    for name, value in average.module.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert average.module[1].num_batches_tracked == 5
    assert not average.module.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
