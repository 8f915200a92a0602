"""The picture of a budget plan: success against the number of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .figures import new_figure, save_figure
from .planning import BudgetPlan

GUIDED, ORACLE = "#0b6e99", "#c2571a"


def plot_plan(plan: BudgetPlan, file: str | Path) -> None:
    """Draw the guided and the oracle's success with their 95 % intervals, the fitted laws and the target.

    Args:
        plan: of a search's records.
        file: to write, in a format that matplotlib knows by its ending.

    Raises:
        ValueError: where matplotlib is missing, or does not know the format.
    """
    ks = np.array([point.k for point in plan.points])
    needed = [samples.number for samples in (plan.guided, plan.oracle) if np.isfinite(samples.number)]
    beyond = np.geomspace(1, max(8 * plan.candidates, *(1.5 * number for number in needed), 1), 200)

    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for name, color, curve, law in (
        ("oracle", ORACLE, [point.oracle for point in plan.points], plan.oracle_law),
        (plan.guide, GUIDED, [point.guided for point in plan.points], plan.guided_law),
    ):
        low, high = [estimate.low for estimate in curve], [estimate.high for estimate in curve]
        axes.fill_between(ks, low, high, color=color, alpha=0.15, lw=0)
        axes.plot(ks, [estimate.mean for estimate in curve], "o", color=color, markersize=4, label=f"chosen by {name}")
        axes.plot(beyond, law(beyond), "--", color=color, lw=1.2)
    axes.plot([], [], "--", color="gray", lw=1.2, label="fitted power law")
    axes.axhline(plan.target, color="black", lw=0.8, ls=":", label=f"target {plan.target:.0%}")
    if np.isfinite(plan.enough.high):
        axes.axhline(plan.ceiling.mean, color=GUIDED, lw=0.8, ls="-.", label=f"ceiling {plan.ceiling.mean:.0%}")
    axes.axvline(plan.candidates, color="gray", lw=0.6)
    axes.annotate(
        "recorded",
        (plan.candidates, 0.01),
        xytext=(-3, 0),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8,
        color="gray",
    )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(xlabel="samples per prompt", ylabel=f"success by {plan.judge}", ylim=(0, 1.02))
    axes.set_title(f"{plan.prompts} prompts, {plan.nfe:.0f} NFEs per sample", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, file)
