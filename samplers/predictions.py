"""What a model predicts at x_t = alpha x_0 + sigma eps, and how each prediction becomes any other.

| kind | what it is |
|---|---|
| "epsilon" | eps |
| "sample" | x_0 |
| "v_prediction" | (alpha eps - sigma x_0) / sqrt(alpha^2 + sigma^2) (Salimans and Ho, arXiv 2202.00512, section 4) |
| "velocity", "flow_prediction" | alpha' x_0 + sigma' eps, the path's time derivative; eps - x_0 on the linear path |
| "score" | the gradient of log p_t, -eps / sigma |

Each is a linear map of the pair (x_0, eps), and so is x_t: two equations for two unknowns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .interpolants import Interpolant, expand

KINDS = ("epsilon", "sample", "v_prediction", "velocity", "flow_prediction", "score")


@dataclass(frozen=True)
class Prediction:
    """A model's output, read as the clean sample and the noise.

    Attributes:
        x0: predicted clean sample.
        eps: predicted noise; x_t = alpha x0 + sigma eps.
    """

    x0: Tensor
    eps: Tensor

    @classmethod
    def read(cls, kind: str, output: Tensor, sample: Tensor, path: Interpolant, t: Tensor) -> Prediction:
        """Solve for (x0, eps).

        Args:
            kind: of the output, one of `KINDS`.
            output: the model's, (batch, ...); computed in float32.
            sample: x_t, of that shape.
            path: that the sample stands on.
            t: time on the path, a scalar or (batch,), inside of its open range where the kind divides by alpha
                ("epsilon", "score") or sigma ("sample").

        Raises:
            ValueError: for an unknown kind.
        """
        output, sample = (x if x.dtype == torch.float64 else x.float() for x in (output, sample))
        alpha, sigma = expand(path.alpha(t), sample), expand(path.sigma(t), sample)
        match kind:
            case "epsilon":
                return cls((sample - sigma * output) / alpha, output)
            case "score":
                eps = -sigma * output
                return cls((sample - sigma * eps) / alpha, eps)
            case "sample":
                return cls(output, (sample - alpha * output) / sigma)
            case "v_prediction":
                norm = (alpha * alpha + sigma * sigma).sqrt()
                unit = sample / norm
                return cls((alpha * unit - sigma * output) / norm, (sigma * unit + alpha * output) / norm)
            case "velocity" | "flow_prediction":
                alpha_dot, sigma_dot = expand(path.alpha_dot(t), sample), expand(path.sigma_dot(t), sample)
                det = alpha * sigma_dot - sigma * alpha_dot
                return cls((sigma_dot * sample - sigma * output) / det, (alpha * output - alpha_dot * sample) / det)
        raise ValueError(f"unknown prediction {kind!r}; known: {', '.join(KINDS)}")

    def write(self, kind: str, path: Interpolant, t: Tensor) -> Tensor:
        """The prediction as another kind.

        Raises:
            ValueError: for an unknown kind.
        """
        match kind:
            case "epsilon":
                return self.eps
            case "sample":
                return self.x0
            case "score":
                return -self.eps / expand(path.sigma(t), self.eps)
            case "v_prediction":
                alpha, sigma = expand(path.alpha(t), self.eps), expand(path.sigma(t), self.x0)
                return (alpha * self.eps - sigma * self.x0) / (alpha * alpha + sigma * sigma).sqrt()
            case "velocity" | "flow_prediction":
                return expand(path.alpha_dot(t), self.x0) * self.x0 + expand(path.sigma_dot(t), self.eps) * self.eps
        raise ValueError(f"unknown prediction {kind!r}; known: {', '.join(KINDS)}")


def convert(output: Tensor, source: str, target: str, sample: Tensor, path: Interpolant, t: Tensor) -> Tensor:
    """A model's output of one kind as another, at the same sample and time."""
    return Prediction.read(source, output, sample, path, t).write(target, path, t)
