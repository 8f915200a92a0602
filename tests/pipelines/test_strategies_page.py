"""The strategy of a user's own runs as docs/strategies.md has it."""

import re
from pathlib import Path

import numpy as np
import samplesmith
import toys
from fakes import Brightness
from samplesmith.pipelines import NoiseSearch
from samplesmith.samplers.strategies import STRATEGIES

PAGE = (Path(samplesmith.__file__).parent / "docs/strategies.md").read_text()
DEFINITION, USE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_runs_as_it_is_written():
    scope = {}
    exec(DEFINITION, scope)
    exec(USE, scope)
    records, best = scope["result"].records, scope["result"].best[0]
    assert [(record["strategy"], record["seed"]) for record in records[:3]] == [("cooling", k) for k in range(3)]
    pivot = max(records[:3], key=lambda record: record["score"])
    assert records[3]["legs"][0]["moves"] == [["turn", 50_003, 0.6]]
    assert records[3]["seed"] == pivot["seed"]
    assert best.score == max(record["score"] for record in records)
    again = np.asarray(best.reproduce(scope["pipe"])).astype(int)
    assert np.abs(again - np.asarray(best.image)).max() <= 1


def test_it_resumes_and_does_not_depend_on_the_batch_size(tmp_path):
    scope = {}
    exec(DEFINITION, scope)
    search = NoiseSearch(toys.build("StableDiffusion"), Brightness(), scope["Cooling"]())
    call = {"prompt": toys.PROMPT, "num_candidates": 6, "progress": False, **toys.SMALL}
    results = [search(batch_size=size, **call) for size in (1, 4)]
    assert [r["legs"] for r in results[0].records] == [r["legs"] for r in results[1].records]
    search(output_dir=tmp_path / "whole", **call)
    stops = iter([True, False])
    search(output_dir=tmp_path / "cut", on_batch=lambda report: next(stops), **call)
    search(output_dir=tmp_path / "cut", **call)
    assert (tmp_path / "cut/records.jsonl").read_bytes() == (tmp_path / "whole/records.jsonl").read_bytes()


def test_the_page_is_about_twenty_lines_and_names_every_strategy():
    lines = [line for line in DEFINITION.splitlines() if line.strip()]
    assert len(lines) <= 20
    assert set(re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE)) == set(STRATEGIES)
