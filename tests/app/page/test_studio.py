"""How errors are told."""

from samplesmith.app.page.studio import told


def test_errors_are_told_in_one_sentence():
    assert told(ValueError("bad thing\nwith a trace")) == "bad thing"
    assert told(RuntimeError("boom\nmore")) == "this run failed: RuntimeError: boom"
    assert told(ZeroDivisionError()) == "this run failed: ZeroDivisionError"
