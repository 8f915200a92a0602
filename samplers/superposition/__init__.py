"""Superposition: one sample under the scores of N prompts or models, and how likely each of them finds it.

What a step needs of N scores of any shape is small: their inner products (`scores.py`). From these, an operator
(`operators.py`, or a formula's, `dombi.py`) chooses the weights of the scores, an estimator (`densities.py`) tells how
each log-density changes, and Feynman-Kac weights (`resampling.py`) correct what the weighted score leaves out. The
numbers of the steps are in `steps.py`; `run.py` joins all of it. Reference: Skreta et al., arXiv 2412.17762.
"""

from .densities import ESTIMATORS, DensityEstimator
from .formula import And, Formula, Not, Or, Prompt
from .operators import OPERATORS, Operator
from .parser import parse_formula
from .resampling import Resampling
from .run import SuperposedRun
from .steps import INTEGRATORS, Step, steps_along
from .trace import Trace

__all__ = [
    "ESTIMATORS",
    "INTEGRATORS",
    "OPERATORS",
    "And",
    "DensityEstimator",
    "Formula",
    "Not",
    "Operator",
    "Or",
    "Prompt",
    "Resampling",
    "Step",
    "SuperposedRun",
    "Trace",
    "parse_formula",
    "steps_along",
]
