"""fashion-students' recipe in small, on synthetic pictures."""

import pytest
import torch
from samplesmith.training.checkpoints import FolderError
from samplesmith.training.embedded import fashion_students
from stripes import signed, stripes


@pytest.mark.slow
def test_a_groups_students_make_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.setattr(
        fashion_students, "read_split", lambda split, classes, folder: signed(stripes(32, 0, tuple(classes)))
    )
    monkeypatch.setattr(fashion_students, "BATCH", 4)
    monkeypatch.setattr(fashion_students, "PAIR_STEPS", 2)
    monkeypatch.setattr(fashion_students, "GROUPS", {"small": fashion_students.Group(2, small=True)})
    monkeypatch.setattr("samplesmith.training.distillation.stages.MEASURED", 8)
    fashion_students.train(tmp_path, "small", 0, 1, pairs_per_class=2)
    with pytest.raises(FolderError, match="run subset 1 of the group small to the end of dm first"):
        fashion_students.assemble(tmp_path, "small")
    fashion_students.train(tmp_path, "small", 1, 1, pairs_per_class=2)
    pipe = fashion_students.assemble(tmp_path, "small")
    images = pipe(class_labels=list(range(10)), generator=torch.Generator().manual_seed(0), output_type="pt").images
    assert images.shape == (10, 1, 32, 32)
    with pytest.raises(ValueError, match="--subset is 2; group small has the students 0 to 1"):
        fashion_students.train(tmp_path, "small", 2, 1)


def test_the_partition_and_the_sizes():
    pipe = fashion_students.teacher_pipeline()
    part = fashion_students.partition(pipe, 4)
    assert sorted(len(part.rows(student)) for student in range(4)) == [2, 2, 3, 3]
    small = fashion_students.first_student(pipe, fashion_students.GROUPS["small"])
    count, whole = (sum(p.numel() for p in net.parameters()) for net in (small, pipe.transformer))
    assert count <= 0.58 * whole
    assert fashion_students.build_plan(pipe, "dm").times == (399.0,)
