"""Implicit distribution alignment (SenseFlow, arXiv 2506.00523): the fake score follows the student's weights.

After each update of the student, phi <- keep phi + (1 - keep) theta. The fake score then lags less, and fewer updates
of its own are needed; it takes a student of the fake score's form.
"""

from __future__ import annotations

import torch
from torch import nn


def check(fake: nn.Module, student: nn.Module) -> None:
    """Refuse networks of two forms.

    Raises:
        ValueError: where their parameters differ in name or shape.
    """
    forms = [{name: value.shape for name, value in net.named_parameters()} for net in (fake, student)]
    if forms[0] != forms[1]:
        raise ValueError(
            "alignment moves the fake score's weights towards the student's, and theirs have two forms: leave it out, "
            "or let the fake score begin from the student"
        )


@torch.no_grad()
def align(fake: nn.Module, student: nn.Module, keep: float) -> None:
    """Move the fake score's weights by 1 - keep of the way to the student's, in place.

    Args:
        fake, student: of one form.
        keep: in [0, 1]; 0.97 is usual.
    """
    torch._foreach_lerp_(list(fake.parameters()), list(student.parameters()), 1 - keep)
