"""Students behind a router: rows keep their order, students come and go, each row is what its student makes alone."""

import copy
import gc
import json
import weakref

import pytest
import torch
from diffusers import DDIMScheduler
from samplesmith.pipelines.class_conditional import ClassConditionalPipeline
from samplesmith.pipelines.counting import count_nfe
from samplesmith.pipelines.multi_student import MultiStudentPipeline, pooled_texts
from samplesmith.pipelines.partition import partition_texts
from samplesmith.pipelines.resident_students import ResidentStudents
from samplesmith.pipelines.routing import ClassRouter
from samplesmith.training.randomness import initial_weights
from small_denoisers import dit
from toys.stable_diffusion_3 import stable_diffusion_3

ONE_STEP = {"num_inference_steps": 1}
TABLE = {0: 0, 1: 1, 2: 0}


def students(count):
    """Copies whose outputs differ: each adds its number to every pixel of what it says."""
    found = []
    for number in range(count):
        network = dit()
        network.proj_out_2.bias.data += number
        found.append(network)
    return found


def by_class(count=2, table=TABLE):
    networks = students(count)
    pipe = ClassConditionalPipeline(DDIMScheduler(clip_sample=False), transformer=networks[0])
    pipe.set_progress_bar_config(disable=True)
    return MultiStudentPipeline(pipe, networks, ClassRouter(table), ONE_STEP)


def generators(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_a_thousand_mixed_conditions_keep_their_order():
    pipe = by_class()
    labels = torch.randint(3, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
    images = pipe(class_labels=labels, generator=generators(range(1000)), output_type="latent").images
    for row in (0, 1, 2, 500, 998, 999):
        alone = pipe.student(TABLE[labels[row]])(
            [labels[row]], generator=generators([row]), output_type="latent", **ONE_STEP
        )
        assert torch.allclose(images[row], alone.images[0], atol=1e-4), row


def test_one_generator_gives_each_row_its_own():
    pipe = by_class()
    first, second = (
        pipe(class_labels=labels, generator=torch.Generator().manual_seed(7), output_type="pt").images
        for labels in ([0, 1, 2], [0, 0, 2])
    )
    assert torch.allclose(first[[0, 2]], second[[0, 2]], atol=1e-5)
    assert not torch.allclose(first[1], second[1], atol=1e-3)
    parts = pipe(class_labels=[0, 1, 2], generator=torch.Generator().manual_seed(7), output_type="pt", batch_size=1)
    assert torch.allclose(parts.images, first, atol=1e-5)


def test_arguments_of_rows_go_with_them():
    pipe = by_class()
    latents = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = pipe(class_labels=[1, 0, 1], latents=latents, output_type="latent").images
    alone = pipe.student(1)([1, 1], latents=latents[[0, 2]], output_type="latent", **ONE_STEP).images
    assert torch.allclose(images[[0, 2]], alone, atol=1e-5)


def test_one_student_is_a_pipeline_like_another():
    pipe = by_class(1, {0: 0, 1: 0, 2: 0})
    images = pipe(class_labels=2, generator=generators([3]), output_type="pt").images
    assert torch.equal(images, pipe.student(0)([2], generator=generators([3]), output_type="pt", **ONE_STEP).images)


def test_it_is_saved_and_loaded_with_one_student_in_memory(tmp_path, monkeypatch):
    pipe = by_class(3, {0: 0, 1: 1, 2: 2})
    labels, seeds = [2, 0, 1, 2], range(4)
    wanted = pipe(class_labels=labels, generator=generators(seeds), output_type="pt").images
    pipe.save_pretrained(tmp_path)
    assert sorted(file.name for file in (tmp_path / "students").iterdir()) == ["0", "1", "2"]
    assert not (tmp_path / "transformer").exists()

    alive, most = weakref.WeakSet(), []
    load = ResidentStudents.__init__

    def watched(self, loader, *args, **kwargs):
        def one(number):
            gc.collect()
            network = loader(number)
            alive.add(network)
            most.append(len(alive))
            return network

        load(self, one, *args, **kwargs)

    monkeypatch.setattr(ResidentStudents, "__init__", watched)
    again = MultiStudentPipeline.from_pretrained(tmp_path, max_resident=1)
    again.pipeline.set_progress_bar_config(disable=True)
    assert torch.allclose(again(class_labels=labels, generator=generators(seeds), output_type="pt").images, wanted)
    assert most == [1, 1, 1]  # student 0 was there from the start
    assert again.students.resident == [2]
    again.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy/students/2").is_dir()


def test_students_of_experts_by_noise_level(tmp_path):
    """Four networks behind a router of two students: of each the first has the times below 500."""
    networks = students(4)
    pipe = ClassConditionalPipeline(DDIMScheduler(clip_sample=False), transformer=networks[0])
    pipe.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": 4}  # at 750, 500, 250 and 0
    whole = MultiStudentPipeline(pipe, networks, ClassRouter(TABLE), call, boundaries=[500])
    called = []
    for number, network in enumerate(networks):
        network.register_forward_pre_hook(lambda *_, number=number: called.append(number))
    labels, seeds = [1, 0, 2], range(3)
    images = whole(class_labels=labels, generator=generators(seeds), output_type="latent").images
    assert called == [1, 1, 0, 0, 3, 3, 2, 2]
    with count_nfe(whole.student(1)) as counts:
        alone = whole.student(1)([1], generator=generators([0]), output_type="latent", **call).images
    assert counts.nfe == 4
    assert torch.allclose(images[0], alone[0], atol=1e-4)

    whole.save_pretrained(tmp_path)
    again = MultiStudentPipeline.from_pretrained(tmp_path, max_resident=2)
    again.pipeline.set_progress_bar_config(disable=True)
    copies = again(class_labels=labels, generator=generators(seeds), output_type="latent").images
    assert torch.allclose(copies, images, atol=1e-5)
    assert again.students.resident == [2, 3]
    with pytest.raises(ValueError, match="there is no student 2; there are 0 to 1"):
        again.student(2)
    with pytest.raises(ValueError, match="max_resident is 1, and a student is 2 experts"):
        MultiStudentPipeline.from_pretrained(tmp_path, max_resident=1)
    with pytest.raises(ValueError, match="serves 2 students of 3 experts each, and there are 4"):
        MultiStudentPipeline(pipe, networks, ClassRouter(TABLE), call, boundaries=[300, 500])


def test_students_go_to_their_devices():
    pipe = by_class()
    moved = []
    pipe.students.device_map = {1: torch.device("cpu")}
    pipe.pipeline.to = lambda device: moved.append(device)
    pipe(class_labels=[0, 1], generator=generators([0, 1]))
    assert moved == [torch.device("cpu")] * 2
    with pytest.raises(ValueError, match="device_map names student 5; there are students 0 to 1"):
        ResidentStudents(lambda number: None, 2, device_map={5: "cpu"})


def test_bad_input_is_one_sentence(tmp_path):
    pipe = by_class()
    with pytest.raises(ValueError, match="class 9 is none that a student was made for; known: 0, 1, 2"):
        pipe(class_labels=[0, 9])
    with pytest.raises(ValueError, match="the batch is empty"):
        pipe(class_labels=[])
    with pytest.raises(ValueError, match="give just one of class_labels and prompt"):
        pipe()
    with pytest.raises(ValueError, match="chosen by classes; give class_labels"):
        pipe(prompt="a cat")
    with pytest.raises(ValueError, match="2 conditions but 1 generators"):
        pipe(class_labels=[0, 1], generator=generators([0]))
    with pytest.raises(ValueError, match="there is no student 2; there are 0 to 1"):
        pipe.student(2)
    with pytest.raises(ValueError, match="serves 2 students, and there are 3"):
        by_class(3)
    with pytest.raises(ValueError, match="no folder of a multi-student pipeline"):
        MultiStudentPipeline.from_pretrained(tmp_path)
    pipe.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "multi_student.json").read_text())
    (tmp_path / "multi_student.json").write_text(json.dumps({**saved, "students": 3}))
    with pytest.raises(ValueError, match=r"lacks the folder students/2 of its 3 students"):
        MultiStudentPipeline.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="max_resident is 0"):
        ResidentStudents(lambda number: None, 2, max_resident=0)


def test_texts_go_to_the_nearest_student():
    """A stock StableDiffusion3Pipeline: routed by its own pooled embeddings, each row by its own student."""
    with initial_weights(0):
        pipe = stable_diffusion_3()
    pipe.set_progress_bar_config(disable=True)
    networks = [pipe.transformer, copy.deepcopy(pipe.transformer)]
    networks[1].proj_out.bias.data += 1
    prompts = ["a cat", "a dog", "two fish", "a tree"]
    call = {"height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 1.0, "max_sequence_length": 4}
    pooled = pooled_texts(pipe, prompts, call)
    part = partition_texts(pooled, 2, prompts, torch.Generator().manual_seed(0))
    students = MultiStudentPipeline(pipe, networks, part.router, call)
    numbers = students.route(prompts)
    assert set(numbers) == {0, 1}
    images = students(prompt=prompts, generator=generators(range(4)), output_type="latent").images
    for row, number in enumerate(numbers):
        own = {"generator": generators([row]), "output_type": "latent"}
        alone = students.student(number)([prompts[row]], **own, **call).images
        assert torch.allclose(images[row], alone[0], atol=1e-4)
