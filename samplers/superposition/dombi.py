"""AND, OR and NOT of densities by Dombi's operators, nested: one recursion over a formula.

With hardness L, from densities p_i:

    OR   p = (sum_i p_i^L)^(1/L)       S = sum_i a_i s_i,  a = softmax(+L log p_i)
    AND  p = (sum_i p_i^-L)^(-1/L)     S = sum_i a_i s_i,  a = softmax(-L log p_i)
    NOT  p = c^2 / q                   S = 2 s_c - s_q,    c the reference, such as the unconditional density

L = 1 is the mixture and the harmonic mean, L towards infinity the maximum and the minimum. All are of degree 1: what
all log-densities have in common stays a common summand, so differences are all that is needed. Source: the logic
calculus of Aalto-QuML/logic-diffusion-composition (ICLR 2026). SuperDiff's OR (arXiv 2412.17762) is L = 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .combination import Combination, columns, combined
from .formula import And, Formula, Not, Or, Prompt
from .scores import Scores


def evaluated(
    formula: Formula, leaves: Mapping[str, Combination], reference: Combination | None, scores: Scores, hardness: float
) -> Combination:
    """The density of a formula with its score and Feynman-Kac rate.

    Args:
        formula: over prompts.
        leaves: the density of each prompt.
        reference: c; None where the formula says no NOT.
        scores: of the rows.
        hardness: L, positive.

    Raises:
        ValueError: for NOT without a reference, or a prompt that is no leaf.
    """
    match formula:
        case Prompt(text):
            if text not in leaves:
                raise ValueError(f"{text!r} is in the formula, but no row of it is given")
            return leaves[text]
        case Not(part):
            if reference is None:
                raise ValueError("NOT is relative to a reference, which is not given; add the unconditional row")
            inner = evaluated(part, leaves, reference, scores, hardness)
            factors = columns((2, -1), inner.rate)
            density = 2 * reference.log_density - inner.log_density
            return combined(scores, [reference, inner], factors, density)
        case And(parts) | Or(parts):
            inner_parts = [evaluated(part, leaves, reference, scores, hardness) for part in parts]
            power = hardness if isinstance(formula, Or) else -hardness
            logits = power * torch.stack([part.log_density for part in inner_parts], 1)
            return combined(scores, inner_parts, logits.softmax(1), logits.logsumexp(1) / power, curvature=power)
    raise ValueError(f"{formula!r} is no formula")
