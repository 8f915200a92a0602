import math

import pytest
import torch
from samplesmith.training.distillation import adm
from samplesmith.training.randomness import initial_weights
from small_denoisers import dit, unet


def test_the_best_discriminator_is_the_log_ratio_of_the_densities():
    """Of N(1, 1) against N(-1, 1) that is 2 x: the loss of every other slope is higher."""
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    losses = {slope: adm.discriminator_loss(slope * (1 + noise), slope * (-1 + noise)) for slope in (0, 1.5, 2, 2.5)}
    assert min(losses, key=losses.get) == 2
    assert losses[0].item() == pytest.approx(2 * math.log(2))
    assert adm.generator_loss(torch.tensor([-9.0])) > adm.generator_loss(torch.tensor([9.0]))


@pytest.mark.parametrize(("build", "width"), [(dit, 16), (unet, 16)])
def test_a_head_reads_the_bottleneck_and_hands_gradients_to_samples_alone(build, width):
    network = build()
    with initial_weights(1):
        head = adm.Head(width)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    inputs = {"timestep": torch.tensor([5, 9]), "class_labels": torch.tensor([0, 1]), "return_dict": False}
    with adm.features_of(network) as features:
        out = adm.frozen(network)(x, **inputs)
    plain = network(x, **inputs)
    assert torch.allclose(out[0], plain[0], atol=1e-6)
    (read,) = features
    logits = adm.frozen(head)(read)
    assert len(logits) == 2
    adm.generator_loss(logits).backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in [*network.parameters(), *head.parameters()])


def test_a_network_without_a_middle_is_refused():
    with pytest.raises(ValueError, match="mid_block or transformer_blocks"):
        adm.bottleneck(torch.nn.Identity())
