"""`samplesmith sample`: what it draws, and what `score` says of it."""

import json

from PIL import Image

EASY = "a star on blue"


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
