"""`samplesmith sample`: what it draws, and what `score` says of it."""

import json

import numpy as np
from PIL import Image

EASY = "a star on blue"


def test_another_scheduler_and_hooks(samplesmith, fails, tmp_path):
    arguments = ["sample", EASY, "--num-images", "2", "--steps", "8"]
    shifted = [*arguments, "--scheduler", "time-shift:window=160,cutoff=200"]
    for folder, command in {"plain": arguments, "batch": shifted, "rows": [*shifted, "--hook", "row-times"]}.items():
        assert samplesmith(*command, "--output", folder).returncode == 0
    plain, batch, rows = ((tmp_path / folder / "seed_1.png").read_bytes() for folder in ("plain", "batch", "rows"))
    assert len({plain, batch, rows}) == 3
    assert samplesmith(*shifted[:2], "--seed", "1", *shifted[4:], "--output", "alone").returncode == 0
    alone = np.asarray(Image.open(tmp_path / "alone/seed_1.png")).astype(int)
    own = np.asarray(Image.open(tmp_path / "rows/seed_1.png")).astype(int)
    assert np.abs(alone - own).max() <= 2, "with a time for each row, an image does not depend on its batch"
    fails("row-times needs the scheduler time-shift", *arguments, "--hook", "row-times", "--output", "none")
    fails("takes no true_scale", *arguments, "--argument", "true_scale=4", "--output", "none")


def test_sample_then_score(samplesmith, fails, tmp_path):
    run = samplesmith("sample", EASY, "--num-images", "2", "--steps", "2", "--output", "out", "--json")
    assert run.returncode == 0, run.stderr
    files = json.loads(run.stdout)["files"]
    assert [Image.open(tmp_path / file).size for file in files] == [(128, 128)] * 2
    scores = json.loads(samplesmith("score", "out", "--prompt", EASY, "--json").stdout)
    assert len(scores) == 2
    assert all(-1 <= row["score"] <= 1 for row in scores)
    (tmp_path / "out/torn.png").write_bytes(b"\x89PNG nothing")
    fails("torn.png cannot be read", "score", "out", "--prompt", EASY)
    fails("no folder nowhere", "score", "nowhere", "--prompt", EASY)
    fails("--num-images is 0", "sample", EASY, "--num-images", "0")
