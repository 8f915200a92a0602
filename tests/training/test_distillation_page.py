"""docs/distillation.md: its program runs, and its command is one."""

import re
import shlex
from pathlib import Path

import pytest
import samplesmith
import torch
from samplesmith.app.cli import app
from samplesmith.training.distillation.stages import STAGES
from typer.testing import CliRunner

PAGE = (Path(samplesmith.__file__).parent / "docs/distillation.md").read_text()


@pytest.mark.slow
def test_the_programs_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("samplesmith.training.distillation.stages.MEASURED", 4)
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    session = {}
    with torch.random.fork_rng(devices=[]):  # a call without a generator draws from the global one
        for code in programs:
            exec(compile(code, "docs/distillation.md", "exec"), session)
    assert session["students"].router.students == 2
    assert session["whole"].experts == 2


def test_the_page_names_all_stages_and_options():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(STAGES)
    (command,) = re.findall(r"```\n(samplesmith distill .*)\n```", PAGE)
    told = CliRunner().invoke(app, ["distill", "--help"], env={"COLUMNS": "200"}).output
    for option in {*re.findall(r"--[a-z][\w-]*", PAGE)} | {
        word for word in shlex.split(command) if word.startswith("--")
    }:
        assert option in told, option


def test_bad_input_is_refused_before_anything_is_loaded():
    wrong = CliRunner().invoke(app, ["distill", "--teacher", "fashion-dppm"])
    assert isinstance(wrong.exception, ValueError)
    assert "unknown model 'fashion-dppm'" in str(wrong.exception)
