import pytest
from samplesmith.training.run_log import RunLog


def test_entries_behind_a_step_and_torn_lines_are_cut(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    assert log.entries() == []
    log.cut(3)
    entries = [{"step": step, "loss": 1.0} for step in range(5)]
    for entry in entries:
        log.write(entry)
    with log.file.open("a") as stream:
        stream.write('{"step": 5, "lo')
    assert log.entries() == entries
    log.cut(3)
    assert log.file.read_text().count("\n") == 4
    log.write({"step": 4})
    assert log.entries() == [*entries[:4], {"step": 4}]
    log.cut(None)
    assert log.entries() == []


def test_what_is_no_number_is_no_entry(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.write({"step": 1, "loss": float("nan")})
    assert log.entries() == []
