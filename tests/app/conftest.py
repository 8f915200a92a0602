import sys
from dataclasses import dataclass

import pytest
from samplesmith.app import cli


@dataclass
class Run:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def samplesmith(monkeypatch, tmp_path, capfd):
    """Run a command in this process, in an empty folder: importing torch anew for each would take the time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("warnings.showwarning", cli._show_warning)

    def run(*arguments) -> Run:
        monkeypatch.setattr(sys, "argv", ["samplesmith", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Run(end.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def fails(samplesmith):
    def check(message, *arguments):
        run = samplesmith(*arguments)
        text = " ".join(run.stderr.split())
        assert run.returncode == 2, run.stderr
        assert message in text
        assert "Traceback" not in text

    return check
