"""How errors are told."""

import sys
import tempfile
from pathlib import Path

import samplesmith
from samplesmith.app.page.studio import told


def test_errors_are_told_in_one_sentence():
    assert told(ValueError("bad thing\nwith a trace")) == "bad thing"
    assert told(RuntimeError("boom\nmore")) == "this run failed: RuntimeError: boom"
    assert told(ZeroDivisionError()) == "this run failed: ZeroDivisionError"


def test_no_folder_of_the_server_is_told():
    for folder in (tempfile.gettempdir(), sys.prefix, Path(samplesmith.__file__).parent):
        sentence = told(OSError(f"cannot read {folder}/models/a b/weights.bin: gone"))
        assert str(folder) not in sentence
        assert sentence.startswith("cannot read ")
    assert told(ValueError("no model '/etc/passwd' here")) == "no model '/etc/passwd' here"
