"""Training runs that stop at a checkpoint, for the tests of recipes."""

import samplesmith.training.loop
import torch


class StopError(Exception):
    pass


def stop_at(monkeypatch, images: int) -> None:
    """Let a run end right after its checkpoint at that many images is written."""
    write = samplesmith.training.loop.write_checkpoint

    def write_and_stop(file, description, state):
        write(file, description, state)
        if state["images"] == images:
            raise StopError

    monkeypatch.setattr(samplesmith.training.loop, "write_checkpoint", write_and_stop)


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    """Bit by bit."""
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
