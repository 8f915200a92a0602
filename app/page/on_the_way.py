"""A picture while it is being drawn: the clean prediction every few steps, until the first finished one has come.

Seams: the scheduler's `step`, which `record_previews` watches, and a hook before each model call. Cost: a decode of one
row for each picture, which no ledger counts; no NFE, and nothing of the run changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model_calls import before_calls

EVERY = 4
"""Model calls from one picture to the next."""


@dataclass(frozen=True)
class OnTheWay:
    """News of a run: a picture that is not finished.

    Attributes:
        file: of the picture.
        step: how many steps it has made.
    """

    file: Path
    step: int


@contextmanager
def shown_on_the_way(pipe: Any, folder: Path, report: Callable[[OnTheWay], None]) -> Iterator[Callable[[], None]]:
    """Report pictures of the pipeline's run while the context is open, or until what it yields is called.

    Where the scheduler's path is not known, or the latents cannot be decoded, there are none, and the run goes on.

    Args:
        pipe: that runs meanwhile.
        folder: for the pictures.
        report: is handed each.
    """
    with ExitStack() as stack:
        if _can_predict(pipe):
            _watch(stack, pipe, folder, report)
        yield stack.close


def _can_predict(pipe: Any) -> bool:
    from ...samplers.clean_prediction import known_path
    from ...samplers.wrapped import innermost

    try:
        known_path(innermost(pipe.scheduler))
    except (ValueError, AttributeError):
        return False
    return True


def _watch(stack: ExitStack, pipe: Any, folder: Path, report: Callable[[OnTheWay], None]) -> None:
    from ...pipelines.previews import record_previews

    previews = stack.enter_context(record_previews(pipe))
    calls = 0

    def look() -> None:
        nonlocal calls
        calls += 1
        if calls % EVERY or not previews.latents:
            return
        step = max(previews.latents)
        file = folder / f"on_the_way_{calls}.png"
        if save_decoded(pipe, previews.latents[step][:1], file):
            report(OnTheWay(file, step + 1))
        else:
            stack.close()

    stack.enter_context(before_calls(pipe, look))


def save_decoded(pipe: Any, latents: Any, file: Path) -> bool:
    """Write the picture of one row of latents; no ledger counts the decode.

    Args:
        pipe: whose latents they are.
        latents: (1, ...).
        file: for the picture.

    Returns:
        whether it could be made: some latents have a form that only the pipeline can decode.
    """
    from ...pipelines.counting import uncounted
    from ...pipelines.decoding import decode
    from .pictures import save_pictures

    try:
        with uncounted():
            image = decode(pipe, latents)[0]
    except (ValueError, RuntimeError, NotImplementedError):
        return False
    save_pictures([(image.permute(1, 2, 0) * 255).round().byte().cpu().numpy()], [file])
    return True
