"""docs/superposition.md runs as it is written, and says what was measured."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
import samplesmith

ROOT = Path(samplesmith.__file__).parent
PAGE = (ROOT / "docs/superposition.md").read_text()
CALLS, JOB, MODELS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(
    ("script", "table"),
    [
        ("superposition_densities", "table"),
        ("superposition_estimators", "errors_table"),
        ("superposition_estimators", "hutchinson_table"),
        ("superposition_limits", "table"),
    ],
)
def test_the_page_holds_the_measured_table(script, table):
    results = json.loads((ROOT / f"benchmarks/results/{script}.json").read_text())
    assert getattr(import_module(script), table)(results) in PAGE
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
