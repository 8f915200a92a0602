import pytest
import torch
from samplesmith.training.checkpoints import FolderError, WrongRunError, read_checkpoint, write_checkpoint

DESCRIPTION = {"recipe": "flow", "learning rates": [0.1], "classes": (0, 2)}
STATE = {"weight": torch.arange(3.0), "step": 4, "own": [{"used": 2}]}


def test_a_checkpoint_comes_back(tmp_path):
    """With its nesting; whoever was stopped while it was written left the one before."""
    file = tmp_path / "checkpoint.pt"
    assert read_checkpoint(file, DESCRIPTION) is None
    write_checkpoint(file, DESCRIPTION, STATE)
    file.with_suffix(".part").write_bytes(b"torn")
    state = read_checkpoint(file, DESCRIPTION)
    assert torch.equal(state.pop("weight"), STATE["weight"])
    assert state == {"step": 4, "own": [{"used": 2}]}
    write_checkpoint(file, DESCRIPTION, {"step": 5})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert read_checkpoint(file, DESCRIPTION) == {"step": 5}


def test_another_run_is_refused_by_each_difference(tmp_path):
    file = tmp_path / "checkpoint.pt"
    write_checkpoint(file, DESCRIPTION, STATE)
    other = {**DESCRIPTION, "learning rates": [0.2], "classes": (0,)}
    said = (
        r"checkpoint.pt belongs to another run: classes was \[0, 2\], now \[0\]; learning rates\[0\] was 0.1, now 0.2. "
    )
    with pytest.raises(WrongRunError, match=said + "Give the settings of that run to go on with it, or another folder"):
        read_checkpoint(file, other)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    file = tmp_path / "checkpoint.pt"
    file.write_text("no zip")
    with pytest.raises(FolderError, match=r"checkpoint.pt cannot be read as a checkpoint \(.+\); move it away"):
        read_checkpoint(file, DESCRIPTION)
    torch.save({"modules": {}}, file)
    with pytest.raises(FolderError, match="is no checkpoint of this training loop; move it away, or name another"):
        read_checkpoint(file, DESCRIPTION)
    torch.save({"description": "{}", "state": torch.nn.Linear}, file)  # what would run code is not read
    with pytest.raises(FolderError, match="cannot be read as a checkpoint"):
        read_checkpoint(file, DESCRIPTION)
