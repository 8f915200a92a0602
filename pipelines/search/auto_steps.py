"""Steps "auto": a search with the numbers of steps and candidates that a calibration finds best for its budget."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import assets
from ...verifiers import Verifier
from .allocation import Allocation, best_allocation
from .calibration import Calibration

AUTO = "auto"


def allocate(
    calibration: Calibration | None, pipe: Any, verifier: Verifier, budget: int | None, arguments: Mapping[str, Any]
) -> Allocation | None:
    """Choose steps and candidates where `num_inference_steps` is "auto"; None where the caller has chosen.

    Args:
        calibration: of the pipeline and verifier.
        pipe: a diffusers pipeline.
        verifier: guides the search.
        budget: NFEs per prompt.
        arguments: of the pipeline's call.

    Raises:
        ValueError: without a calibration or a budget, for a calibration of another model, or a budget below one
            candidate.
    """
    steps = arguments.get("num_inference_steps")
    if not isinstance(steps, str):
        return None
    if steps != AUTO:
        raise ValueError(f"num_inference_steps is {steps!r}; give a whole number or {AUTO!r}")
    if calibration is None:
        raise ValueError(
            f"steps {AUTO!r} are read from a calibration of the model, and there is none; give one "
            "(`samplesmith calibrate` measures it), or a number of steps"
        )
    if budget is None:
        raise ValueError(f"steps {AUTO!r} divide a budget into steps and candidates; give a budget in NFEs")
    calibration.check(**names(pipe, verifier, arguments))
    return best_allocation(calibration, budget)


def names(pipe: Any, verifier: Verifier, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a calibration is of, for a call with these arguments."""
    default = inspect.signature(type(pipe).__call__).parameters.get("guidance_scale")
    guidance = arguments.get("guidance_scale", default.default if default else None)
    return {
        "pipeline": type(pipe).__name__,
        "scheduler": type(pipe.scheduler).__name__,
        "guidance_scale": None if guidance is None else float(guidance),
        "verifier": verifier.name,
    }


def shipped_calibration(model: str | Path, verifier: str | None = None) -> Path | None:
    """The calibration that a model's folder, or a shipped model, names in its `samplesmith.json`; None without one.

    Args:
        model: a shipped model's name, or a folder.
        verifier: the guide; for one that the model was not calibrated by, and for None, the first that it was.
    """
    folder = assets.path(str(model)) if str(model) in assets.names() else Path(model)
    files = assets.card_in(folder).get("calibrations", {})
    name = files.get(verifier) or next(iter(files.values()), None)
    return None if name is None else folder / name
