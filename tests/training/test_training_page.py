"""The recipe of a user's own runs as docs/training.md has it."""

import json
import re
from pathlib import Path

import samplesmith
import torch

PAGE = (Path(samplesmith.__file__).parent / "docs/training.md").read_text()


def test_the_recipe_of_the_page_learns_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    results = []
    for _ in range(2):
        session = {}
        exec(compile(code, "docs/training.md", "exec"), session)
        results.append(session["loop"].average.state_dict())
    entries = [json.loads(line) for line in (tmp_path / "runs/student/log.jsonl").read_text().splitlines()]
    errors = [entry["validation"] for entry in entries if "validation" in entry]
    assert errors[-1] < 0.01  # the mean of tanh squared is 0.39
    assert entries[-1]["resumed"] == "yes"
    assert all(torch.equal(a, b) for a, b in zip(results[0].values(), results[1].values(), strict=True))
