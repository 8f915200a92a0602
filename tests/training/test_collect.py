"""Collected steps are what the pipeline's own guidance predicted, and a folder of them survives what happens to it."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import toys
from fakes import Brightness
from guided_runs import LAYOUTS, SCALE, denoiser, guided_predictions, is_untouched
from samplesmith.pipelines.call import PipelineCall
from samplesmith.pipelines.counting import count_nfe
from samplesmith.pipelines.row import Row
from samplesmith.training.collect import CollectSettings, collect
from samplesmith.training.collected import Collected, CollectionError, Index
from samplesmith.training.recorded_steps import chosen_steps

PROMPTS = ["a cat", "a dog", "a star", "two cars", "a tree"]
ARGUMENTS = {**toys.SMALL, "num_inference_steps": 4, "guidance_scale": SCALE}
HALVES = CollectSettings(keep_steps=2, batch_size=2)

SCRIPT = f"""
import os, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, {str(Path(toys.__file__).parents[1])!r})
import toys
from samplesmith.training.collect import CollectSettings, collect
collect(toys.build("StableDiffusion"), {PROMPTS!r}, sys.argv[1], CollectSettings(keep_steps=2, batch_size=2),
        progress=False, **{ARGUMENTS!r})
"""


def gathered(folder, settings=HALVES, verifier=None, prompts=PROMPTS, **changes):
    pipe = toys.build("StableDiffusion")
    return collect(pipe, prompts, folder, settings, verifier, progress=False, **{**ARGUMENTS, **changes})


def content(folder):
    """All that is on disk, by name."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(".")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed collection of five trajectories in three shards."""
    folder = tmp_path_factory.mktemp("whole")
    gathered(folder)
    return folder


@pytest.mark.parametrize("name", ["StableDiffusion", "StableDiffusion3", "DiT", "Flux true CFG", "ChromaPipeline"])
def test_the_guided_prediction_of_each_step_is_the_pipelines_own(tmp_path, name):
    """Bit for bit, in every layout; the denoiser is as it was afterwards."""
    pipe = toys.build(name)
    _, prompt, arguments = toys.TOYS[name]
    expected = guided_predictions(pipe, name, LAYOUTS[name])
    arguments = {**arguments, "num_inference_steps": len(expected)}
    arguments["true_cfg_scale" if name == "Flux true CFG" else "guidance_scale"] = SCALE
    settings = CollectSettings(dtype=torch.float32)
    collect(pipe, [prompt], tmp_path, settings, progress=False, **arguments)
    items = Collected(tmp_path).take(torch.arange(len(expected)))
    assert items.step.tolist() == list(range(len(expected)))
    assert all(map(torch.equal, items.guided(SCALE)[:, None], expected))
    assert sorted(items.timestep.tolist(), reverse=True) == items.timestep.tolist()
    assert is_untouched(denoiser(pipe))


class Seen(Brightness):
    """Keeps the pictures that it scores."""

    def score(self, images, prompts, previews=None):
        self.pictures = images.clone()
        return super().score(images, prompts)


def test_pictures_and_nfes_are_those_of_a_plain_run(tmp_path):
    pipe, seen = toys.build("StableDiffusion"), Seen()
    with count_nfe(pipe) as counts:
        expected, _ = PipelineCall(pipe, ARGUMENTS)([Row("a cat", 0), Row("a dog", 1)])
        plain, counts.nfe = counts.nfe, 0
        settings = CollectSettings(min_score=0.0)
        collect(pipe, ["a cat", "a dog"], tmp_path, settings, seen, progress=False, **ARGUMENTS)
        assert counts.nfe == plain == 2 * 2 * 4
    pictures = (seen.pictures.movedim(1, -1) * 255).round().numpy().astype(np.uint8)
    assert np.array_equal(pictures, expected)


def test_rows_of_a_batch_are_told_apart(whole, tmp_path):
    """In batches of two, and one by one: the same items to the rounding of a batch."""
    gathered(tmp_path, CollectSettings(keep_steps=2, batch_size=1))
    together, alone = Collected(whole), Collected(tmp_path)
    assert together.step.tolist() == alone.step.tolist()
    assert together.prompt.tolist() == alone.prompt.tolist() == [k for k in range(5) for _ in range(2)]
    pair = [one.take(torch.arange(10)) for one in (together, alone)]
    for name, tensor in pair[0].tensors().items():
        if name != "trajectory":
            assert torch.allclose(tensor.float(), pair[1].tensors()[name].float(), atol=5e-3 * float(tensor.max()))


@pytest.mark.parametrize(("total", "count"), [(28, 10), (3, 2), (5, 5), (5, 9), (4, None)])
def test_kept_steps_are_spread_and_follow_from_the_seed(total, count):
    """One of each part, each step of a part as likely as the other."""
    drawn = [sorted(chosen_steps(total, count, seed)) for seed in range(200)]
    wanted = min(total, count or total)
    assert all(len(steps) == wanted for steps in drawn)
    assert drawn == [sorted(chosen_steps(total, count, seed)) for seed in range(200)]
    edges = [k * total // wanted for k in range(wanted + 1)]
    assert all(a <= step < b for steps in drawn for step, a, b in zip(steps, edges, edges[1:], strict=False))
    assert {step for steps in drawn for step in steps} == set(range(total))


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_items(whole, tmp_path):
    """`kill -9` as soon as a shard stands; half of a file beside it does not disturb."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, str(script), str(folder)], env=environment)
    while process.poll() is None and not list(folder.glob("*.safetensors")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(Index(folder).shards) < 3
    (folder / "shard-00002.part").write_bytes(b"half of")
    gathered(folder)
    expected = content(whole)
    assert {name: one for name, one in content(folder).items() if name in expected} == expected


def test_shards_of_two_processes_are_those_of_one(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, count in ((1, 1), (0, 3)):
        monkeypatch.setenv("RANK", str(rank))
        assert len(gathered(tmp_path).shards) == count
    assert content(tmp_path) == content(whole)


@pytest.mark.parametrize("damage", ["truncated", "changed", "gone"])
def test_a_damaged_shard_is_found_and_collected_again(whole, tmp_path, damage):
    for name, data in content(whole).items():
        (tmp_path / name).write_bytes(data)
    file = tmp_path / "shard-00001.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        data[-1] ^= 1
        file.write_bytes(data[: len(data) // 2] if damage == "truncated" else data)
    with pytest.raises(CollectionError, match=r"shard-00001\.safetensors in .* is missing or damaged"):
        Collected(tmp_path)
    pipe = toys.build("StableDiffusion")
    with count_nfe(pipe) as counts:
        collect(pipe, PROMPTS, tmp_path, HALVES, progress=False, **ARGUMENTS)
    assert counts.nfe == 2 * 2 * 4, "one shard of two trajectories"
    assert content(tmp_path) == content(whole)


def test_a_full_disk_is_one_sentence_and_leaves_what_was_written(whole, tmp_path):
    """A limit of the file size stands for it: the kernel refuses the write."""
    gathered(tmp_path, prompts=PROMPTS, settings=CollectSettings(keep_steps=2, batch_size=2, max_gb=3e-5))
    before = content(tmp_path)
    own, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, most))
    try:
        with pytest.raises(
            CollectionError, match=r"takes no more \(File too large\); its 1 shards can be read"
        ) as error:
            gathered(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (own, most))
    assert "\n" not in str(error.value)
    assert content(tmp_path) == before
    assert len(Collected(tmp_path))
    gathered(tmp_path)
    assert content(tmp_path) == content(whole)


def test_the_bound_cuts_draws_before_prompts_and_may_grow(whole, tmp_path):
    item = Index(whole).trajectory_bytes
    bounded = CollectSettings(draws=2, keep_steps=2, batch_size=2, max_gb=7.5 * item / 1e9)
    index = gathered(tmp_path, bounded)
    runs = [one for _, entry in sorted(index.shards.items()) for one in entry.trajectories]
    assert [(one.prompt, one.seed) for one in runs] == [(k % 5, k) for k in range(7)]
    grown = gathered(tmp_path, CollectSettings(draws=2, keep_steps=2, batch_size=2))
    assert sum(len(entry.trajectories) for entry in grown.shards.values()) == 10
    assert len(Collected(tmp_path)) == 20


def test_trajectories_below_the_score_are_rejected(tmp_path):
    open_run = gathered(tmp_path / "all", CollectSettings(batch_size=2, min_score=-1.0), Brightness())
    scores = {one.seed: one.score for entry in open_run.shards.values() for one in entry.trajectories}
    least = sorted(scores.values())[2]
    chosen = gathered(tmp_path / "some", CollectSettings(batch_size=2, min_score=least), Brightness())
    runs = [one for entry in chosen.shards.values() for one in entry.trajectories]
    assert {one.seed: one.score for one in runs} == scores
    assert [one.kept for one in runs] == [one.score >= least for one in runs]
    kept = Collected(tmp_path / "some")
    assert len(kept) == 3 * 4
    assert set(kept.prompt.tolist()) == {one.prompt for one in runs if one.kept}


def test_what_cannot_be_collected_is_refused(whole, tmp_path):
    with pytest.raises(ValueError, match="no step was guided by two predictions"):
        gathered(tmp_path / "unguided", guidance_scale=1.0)
    with pytest.raises(ValueError, match=r"a trajectory takes .* GB and the bound is 1e-06"):
        gathered(tmp_path / "tiny", CollectSettings(max_gb=1e-6))
    with pytest.raises(ValueError, match="give both, or neither"):
        gathered(tmp_path / "lone", verifier=Brightness())
    with pytest.raises(CollectionError, match=r"holds another collection .*num_inference_steps was 4, now 5"):
        gathered(whole, num_inference_steps=5)
    with pytest.raises(CollectionError, match="holds no collected steps; `samplesmith collect`"):
        Collected(tmp_path / "unguided")
    (tmp_path / "index.json").write_text(json.dumps({"run": {}}))
    with pytest.raises(CollectionError, match="is no index of a collection"):
        Index(tmp_path)
