"""Steering: noise search's machinery with strategies that choose from step to step, by its own name.

Rollover budget forcing (Kim et al., arXiv 2503.19385) and its rivals under one budget, one ledger and one form of
records. Seam: windows (`PausedRows`), which batch candidates, resume, and take a judge. `SteeredScheduler` runs the
same strategies within one call of a pipeline, without records.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...samplers.strategies import Need, Strategy, make_strategy
from ...verifiers import Verifier
from ..quick_previews import FULL, QuickPreview
from .calibration import Calibration
from .noise_search import NoiseSearch


def steer(
    pipe: Any,
    verifier: Verifier,
    strategy: str | Strategy = "rbf",
    judge: Verifier | None = None,
    calibration: Calibration | str | Path | None = None,
    preview: str | QuickPreview = FULL,
) -> NoiseSearch:
    """A search that chooses from step to step: `steer(pipe, verifier)("a cat", budget=500, num_inference_steps=10)`.

    The result holds every node that was evaluated, with parent, step, noise key and score; `result.path(k)` leads to
    one of them, and each on it can be made again (`Candidate.scored_again`).

    Args:
        pipe: with a scheduler whose steps draw noise, such as `FlowSDEScheduler`, where the strategy chooses among
            those.
        verifier: scores clean predictions on the way, and the finished images.
        strategy: a name, with settings or without, such as "rbf:warm_up=8"; or a `Strategy`.
        judge: of finished images, as for `NoiseSearch`.
        calibration, preview: as for `NoiseSearch`.

    Raises:
        ValueError: for a strategy that makes whole runs only, and for what `NoiseSearch` refuses.
    """
    made = make_strategy(strategy)
    check_steers(made)
    return NoiseSearch(pipe, verifier, made, judge, calibration, preview)


def check_steers(strategy: Strategy) -> None:
    """Refuse a strategy that makes whole runs only.

    Raises:
        ValueError: with its name.
    """
    if Need.PAUSES not in strategy.needs:
        raise ValueError(
            f"{strategy.name} makes whole runs and steers none; use NoiseSearch, or a strategy such as rbf"
        )
