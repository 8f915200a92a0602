"""Arms of steering_scaling.py: which settings are tried, how some of them are chosen, and what a search says of one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from samplesmith.evaluation.comparison import bootstrap_mean
from search_arms import Row, difference

TRANSITIONS = {
    "Euler-Maruyama": "flow-sde:diffusion=square,norm=3",
    "DDPM": "flow-sde:integrator=ddpm",
    "PRECISE": "flow-sde:integrator=precise",
    "CPS": "flow-sde:integrator=cps:eta=0.7",
    "GLASS": "flow-sde:integrator=glass:inner_steps=2",
}
"""By name, as `--scheduler` takes them."""
MODEL_CALLS = {"GLASS": 2}
"""Per step, of transitions that make several: their runs have so many fewer steps."""
ODE = "none"
"""In place of a transition's name: the pipeline's own scheduler."""

SETTINGS: dict[str, tuple[str, ...]] = {
    "svdd": ("svdd:first_scored=1", "svdd", "svdd:temperature=0.01"),
    "code": ("code:block=2", "code:block=4"),
    "smc": ("smc:tilt=30", "smc:tilt=100", "smc:tilt=100,potential=max"),
    "rbf": ("rbf:first_scored=1", "rbf:warm_up=8", "rbf:warm_up=8,accept=calibrated"),
    "threshold": ("threshold:share=0.5", "threshold:share=0.8", "threshold:share=0.9"),
    "sop": ("sop", "sop:back=3,on=6"),
    "tree": ("tree:branches=3", "tree:branches=3,rule=sample"),
}
"""Tried for each strategy; what is left out, such as the first scored step, a calibration of the transition says."""
PROBES = ("rbf:first_scored=1,warm_up=8", "smc:tilt=100,first_scored=1")
"""By whose mean a transition, its number of steps and a guide are chosen."""


@dataclass(frozen=True)
class Setup:
    """What a search is run with.

    Attributes:
        strategy: with its settings.
        transition: a name in `TRANSITIONS`, or `ODE`.
        calls: model calls of a path.
        guide: name of the verifier that chooses.
    """

    strategy: str
    transition: str
    calls: int
    guide: str

    @property
    def scheduler(self) -> str | None:
        """As `set_up` takes it."""
        return TRANSITIONS.get(self.transition)

    @property
    def steps(self) -> int:
        """Of the pipeline's call."""
        return self.calls // MODEL_CALLS.get(self.transition, 1)

    @property
    def kind(self) -> str:
        """Name of the strategy."""
        return self.strategy.split(":")[0]


@dataclass(frozen=True)
class SteeredRow(Row):
    """A search that was run, not read from a pool: its nodes are counted as `candidates`.

    Attributes:
        setup: of it.
        decodes, verifier_calls: per prompt.
    """

    setup: Setup
    decodes: float
    verifier_calls: float

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"setup": asdict(self.setup)}

    @property
    def success(self) -> float:
        return float(self.values["success"].mean())


def row_of(
    result: Any, setup: Setup, budget: int, prompts: np.ndarray, judge: str, arm: str | None = None
) -> SteeredRow:
    """The row of a search.

    Args:
        result: of the search, with a judge.
        setup: that it was run with.
        budget: NFEs per prompt.
        prompts: numbers of its prompts among all.
        judge: name of its score.
        arm: the row's name; the strategy's when left out.
    """
    ledger, count = result.ledger, len(prompts)
    values = {
        "score": np.array([best.score for best in result.best]),
        "success": np.array([best.scores[judge] for best in result.best], float),
    }
    return SteeredRow(
        arm=arm or setup.kind,
        steps=setup.steps,
        budget=budget,
        candidates=len(result.evaluated) / count,
        nfe=ledger.nfe / count,
        seconds=ledger.seconds / count,
        prompts=prompts,
        values=values,
        setup=setup,
        decodes=ledger.decodes / count,
        verifier_calls=ledger.verifier_calls / count,
    )


def best_by_success(rows: Mapping[Any, Sequence[SteeredRow]]) -> Any:
    """The choice whose rows the judge finds right most often, on average; of equals the one with the higher score."""

    def worth(choice: Any) -> tuple[float, float]:
        means = [[row.values[name].mean() for row in rows[choice]] for name in ("success", "score")]
        return float(np.mean(means[0])), float(np.mean(means[1]))

    return max(rows, key=worth)


def best_rival(rows: Iterable[Row], arm: str, budget: int, prompts: np.ndarray, measure: str) -> Row | None:
    """The row of a rival at a budget with the number of steps of the highest guided score; None without one."""
    fitting = [row for row in rows if (row.arm, row.budget) == (arm, budget) and row.nfe <= budget]
    return max(fitting, key=lambda row: row.values[measure][prompts].mean(), default=None)


def against(
    rows: Sequence[SteeredRow], rivals: Sequence[Row], names: Sequence[str], measure: str
) -> list[dict[str, Any]]:
    """Paired differences of each row from each rival at its best number of steps.

    Args:
        rows: steered, by the guide of this measure.
        rivals: from pools of all prompts.
        names: of the rivals' arms.
        measure: of the guide, in the rivals' values.
    """
    found = []
    for row in rows:
        for name in names:
            rival = best_rival(rivals, name, row.budget, row.prompts, measure)
            if rival is None:
                continue
            aligned = replace(rival, values={**rival.values, "score": rival.values[measure]})
            found.append(
                {
                    "arm": row.arm,
                    "budget": row.budget,
                    "prompts": len(row.prompts),
                    "against": name,
                    "rival steps": rival.steps,
                    "score": difference(row, aligned, "score"),
                    "success": difference(row, aligned, "success"),
                }
            )
    return found


def summary(row: Row, measure: str = "score") -> dict[str, Any]:
    """What is kept of a row on which something was chosen."""
    return {
        "arm": row.arm,
        "setup": asdict(row.setup) if isinstance(row, SteeredRow) else None,
        "budget": row.budget,
        "nfe": row.nfe,
        "seconds": row.seconds,
        "score": asdict(bootstrap_mean(row.values[measure])),
        "success": asdict(bootstrap_mean(row.values["success"])),
    }
