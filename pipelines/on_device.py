"""A pipeline by name, on the device where it is to run. Libraries are imported when they are needed."""

from __future__ import annotations

import os
from typing import Any

from ..foreign_errors import in_one_sentence


def default_device() -> str:
    """The GPU where there is one, else the CPU; of several processes that torchrun started, each its own GPU."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    local_rank = os.environ.get("LOCAL_RANK")
    return "cuda" if local_rank is None else f"cuda:{int(local_rank) % torch.cuda.device_count()}"


def check_device(device: str | None, offload: bool = False) -> None:
    """Refuse a device that is not there, before anything is loaded.

    Raises:
        ValueError: with the reason.
    """
    import torch

    if offload and not torch.accelerator.is_available():
        raise ValueError("offload moves parts to a GPU, and there is none here; leave it out")
    if device is None:
        return
    with in_one_sentence(f"device is {device!r}, which cannot be used here"):
        torch.empty(1, device=device).cpu()
    if offload and torch.device(device).type == "cpu":
        raise ValueError(f"offload moves parts to a GPU, and device is {device!r}; leave one of them out")


def load_on_device(model: str, dtype: str = "float32", device: str | None = None, offload: bool = False) -> Any:
    """Load a pipeline and move it, without bars on the way.

    Args:
        model: as `load` takes it.
        dtype: of all components.
        device: None for a GPU where there is one.
        offload: keep the parts on the CPU and move each to the GPU when it is used.

    Raises:
        ValueError: where it cannot be loaded or moved, in one sentence.
    """
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from . import loading

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    check_device(device, offload)
    pipe = loading.load(model, dtype)
    with in_one_sentence(f"the model {model} cannot be moved"):
        if offload:
            pipe.enable_model_cpu_offload(device=device or (default_device() if torch.cuda.is_available() else None))
        else:
            pipe.to(device or default_device())
    pipe.set_progress_bar_config(disable=True)
    return pipe
