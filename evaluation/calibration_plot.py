"""The picture of a calibration: what a budget buys at each number of steps, and what previews say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..pipelines.search.calibration import Calibration
from .figures import new_figure, save_figure


def plot_calibration(calibration: Calibration, file: str | Path) -> None:
    """Draw the verifier's score and, with a judge, success against NFEs, and the previews' rank correlation.

    Args:
        calibration: of a model.
        file: to write, in a format that matplotlib knows by its ending.

    Raises:
        ValueError: where matplotlib is missing, or does not know the format.
    """
    panels = ["score"] + ["success"] * (calibration.judge is not None) + ["previews"] * bool(calibration.previews)
    figure = new_figure(4.6 * len(panels), 4)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if panel == "previews":
            _draw_previews(axes, calibration)
            continue
        for row in calibration.steps:
            nfes = [k * row.nfe for k in range(1, len(row.score) + 1)]
            axes.plot(nfes, getattr(row, panel), "o-", markersize=3, lw=1.2, label=f"{row.num_inference_steps} steps")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        label = f"score by {calibration.verifier}" if panel == "score" else f"success by {calibration.judge}"
        axes.set(xlabel="NFEs per prompt", ylabel=label)
        axes.set_title(f"best-of-k chosen by {calibration.verifier}, {calibration.prompts} prompts", fontsize=10)
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, file)


def _draw_previews(axes: Any, calibration: Calibration) -> None:
    for steps in sorted({row.num_inference_steps for row in calibration.previews}):
        points = [(row.step, row.rank_correlation) for row in calibration.previews if row.num_inference_steps == steps]
        axes.plot(*zip(*points, strict=True), "o-", markersize=3, lw=1.2, label=f"run of {steps} steps")
    axes.axhline(0, color="gray", lw=0.6)
    axes.set(xlabel="steps made", ylabel="rank correlation with the finished score", ylim=(-0.2, 1.05))
    axes.set_title("score of the clean prediction", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
