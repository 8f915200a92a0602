import pytest
import torch
import toys
from samplesmith.samplers import SuperposedModel


@pytest.fixture(scope="module")
def two():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return toys.unet(), toys.unet()


def inputs(rows):
    draw = torch.Generator().manual_seed(0)
    size = 64
    return {
        "sample": torch.randn(rows, 4, 8, 8, generator=draw),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": torch.randn(rows, 5, size, generator=draw),
    }


@pytest.fixture(scope="module")
def width(two):
    return two[0].config.cross_attention_dim


@torch.no_grad()
@pytest.mark.parametrize("unconditional", [False, True])
def test_each_row_goes_through_its_own_model(two, width, unconditional):
    together = SuperposedModel(two, unconditional)
    routes = [0, 0, 1] if unconditional else [0, 1]
    given = inputs(2 * len(routes))
    given["encoder_hidden_states"] = given["encoder_hidden_states"][..., :width]
    output = together(**given).sample
    for row in range(2 * len(routes)):
        alone = {name: value[row : row + 1] if value.ndim else value for name, value in given.items()}
        expected = two[routes[row % len(routes)]](**alone).sample
        assert torch.allclose(output[row : row + 1], expected, atol=1e-5)
    assert torch.equal(together(**given, return_dict=False)[0], output)


def test_it_answers_as_the_first_model(two):
    together = SuperposedModel(two)
    assert together.config is two[0].config
    assert together.dtype == two[0].dtype


def test_what_cannot_share_a_call_is_refused(two):
    with pytest.raises(ValueError, match="1 models are nothing to superpose"):
        SuperposedModel(two[:1])
    with pytest.raises(ValueError, match="give models of one class"):
        SuperposedModel([two[0], torch.nn.Identity()])
    with torch.random.fork_rng():
        wider = toys.unet(in_channels=8)
    with pytest.raises(ValueError, match="in_channels is 4 and 8"):
        SuperposedModel([two[0], wider])
    with pytest.raises(ValueError, match="3 rows are no groups of 2"):
        SuperposedModel(two)(**inputs(3))
