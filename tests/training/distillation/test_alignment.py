import pytest
import torch
from samplesmith.training.distillation import alignment
from samplesmith.training.randomness import initial_weights


def linear(size, seed):
    with initial_weights(seed):
        return torch.nn.Linear(size, size)


def test_the_fake_score_keeps_its_share():
    fake, student = linear(2, 0), linear(2, 1)
    before, student_before = fake.weight.clone(), student.weight.clone()
    alignment.align(fake, student, 0.9)
    assert torch.allclose(fake.weight, 0.9 * before + 0.1 * student.weight)
    assert torch.equal(student.weight, student_before)


def test_two_forms_are_refused():
    alignment.check(linear(2, 0), linear(2, 1))
    with pytest.raises(ValueError, match="two forms"):
        alignment.check(linear(2, 0), linear(3, 0))
