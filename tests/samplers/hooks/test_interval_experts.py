"""Experts by noise level behind one call: each row is what its expert makes of it alone."""

import pytest
import torch
from samplesmith.samplers import IntervalExperts
from small_denoisers import dit


@pytest.fixture(scope="module")
def experts():
    networks = [dit() for _ in range(3)]
    for number, network in enumerate(networks):
        network.proj_out_2.bias.data += number
    return networks


def inputs(times):
    sample = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return {"hidden_states": sample, "timestep": torch.tensor(times), "class_labels": torch.tensor([0, 1, 2, 0])}


@torch.no_grad()
@pytest.mark.parametrize(("times", "routes"), [([0, 299, 300, 900], [0, 0, 1, 2]), ([599] * 4, [1] * 4)])
def test_each_row_goes_to_the_expert_of_its_time(experts, times, routes):
    """A boundary belongs to the noisier side."""
    given = inputs(times)
    output = IntervalExperts(experts, [300, 600])(**given).sample
    for row, number in enumerate(routes):
        alone = {name: value[row : row + 1] for name, value in given.items()}
        assert torch.allclose(output[row : row + 1], experts[number](**alone).sample, atol=1e-5)


@torch.no_grad()
def test_one_time_is_one_call_of_one_expert(experts):
    called = []
    handles = [one.register_forward_pre_hook(lambda module, _: called.append(experts.index(module))) for one in experts]
    given = inputs([700])
    output = IntervalExperts(experts, [300, 600])(**given, return_dict=False)
    for handle in handles:
        handle.remove()
    assert called == [2]
    assert torch.equal(output[0], experts[2](**given).sample)


def test_bad_input_is_one_sentence(experts):
    for boundaries in ([300], [600, 300], [300, 300]):
        with pytest.raises(ValueError, match="for 3 experts; give one time fewer than there are experts, in rising"):
            IntervalExperts(experts, boundaries)
    with pytest.raises(ValueError, match="1 models are nothing to choose from by the time"):
        IntervalExperts(experts[:1], [])
    with pytest.raises(ValueError, match="2 times for 4 rows"):
        IntervalExperts(experts, [300, 600])(**inputs([100, 900]))
