"""Conditions as a pipeline encodes them, read in the call of its denoiser that is not made."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from diffusers import DDIMScheduler
from samplesmith.pipelines.class_conditional import ClassConditionalPipeline
from samplesmith.training.distillation import teacher as teachers
from samplesmith.training.randomness import initial_weights
from small_denoisers import dit
from toys.flux import TOYS as FLUX
from toys.stable_diffusion_3 import stable_diffusion_3

CALL = {"height": 32, "width": 32, "num_inference_steps": 2, "max_sequence_length": 4}


def test_texts_are_those_of_encode_prompt(monkeypatch):
    monkeypatch.setattr(teachers, "ENCODED_AT_ONCE", 2)
    with initial_weights(0):
        pipe = stable_diffusion_3()
    pipe.set_progress_bar_config(disable=True)
    prompts = ["a cat", "a dog", "two fish"]
    condition, null, shape = teachers.encode(pipe, "prompt", prompts, CALL, 2.0)
    hidden, nothing, pooled, pooled_nothing = pipe.encode_prompt(prompts, None, None, max_sequence_length=4)
    assert shape == (8, 16, 16)
    assert torch.allclose(condition["encoder_hidden_states"], hidden, atol=1e-5)
    assert torch.allclose(condition["pooled_projections"], pooled, atol=1e-5)
    assert torch.allclose(null["encoder_hidden_states"], nothing[:1], atol=1e-5)
    assert torch.allclose(null["pooled_projections"], pooled_nothing[:1], atol=1e-5)
    assert teachers.encode(pipe, "prompt", prompts, CALL, 1.0)[1] is None


def test_labels_and_the_pipelines_own_samples(tmp_path):
    """The teacher's examples are DDIM's, from the same noises; a rerun reads them."""
    pipe = ClassConditionalPipeline(DDIMScheduler(clip_sample=False, timestep_spacing="trailing"), transformer=dit())
    pipe.set_progress_bar_config(disable=True)
    condition, null, shape = teachers.encode(pipe, "class_labels", [2, 0], {}, 2.0)
    assert condition["class_labels"].tolist() == [2, 0]
    assert null["class_labels"].tolist() == [pipe.null_class]
    times = teachers.teacher_times(pipe.scheduler, 4)  # of 3 steps, DDIM aims at 333 and goes on from 332
    given = (teachers.teacher_of(pipe), condition, null, shape, times, 2.0, 5, tmp_path / "examples.pt")
    examples = teachers.sample_teacher(*given)
    own = pipe([2, 0], 4, guidance_scale=2.0, latents=examples.noise, output_type="latent").images
    assert (examples.x0 - own).abs().max() < 1e-3 * own.abs().max()
    assert torch.equal(teachers.sample_teacher(*given).x0, examples.x0)
    with pytest.raises(ValueError, match="holds 2 examples, not 1"):
        teachers.sample_teacher(given[0], {"class_labels": torch.tensor([1])}, *given[2:])


def test_processes_of_one_run_make_the_examples_once(tmp_path, monkeypatch):
    """Two that come at once: the second waits, and reads what the first wrote."""
    both_came, solved = threading.Barrier(2), []
    lock = teachers.FileLock

    def wait_for_both(file):
        both_came.wait(timeout=60)
        return lock(file)

    def solve(teacher, noise, *rest):
        solved.append(len(noise))
        return noise + 1

    monkeypatch.setattr(teachers, "FileLock", wait_for_both)
    monkeypatch.setattr(teachers, "solve", solve)
    given = (None, {"class_labels": torch.arange(3)}, None, (1, 4, 4), (1.0, 0.5), 1.0, 5, tmp_path / "examples.pt")
    with ThreadPoolExecutor(2) as pool:
        first, second = (run.result() for run in [pool.submit(teachers.sample_teacher, *given) for _ in range(2)])
    assert solved == [3]
    assert torch.equal(first.x0, second.x0)
    assert torch.equal(first.noise, second.noise)


def test_what_is_told_in_another_way_is_refused():
    recipe = FLUX["FluxPipeline"]
    with initial_weights(0):
        pipe = recipe.make()
    pipe.set_progress_bar_config(disable=True)
    with pytest.raises(ValueError, match="no tensor with an entry for each row"):
        teachers.encode(pipe, "prompt", ["a cat", "a dog"], recipe.arguments, 1.0)
    with pytest.raises(ValueError, match="its guidance is its own, distil it at scale 1"):
        teachers.encode(pipe, "prompt", ["a cat", "a dog"], recipe.arguments, 3.0)
