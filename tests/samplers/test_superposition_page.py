"""docs/superposition.md runs as it is written, and says what was measured."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import samplesmith

ROOT = Path(samplesmith.__file__).parent
PAGE = (ROOT / "docs/superposition.md").read_text()
CALLS, JOB, MODELS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_holds_the_measured_table():
    file = ROOT / "benchmarks/superposition_densities.py"
    spec = importlib.util.spec_from_file_location("superposition_densities", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = json.loads((ROOT / "benchmarks/results/superposition_densities.json").read_text())
    assert module.table(results) in PAGE
    assert (ROOT / "docs/superposition.png").is_file()


@pytest.mark.slow
def test_the_page_runs_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(CALLS, scope)
    exec(JOB, scope)
    exec(MODELS, scope)
    assert (tmp_path / "both.png").is_file()
    assert len(scope["either"].images) == 2
    assert len(scope["outcome"].judgements["mean"]) == 2
    assert scope["again"].nfe == 4 * 3
