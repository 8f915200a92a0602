"""The command's job: two students of a toy through their stages, in processes of their own, to a pipeline."""

import json

import pytest
import torch
from diffusers import DDIMScheduler
from samplesmith.pipelines.class_conditional import ClassConditionalPipeline
from samplesmith.pipelines.multi_student import MultiStudentPipeline
from samplesmith.training.distillation.job import DistillJob, read_config
from small_denoisers import dit

SMALL = {"examples": 4, "teacher_steps": 2, "updates": 2, "batch_size": 4, "settings": {"cpu": True}}


def teacher():
    names = {0: "a", 1: "b", 2: "c"}
    return ClassConditionalPipeline(DDIMScheduler(clip_sample=False), transformer=dit(), id2label=names)


def run(output, stage, subset, **changes):
    plan = {"fake_updates": 1}
    return DistillJob("toy", output, stage, subset, students=2, plan=plan, **{**SMALL, **changes}).run(teacher())


def test_students_of_their_own_make_a_pipeline(tmp_path):
    run(tmp_path, "tsm", 0, blocks=2)
    run(tmp_path, "dm", 0, blocks=2)
    assert not (tmp_path / "pipeline").exists()
    run(tmp_path, "dm", 1, blocks=2)
    run(tmp_path, "adm", 1, blocks=2)
    pipe = MultiStudentPipeline.from_pretrained(tmp_path / "pipeline")
    pipe.pipeline.set_progress_bar_config(disable=True)
    told = json.loads((tmp_path / "partition.json").read_text())
    assert sorted(told["sizes"]) == [1, 2]
    images = pipe(class_labels=["a", "b", 2], generator=torch.Generator().manual_seed(0), output_type="pt").images
    assert images.shape == (3, 1, 8, 8)
    assert len(pipe.student(0).transformer.transformer_blocks) == 2
    begun = json.loads((tmp_path / "student-1/adm/log.jsonl").read_text().splitlines()[-1])
    assert "adversarial" in begun or "spread" in begun


def test_what_cannot_be_run_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="unknown stage 'gan'"):
        run(tmp_path, "gan", 0)
    with pytest.raises(ValueError, match="--subset is 2; give one of the 2 students, from 0"):
        run(tmp_path, "dm", 2)
    with pytest.raises(ValueError, match="just one of --blocks and --student-config"):
        run(tmp_path, "dm", 0, blocks=1, student_config={})
    with pytest.raises(ValueError, match="--updates is 0"):
        run(tmp_path, "dm", 0, updates=0)
    (tmp_path / "small.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no JSON object"):
        read_config(tmp_path / "small.json")
    with pytest.raises(ValueError, match="cannot be read as the student's config"):
        read_config(tmp_path / "none.json")
