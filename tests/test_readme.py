"""The README's own lines run as printed, in their order: Python in one session, commands in one folder."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import samplesmith
import torch
from samplesmith.app import cli

ROOT = Path(samplesmith.__file__).parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands(block):
    """The commands of a block, as a shell would split them."""
    return [words for line in block.splitlines() if (words := shlex.split(line, comments=True))]


def test_there_are_lines_to_run():
    languages = [language for language, _ in BLOCKS]
    assert languages.count("python") >= 4
    assert sum(len(commands(text)) for language, text in BLOCKS if language == "bash") >= 10
    targets = [line.split()[1] for language, text in BLOCKS if not language for line in text.splitlines()]
    assert targets == ["demo", "web", "test"]
    for target in targets:
        assert f"\n{target}:" in (ROOT / "Makefile").read_text()


@pytest.mark.slow
def test_its_lines_run_as_printed(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    session = {}
    for language, text in BLOCKS:
        if language == "python":
            with torch.random.fork_rng(devices=[]):  # a plain call without a generator draws from the global one
                exec(compile(text, "README.md", "exec"), session)
        for words in commands(text) if language == "bash" else ():
            assert words[0] == "samplesmith"
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as end:
                cli.main()
            assert not end.value.code, f"{shlex.join(words)}: {capfd.readouterr().err}"
    for file in ("cats/best.png", "judged/contact_sheet.png", "few/best_0007.png", "calibration/calibration.json"):
        assert (tmp_path / "outputs" / file).is_file()
