"""CoDe, blockwise control (Singh et al., arXiv 2502.00968): the best of several children, once per block of steps.

N continuations of B steps each go on from one sample; the one whose clean prediction has the highest reward is kept.
With B = 1 it is SVDD at temperature 0, with one block best-of-N. The paper's block is 5 steps.
"""

from __future__ import annotations

from .budget import Steps
from .rounds import Siblings
from .stepwise import between, check_at_least


class Code(Siblings):
    """The best of several continuations goes on, block by block.

    Args:
        block: steps from one choice to the next (B).
        children: continuations per block (N); None for as many as the budget pays alike in all blocks. What is over
            is spent on the last one.
        draws: initial noises that are carried to the first choice; 1 is the paper's.
        first_scored: the step of the first choice; None for the end of the first block.

    Raises:
        ValueError: for settings outside of their ranges.
    """

    name = "code"

    def __init__(self, block: int = 5, children: int | None = None, draws: int = 1, first_scored: int | None = None):
        check_at_least(1, block=block, children=children, draws=draws, first_scored=first_scored)
        self.block, self.children, self.draws, self.first_scored = block, children, draws, first_scored

    def default_first(self, num_steps: int) -> int:
        return min(self.block, num_steps)

    def plan(self, first: int, num_steps: int) -> list[Steps]:
        return between(range(first, num_steps, self.block))
