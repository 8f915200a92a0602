"""One run of superposed groups, step by step, for samples of any shape and whatever calls the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .combination import Combination, columns, combined
from .densities import DensityEstimator, LogDensities
from .operators import Operator
from .resampling import Resampling, effective_size
from .scores import Scores
from .situation import Situation
from .steps import Step
from .trace import Trace


class SuperposedRun:
    """Takes the predictions of all rows at a model call, and leads each group's sample to the next.

    The rows of a group are [reference, prompt 1 ... prompt N], or the prompts alone. Nothing waits for a device: the
    numbers of the steps are Python's, and no tensor is asked for its value.

    Args:
        steps: of the run (`steps_along`).
        operator: chooses the weights.
        estimator: of the log-densities, of the *unguided* prompts along the path that is really taken.
        prompts: N.
        guidance_scale: w: the step is made with s_u + w (s - s_u), where s is the operator's score and u the reference.
        resampling: Feynman-Kac weights of the guided density; None for none.
        keep_trace: whether `trace` is filled.

    Attributes:
        densities: log-densities so far; None before the first step.
        log_weights: Feynman-Kac weights since the last resampling, (groups,); None without.
        trace: of the steps so far.

    Raises:
        ValueError: for an operator without a density of its own where its weights are asked for.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        operator: Operator,
        estimator: DensityEstimator,
        prompts: int,
        guidance_scale: float = 1.0,
        resampling: Resampling | None = None,
        keep_trace: bool = False,
    ):
        if resampling is not None and not operator.weighted:
            raise ValueError(
                "this AND holds densities equal and has none of its own that weights could correct; use a formula, "
                "'or', 'mean' or 'product' with correct='fkc'"
            )
        self.steps = list(steps)
        self.operator, self.estimator, self.prompts = operator, estimator, prompts
        self.guidance_scale = guidance_scale
        self.resampling = resampling
        self._total = 1 + guidance_scale * (operator.total - 1)
        self.trace = Trace() if keep_trace else None
        self.densities: LogDensities | None = None
        self.log_weights: Tensor | None = None

    def step(
        self,
        call: int,
        sample: Tensor,
        x0: Tensor,
        eps: Tensor,
        noise: Tensor | None,
        uniform: Tensor | None = None,
        clip: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Lead the samples over one step.

        Args:
            call: number of the model call in the run.
            sample: (groups, ...).
            x0, eps: predictions of the rows, (groups, rows, ...).
            noise: standard normal, of the sample's shape; None where the step adds none.
            uniform: from [0, 1), a scalar, for resampling; None without.
            clip: what is done to the clean prediction of the score that is used, before the step is made with it.

        Returns:
            the next samples and the clean predictions of the score that was used, (groups, ...) each.
        """
        step = self.steps[call]
        scores = Scores.measured(x0, eps, sample, noise, self.prompts, step)
        densities = self.densities or LogDensities.equal(scores)
        guided = self._guided(scores, densities, step)
        weights = scores.row_weights(guided.coordinates)
        if step.early and self._total != 1:  # where alpha is 0 there is no other step
            weights = weights / self._total
        clean, used = (torch.einsum("gr,gr...->g...", weights, value) for value in (x0, eps))
        if (excess := self._total - 1) and not step.early:
            clean = clean - excess * (step.clean_of_sample * sample)
        clean = clean if clip is None else clip(clean)
        following = step.clean * clean + step.noise * used
        if noise is not None:
            following = following + step.std * noise
        if self.trace is not None:
            self.trace.times.append(step.time)
            self.trace.weights.append(weights)
            self.trace.log_densities.append(densities.relative)
        if step.tracked:
            densities = densities.after(self.estimator.change(scores, guided.coordinates, step))
        self.densities = densities
        if self.resampling is not None:
            following, clean = self._resampled(following, clean, guided, step, uniform)
        return following, clean

    def _guided(self, scores: Scores, densities: LogDensities, step: Step) -> Combination:
        gain = 1.0 if step.early else self.estimator.gain(step)
        now = Situation(scores, densities.relative, step, gain, self.guidance_scale)
        own = self.operator.combine(now)
        reference = now.reference()
        if self.guidance_scale == 1 or reference is None:
            return own
        w = self.guidance_scale
        factors = columns((1 - w, w), own.rate)
        return combined(scores, [reference, own], factors, (1 - w) * reference.log_density + w * own.log_density)

    def _resampled(
        self, following: Tensor, clean: Tensor, guided: Combination, step: Step, uniform: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        resampling, densities = self.resampling, self.densities
        if resampling is None or densities is None:
            return following, clean
        if self.log_weights is None:
            self.log_weights = torch.zeros_like(guided.rate)
        if resampling.gathers(step) and uniform is not None:
            self.log_weights = resampling.gathered(self.log_weights, guided.rate, step)
            ancestors, self.log_weights = resampling.chosen(self.log_weights, uniform)
            following, clean, self.densities = following[ancestors], clean[ancestors], densities.taken(ancestors)
        if self.trace is not None:
            self.trace.effective_sizes.append(effective_size(self.log_weights))
        return following, clean
