"""The plain guidance scale that a guidance method amounts to: GA-Eval (arXiv 2602.22570).

Preference models like high scales as such, so a method that only raises the scale seems to win. Its rival is plain
guidance at the scale that the method's own steps project to, and not at the one that it was called with.
"""

from __future__ import annotations

from torch import Tensor


def effective_scale(prediction: Tensor, unconditional: Tensor, conditional: Tensor) -> Tensor:
    """<e* - u, c - u> / <c - u, c - u> of each row, (rows,).

    GA-Eval's projection in its signed form: a step that leads away from the prompt counts below zero. Plain guidance at
    w gives w. It is the same for predictions of noise, velocity and clean sample, which are affine in each other.

    Args:
        prediction: e*, what the method predicted, (rows, ...); of a method that moves samples, the prediction that
            would have made the move.
        unconditional, conditional: u and c of the plain denoiser at the same sample and time.
    """
    towards = (conditional - unconditional).flatten(1).double()
    moved = (prediction - unconditional).flatten(1).double()
    return (moved * towards).sum(1) / towards.square().sum(1)
