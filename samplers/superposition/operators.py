"""Operators: how the scores of a group's prompts become one, from what is known of their densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .combination import Combination, columns, combined
from .dombi import evaluated
from .equal_densities import EqualDensities
from .formula import Formula, Or, Prompt
from .parser import parse_formula
from .situation import Situation


class Operator(Protocol):
    """Chooses the weights of the prompts' scores at one model call."""

    @property
    def needs_reference(self) -> bool:
        """Whether it uses the reference row, which stands before the prompts."""

    @property
    def weighted(self) -> bool:
        """Whether it has a density of its own, so that Feynman-Kac weights can correct the sampling of it."""

    @property
    def total(self) -> float:
        """What its weights add up to: 1 but for products."""

    def combine(self, now: Situation) -> Combination:
        """The combination of the prompts' scores, unguided."""


@dataclass(frozen=True)
class Fixed:
    """The same weights at all times: of the density prod_i q_i^w_i, so far as Feynman-Kac weights correct for it.

    Args:
        weights: one per prompt; 1 / N each is the mean of the scores, 1 each the product of the densities.
    """

    weights: tuple[float, ...]

    needs_reference = False
    weighted = True

    @property
    def total(self) -> float:
        return sum(self.weights)

    def combine(self, now: Situation) -> Combination:
        weights = columns(self.weights, now.relative[:, 0])
        return combined(now.scores, now.prompts(), weights, (weights * now.relative).sum(1))


@dataclass(frozen=True)
class Logic:
    """A formula's density by Dombi's operators (`dombi.py`).

    Args:
        formula: over the prompts.
        prompts: texts in the order of the rows.
        hardness: L, the temperature of SuperDiff's OR.
        biases: added to L times the prompts' log-densities: the logarithms of their shares of a mixture, at L = 1.
    """

    formula: Formula
    prompts: tuple[str, ...]
    hardness: float = 1.0
    biases: tuple[float, ...] | None = None

    weighted = True
    total = 1.0

    @property
    def needs_reference(self) -> bool:
        return self.formula.needs_reference

    def combine(self, now: Situation) -> Combination:
        biases = self.biases or (0.0,) * len(self.prompts)
        parts = now.prompts([bias / self.hardness for bias in biases])
        leaves = dict(zip(self.prompts, parts, strict=True))
        return evaluated(self.formula, leaves, now.reference(), now.scores, self.hardness)


def either(count: int, **settings: Any) -> Logic:
    """OR of all prompts."""
    names = tuple(str(k) for k in range(count))
    return Logic(Or.of(*map(Prompt, names)), names, **settings)


OPERATORS: Mapping[str, Callable[[int, Mapping[str, Any]], Operator]] = {
    "and": lambda count, given: EqualDensities(count, **_taken(given, "lift", "feedback", "kappa_range")),
    "and-paper": lambda count, given: EqualDensities(
        count, uses_noise=True, **_taken(given, "lift", "feedback", "kappa_range")
    ),
    "or": lambda count, given: either(count, **_taken(given, "hardness", "biases")),
    "mean": lambda count, given: Fixed((1 / count,) * count),
    "product": lambda count, given: Fixed((1.0,) * count),
}
"""Operators by name, each made of the number of prompts and the settings that it takes of those given."""


def _taken(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name) is not None}


def make_operator(what: str | Sequence[float], count: int, **settings: Any) -> Operator:
    """An operator by its name, by fixed weights, or by a formula's text.

    Args:
        what: a name in `OPERATORS`, one weight per prompt, or the text of a formula over `count` different prompts,
            whose rows stand in the order of their first appearance.
        count: number of prompts.
        settings: `hardness`, `biases`, `lift`, `feedback`, `kappa_range`; None is the operator's own default.

    Raises:
        ValueError: for an unknown operator, or settings that do not fit the number of prompts.
    """
    for name in ("biases", "lift"):
        if (values := settings.get(name)) is not None:
            settings[name] = values = tuple(map(float, values))
            if len(values) != count:
                raise ValueError(f"{name} has {len(values)} values for {count} prompts; give one for each")
    hardness = settings.get("hardness")
    if hardness is not None and not hardness > 0:
        raise ValueError(f"the temperature is {hardness}; give more than 0, such as 1 for the exact mixture")
    if not isinstance(what, str):
        if len(what) != count:
            raise ValueError(f"{len(what)} weights for {count} prompts; give one for each")
        return Fixed(tuple(map(float, what)))
    if what in OPERATORS:
        return OPERATORS[what](count, settings)
    if not set("\"'") & set(what):
        raise ValueError(
            f"unknown operator {what!r}; known: {', '.join(OPERATORS)}, one weight per prompt, or a formula such as "
            '\'"a cat" & ~"on blue"\''
        )
    formula = parse_formula(what)
    prompts = formula.prompts()
    if len(prompts) != count:
        raise ValueError(f"the formula {what} is over {len(prompts)} prompts, and there are rows of {count}")
    return Logic(formula, tuple(prompts), **_taken(settings, "hardness", "biases"))
