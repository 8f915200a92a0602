import pytest
import torch
from samplesmith.training.distillation.shortened import shortened, spread_blocks
from small_denoisers import dit, unet


def test_blocks_are_spread_with_both_ends():
    assert spread_blocks(6, 3) == [0, 2, 5]
    assert spread_blocks(5, 5) == [0, 1, 2, 3, 4]
    assert spread_blocks(5, 1) == [4]


def test_a_student_begins_with_the_teachers_own_blocks(tmp_path):
    teacher = dit()
    student = shortened(teacher, [0, 2])
    assert torch.equal(
        student.transformer_blocks[1].ff.net[0].proj.weight, teacher.transformer_blocks[2].ff.net[0].proj.weight
    )
    assert len(teacher.transformer_blocks) == teacher.config.num_layers == 3
    student.save_pretrained(tmp_path)
    again = type(student).from_pretrained(tmp_path)
    assert len(again.transformer_blocks) == again.config.num_layers == 2
    same = shortened(teacher, [0, 1, 2])
    inputs = {"timestep": torch.tensor([5]), "class_labels": torch.tensor([0]), "return_dict": False}
    assert torch.equal(same(torch.ones(1, 1, 8, 8), **inputs)[0], teacher(torch.ones(1, 1, 8, 8), **inputs)[0])


def test_what_cannot_be_shortened_is_refused():
    with pytest.raises(ValueError, match="only transformers"):
        shortened(unet(), [0])
    for keep in ([0, 1], [2, 0], [], [-1, 2]):
        with pytest.raises(ValueError, match="the last among them"):
            shortened(dit(), keep)
