import copy

import pytest
import torch
from samplesmith.training.distillation.low_rank import low_rank_difference
from samplesmith.training.randomness import initial_weights
from torch import nn


def network(seed):
    with initial_weights(seed):
        net = nn.Sequential(nn.Conv2d(3, 8, 2), nn.Flatten(), nn.Linear(8, 6), nn.LayerNorm(6))
        for parameter in net.parameters():
            nn.init.normal_(parameter)
    return net


def added(teacher, factors):
    """The teacher's weights with B A added, by hand."""
    weights = {name: value.clone() for name, value in teacher.state_dict().items()}
    for name in {key.partition(".lora_")[0] for key in factors}:
        a, b = (factors[f"{name}.lora_{letter}.weight"] for letter in "AB")
        weights[f"{name}.weight"] += (b.flatten(1) @ a.flatten(1)).reshape(weights[f"{name}.weight"].shape)
    return weights


def test_with_full_rank_it_is_the_difference_of_linear_and_convolutional_layers():
    student, teacher = network(0), network(1)
    factors = low_rank_difference(student, teacher, 100)
    weights = added(teacher, factors)
    for name in ("0.weight", "2.weight"):
        assert torch.allclose(weights[name], student.state_dict()[name], atol=1e-5)
    for name in ("0.bias", "2.bias", "3.weight"):
        assert torch.equal(weights[name], teacher.state_dict()[name])
    assert factors["0.lora_A.weight"].shape == (8, 3, 2, 2)
    assert factors["0.lora_B.weight"].shape == (8, 8, 1, 1)


def test_a_difference_of_that_rank_is_kept_whole_and_of_more_only_the_largest_values():
    teacher = network(0)
    student = copy.deepcopy(teacher)
    left, right = (
        torch.linalg.qr(torch.randn(8, 6, generator=torch.Generator().manual_seed(2)))[0][:6],
        torch.eye(8)[:6],
    )
    values = torch.tensor([9.0, 5.0, 2.0, 0.5, 0.0, 0.0])
    student[2].weight.data += (left[:, :6] * values) @ right
    exact = torch.linalg.svdvals(student[2].weight - teacher[2].weight)
    for rank in (1, 2, 4):
        weights = added(teacher, low_rank_difference(student, teacher, rank))
        lost = torch.linalg.svdvals(student[2].weight - weights["2.weight"])
        assert lost[0].item() == pytest.approx(exact[rank].item(), abs=1e-4)


def test_a_student_of_another_form_is_one_sentence():
    with pytest.raises(ValueError, match=r"the student has no layer 2 of the teacher's shape; only one of its form"):
        low_rank_difference(network(1)[:2], network(0), 2)
