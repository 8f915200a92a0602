"""The command's job: two students of a toy through their stages, in processes of their own, to a pipeline."""

import json
import os
import subprocess
import sys

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file
from samplesmith.pipelines.class_conditional import ClassConditionalPipeline
from samplesmith.pipelines.multi_student import MultiStudentPipeline
from samplesmith.training.distillation.job import DistillJob, read_config
from samplesmith.training.distillation.stages import Matching
from samplesmith.training.randomness import Randomness
from small_denoisers import dit

WEIGHTS = "diffusion_pytorch_model.safetensors"
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


class Seen:
    """A run's loop as one of its processes sees it: with its own draws."""

    def __init__(self, loop, process):
        self._loop, self._randomness = loop, Randomness(loop.settings.seed, process)
        self.generator, self.rng, self.figures = self._randomness.generator, self._randomness.rng, {}

    def __getattr__(self, name):
        return getattr(self._loop, name)


@pytest.mark.slow
def test_two_processes_are_one_with_the_batches_of_both(tmp_path, monkeypatch):
    """By the command: curves and weights, through turns of the fake score and of the student."""
    teacher().save_pretrained(tmp_path / "teacher")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0"]
    launch += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0", "-m", "samplesmith", "distill"]
    options = {"teacher": tmp_path / "teacher", "output": tmp_path / "two", "examples": 4, "teacher-steps": 2}
    options |= {"updates": 20, "batch-size": 4, "fake-updates": 1}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo"}
    for _ in range(2):  # the second time all is done
        command = [*launch, *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

    loss, views = Matching.loss, {}

    def of_both(task, loop):
        halves = []
        for seen in views.setdefault(task, [Seen(loop, process) for process in (1, 0)]):
            task._figures = seen.figures
            halves.append(loss(task, seen))
        return sum(value for value, _ in halves) / 2, halves[-1][1]  # the first process writes the log

    monkeypatch.setattr(Matching, "loss", of_both)
    sizes = {"examples": 4, "teacher_steps": 2, "updates": 20, "batch_size": 4}
    job = DistillJob("toy", tmp_path / "one", plan={"fake_updates": 1}, settings={"cpu": True}, **sizes)
    job.run(teacher())
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "student-0/dm/log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    curves = [[(entry["step"], entry["fake"], entry["dm"]) for entry in log if "dm" in entry] for log in (one, two)]
    assert [step for step, _, _ in curves[0]] == [20, 40]
    assert torch.allclose(torch.tensor(curves[0]), torch.tensor(curves[1]), rtol=1e-3, atol=2e-5)
    weights = [load_file(tmp_path / name / "student-0/dm/student" / WEIGHTS) for name in ("one", "two")]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-5), name
    assert (tmp_path / "two/pipeline/multi_student.json").exists()


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
