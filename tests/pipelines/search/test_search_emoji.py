"""The main job on the shipped model."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from samplesmith import assets
from samplesmith.pipelines import NoiseSearch

PROMPT = "two cats and three stars on blue"
SHORT = {**assets.call_defaults("emoji-sd3"), "num_inference_steps": 6}


def test_batch_size_changes_no_winner_and_no_score(emoji_pipe, emoji_clip):
    one, eight = (
        NoiseSearch(emoji_pipe, emoji_clip)(PROMPT, num_candidates=8, batch_size=size, progress=False, **SHORT)
        for size in (1, 8)
    )
    assert one.best[0].seed == eight.best[0].seed
    assert [r["score"] for r in one.records] == pytest.approx([r["score"] for r in eight.records], abs=1e-4)


def test_the_plain_pipeline_makes_the_winner_again(emoji_pipe, emoji_clip):
    result = NoiseSearch(emoji_pipe, emoji_clip)(PROMPT, num_candidates=4, batch_size=4, progress=False, **SHORT)
    image = emoji_pipe(**result.best[0].pipeline_kwargs()).images[0]
    assert np.abs(np.asarray(image).astype(int) - np.asarray(result.images[0])).max() <= 1


KILLED = {
    "search": ["search", PROMPT, "--candidates", "12", "--steps", "4"],
    "steer": ["steer", PROMPT, "--strategy", "smc", "--budget", "96", "--steps", "4"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", KILLED)
def test_kill_at_a_random_moment_and_run_again(tmp_path, command):
    """Three times here, twenty in benchmarks/kill_and_resume.py; what steering goes on from is made again."""
    command = [sys.executable, "-m", "samplesmith", *KILLED[command], "--batch-size", "2", "--json", "--output"]
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    expected = (tmp_path / "whole/records.jsonl").read_bytes()
    moments = random.Random(0)
    for k in range(3):
        folder = tmp_path / f"killed{k}"
        records = folder / "records.jsonl"
        process = subprocess.Popen([*command, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not records.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1.5))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = records.read_bytes()
        before = before[: before.rfind(b"\n") + 1]
        done = {file: file.stat().st_mtime_ns for file in (folder / "images").glob("*.png")}
        recorded = before.count(b"\n")
        subprocess.run([*command, folder], check=True, capture_output=True)
        assert records.read_bytes() == expected
        assert expected.startswith(before)
        again = [file for file, moment in done.items() if file.stat().st_mtime_ns != moment]
        assert len(again) <= 2, "more than one batch was evaluated again"
        assert not {f"0000_{index:05d}.png" for index in range(recorded - recorded % 2)} & {file.name for file in again}
