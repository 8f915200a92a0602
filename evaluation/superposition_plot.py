"""The picture of a superposition: how the prompts were weighed on the way, and how likely each found the sample."""

from __future__ import annotations

from pathlib import Path

from ..pipelines.superposition.result import SuperpositionResult
from .figures import new_figure, save_figure

COLOURS = ("#0b6e99", "#c2571a", "#4f7f2a", "#7a3e8e", "#8a6d00", "#a02040")


def plot_superposition(result: SuperpositionResult, file: str | Path) -> None:
    """Draw kappa and the log-densities against the time, a thin line per image and their mean as a thick one.

    Args:
        result: of `superpose`.
        file: to write, in a format that matplotlib knows by its ending.

    Raises:
        ValueError: where matplotlib is missing, or does not know the format.
    """
    times = result.traces["times"].numpy()
    densities = result.traces["log_densities"][:, :, -len(result.prompts) :]
    panels = {
        "weight of the score (kappa)": result.kappa.numpy(),
        "log-density beside the prompts' mean, nats": (densities - densities.mean(2, keepdim=True)).numpy(),
    }
    figure = new_figure(9, 3.8)
    for axes, (label, values) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for k, prompt in enumerate(result.prompts):
            colour = COLOURS[k % len(COLOURS)]
            axes.plot(times, values[:, :, k], color=colour, lw=0.6, alpha=0.45)
            axes.plot(times, values[:, :, k].mean(1), color=colour, lw=2, label=str(prompt))
        axes.axhline(0, color="gray", lw=0.6)
        axes.set(xlim=(1, 0), xlabel="time, 1 is noise and 0 data", ylabel=label)
    figure.axes[0].legend(frameon=False, fontsize=8)
    operator = result.operator if isinstance(result.operator, str) else f"weights {result.operator}"
    count = len(result.images)
    figure.suptitle(f"{operator}, {count} image{'s' if count > 1 else ''}", fontsize=10)
    save_figure(figure, file)
