"""Where a pipeline by name runs."""

import pytest
import torch
from samplesmith.pipelines.on_device import default_device


@pytest.mark.parametrize(
    ("gpus", "local_rank", "device"),
    [(0, None, "cpu"), (0, "1", "cpu"), (1, None, "cuda"), (2, "1", "cuda:1"), (2, "3", "cuda:1")],
)
def test_each_process_has_a_gpu_of_its_own(monkeypatch, gpus, local_rank, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert default_device() == device
