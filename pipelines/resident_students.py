"""Students on disk, loaded when they are needed, of which only so many stay in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn


class ResidentStudents:
    """K networks, the last used of which are in memory.

    Args:
        load: the network of a number, on the CPU.
        count: K.
        max_resident: how many may be in memory at once; None: all.
        device_map: where each belongs, by number; None: where the pipeline is.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(
        self,
        load: Callable[[int], nn.Module],
        count: int,
        max_resident: int | None = None,
        device_map: Mapping[int, str | torch.device] | None = None,
    ):
        if count < 1:
            raise ValueError("there is no student; give at least one")
        if max_resident is not None and max_resident < 1:
            raise ValueError(f"max_resident is {max_resident}; give at least 1, or None for all")
        if unknown := sorted(set(device_map or ()) - set(range(count))):
            raise ValueError(f"device_map names student {unknown[0]}; there are students 0 to {count - 1}")
        self._load, self.count = load, count
        self.max_resident = max_resident
        self.device_map = {number: torch.device(device) for number, device in (device_map or {}).items()}
        self._resident: OrderedDict[int, nn.Module] = OrderedDict()

    @property
    def resident(self) -> list[int]:
        """Numbers of the students in memory, the last used at the end."""
        return list(self._resident)

    def get(self, number: int, release: Callable[[], None] = lambda: None) -> nn.Module:
        """A student, loaded where it is not in memory; others go first where there is no room.

        Args:
            number: from 0.
            release: called before others go: whoever holds them lets go.
        """
        if number not in self._resident:
            release()
            while self.max_resident is not None and len(self._resident) >= self.max_resident:
                self._resident.popitem(last=False)
            self._resident[number] = self._load(number)
        self._resident.move_to_end(number)
        return self._resident[number]


def students_in(folder: Path, count: int, model: type[Any], dtype: torch.dtype) -> Callable[[int], nn.Module]:
    """A loader of the students in a folder, `students/0` and on.

    Args:
        folder: of the pipeline.
        count: K.
        model: their class.
        dtype: of their weights.

    Raises:
        ValueError: for a folder that lacks one of them.
    """
    for number in range(count):
        if not (folder / "students" / str(number)).is_dir():
            raise ValueError(f"{folder} lacks the folder students/{number} of its {count} students; fetch it anew")

    def load(number: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # random weights that are then replaced
            return model.from_pretrained(folder / "students" / str(number), dtype=dtype)

    return load


def in_memory(students: Sequence[nn.Module]) -> Callable[[int], nn.Module]:
    """A loader of students that are at hand."""
    return lambda number: students[number]
