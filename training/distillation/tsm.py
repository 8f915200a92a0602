"""Teacher score matching (Song et al., arXiv 2410.23274, section 3.3): a student of another form learns the teacher.

    L = E w_t |f_student(x_t, t, y) - f_teacher(x_t, t, y)|^2,  x_t noised data of the student's subset

The teacher's prediction may be a guided one: the student then says in one call what guidance needs two for (Meng et
al., arXiv 2210.03142, section 3.1). The minimum over all functions is the teacher; a small student comes as near as it
can.
"""

from __future__ import annotations

from torch import Tensor


def loss(student: Tensor, teacher: Tensor, weights: Tensor | None = None) -> Tensor:
    """The weighted mean square error, a tensor of one number.

    Args:
        student, teacher: outputs of one kind at the same x_t, (batch, ...); the teacher's without gradient.
        weights: w_t, (batch,); None: 1.
    """
    errors = (student - teacher.detach()).square().flatten(1).mean(1)
    return errors.mean() if weights is None else (weights * errors).mean()
