"""A checkpoint on disk: written in one move, read without running code, and refused where it is another run's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..foreign_errors import reason_of
from ..pipelines.search.run_description import differences

PARTS = frozenset({"description", "state"})


class FolderError(ValueError):
    """A folder holds what a run cannot go on from; the message says what, and what to do."""


class WrongRunError(FolderError):
    """A folder holds the checkpoint of a run with other settings; the message names each difference."""


def write_checkpoint(file: Path, description: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write in one move: whoever is stopped here leaves the old checkpoint or the new one.

    Args:
        file: the checkpoint; its folder exists.
        description: of the run, JSON; `read_checkpoint` compares it.
        state: tensors, numbers, texts, and mappings and lists of them.
    """
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        torch.save({"description": json.dumps(description), "state": dict(state)}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, file)


def read_checkpoint(file: Path, description: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of a run with this description, on the CPU; None where there is no checkpoint yet.

    Raises:
        WrongRunError: where the descriptions differ, naming how.
        FolderError: where the file is no checkpoint of a training loop.
    """
    if not file.exists():
        return None
    try:
        saved = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # pickle, zip and torch each raise their own
        raise FolderError(f"{file} cannot be read as a checkpoint ({reason_of(error)}); {_ADVICE}") from error
    if not isinstance(saved, dict) or set(saved) != PARTS:
        raise FolderError(f"{file} is no checkpoint of this training loop; {_ADVICE}")
    if changes := differences(json.loads(saved["description"]), json.loads(json.dumps(description))):
        raise WrongRunError(
            f"{file} belongs to another run: {'; '.join(changes)}. Give the settings of that run to go on with it, "
            "or another folder for a new one"
        )
    return saved["state"]


_ADVICE = "move it away, or name another folder"
