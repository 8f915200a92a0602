"""The commands of docs/steering.md are ones that can be run."""

import re
import shlex
from pathlib import Path

import samplesmith
from samplesmith.app import cli
from samplesmith.pipelines import SteerJob
from typer.testing import CliRunner

PAGE = (Path(samplesmith.__file__).parent / "docs/steering.md").read_text()


def test_its_commands_name_jobs_that_pass_their_checks(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    jobs = []

    def run(job, **_):
        jobs.append(job)
        raise SystemExit

    monkeypatch.setattr(SteerJob, "run", run)
    commands = re.findall(r"^samplesmith (steer .*)$", PAGE, re.MULTILINE)
    for command in commands:
        result = CliRunner().invoke(cli.app, shlex.split(command))
        assert result.exit_code == 0, result.output
    assert len(jobs) == len(commands) >= 3


def test_its_table_has_every_strategy_that_steers():
    from samplesmith.samplers.strategies import STRATEGIES
    from samplesmith.samplers.strategies.stepwise import Stepwise

    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE))))
    assert {name for name, kind in STRATEGIES.items() if issubclass(kind, Stepwise)} <= named
