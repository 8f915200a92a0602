"""Weak-to-strong guidance on unmodified pipelines: CoRe²'s refine phase, guidance on an interval, SGG.

CoRe² (Shao et al., arXiv 2503.09662): a weak prediction r stands for the guided one, g. In *slow* steps the prediction
is r + s (g - r), beyond g along what r does not know; in *fast* ones it is r, and only the conditional half is
evaluated: half of the NFEs. Without a weak prediction, r = c, that is guidance on an interval of steps (limited
interval, arXiv
2404.07724; Step AG, arXiv 2506.08351), which needs no training. SGG (arXiv 2603.20584) guides early, and late leads
away from the same network with layers skipped.

Seam: a hook in diffusers' own registry (`guidance_hook.py`). Cost per row: slow steps 2 NFEs, fast ones 1; SGG 2 in
all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .guidance_hook import AppliedGuidance, apply_rules, remove_method
from .guidance_rules import PipelineGuidance, Rule, WeakToStrong
from .loop_position import LoopPosition
from .weak_predictors import SkippedLayers, Weak, as_weak

METHOD = "weak-to-strong"


@dataclass(frozen=True)
class WeakToStrongConfig:
    """
    What each step of a run predicts.

    With p the guided prediction within [strong_from, strong_until) and the conditional one elsewhere, a step predicts
    r + s (p - r).

    Args:
        weak: r; a weak predictor, or a model as `FromPrediction` takes it. None is the conditional prediction.
        scale: s within the interval; 1 is the pipeline's own guidance, above 1 goes beyond it. The paper takes 1.5.
        strong_from: where the interval begins, a share of the scheduler's list of times, in [0, 1].
        strong_until: where it ends.
        rest_scale: s outside of it: 0 is r (fast), 1 the conditional prediction, 1 + w the conditional one led away
            from r by w.
        guidance_scale: w of the pipeline, for r; needed where the pipeline does not show it (`true_cfg_scale` of FLUX
            and Qwen-Image, DiT, PixArt).
        layout: how the pipeline calls its denoiser: "uncond-first" or "cond-first" halves of a batch, or "separate".
            Read from the pipeline's own loop where it is None.

    Raises:
        ValueError: for shares that are no interval within [0, 1], or a negative scale.
    """

    weak: Weak | Callable[..., Any] | None = None
    scale: float = 1.5
    strong_from: float = 0.0
    strong_until: float = 0.3
    rest_scale: float = 0.0
    guidance_scale: float | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strong_from <= self.strong_until <= 1:
            raise ValueError(
                f"strong_from is {self.strong_from:g} and strong_until {self.strong_until:g}; give "
                "0 <= strong_from <= strong_until <= 1, shares of the steps"
            )
        if self.scale < 0 or self.rest_scale < 0:
            raise ValueError(f"scale is {self.scale:g} and rest_scale {self.rest_scale:g}; give at least 0")

    @classmethod
    def interval(cls, start: float = 0.0, stop: float = 0.5, layout: str | None = None) -> WeakToStrongConfig:
        """The pipeline's guidance within [start, stop), the conditional prediction alone elsewhere.

        Raises:
            ValueError: as the class.
        """
        return cls(scale=1.0, strong_from=start, strong_until=stop, layout=layout)

    @classmethod
    def segmented(
        cls, layers: Sequence[int], scale: float = 3.0, until: float = 0.5, layout: str | None = None
    ) -> WeakToStrongConfig:
        """SGG: the pipeline's guidance before `until`, then c + scale (c - r), where r skips layers.

        Raises:
            ValueError: as the class, and for no layers.
        """
        weak = SkippedLayers(layers)
        return cls(weak, scale=1.0, strong_until=until, rest_scale=1 + scale, layout=layout)

    def rules(self) -> tuple[Rule, Rule]:
        """Within the interval, and outside of it."""
        weak = None if self.weak is None else as_weak(self.weak)
        strong = PipelineGuidance() if self.scale == 1 else WeakToStrong(weak, self.scale, of_guided=True)
        return strong, WeakToStrong(weak, self.rest_scale, of_guided=False)


def apply_weak_to_strong(pipe: Any, config: WeakToStrongConfig | None = None) -> AppliedGuidance:
    """
    Let a pipeline's guidance follow the rules of weak-to-strong guidance, until it is removed.

    The pipeline is called as ever, with its guidance on. A call without guidance passes as it is where the pipeline
    says that it does not guide, and is refused in its second step where it does not say so.

    Args:
        pipe: a diffusers pipeline that guides by two predictions.
        config: the default is guidance on the first 30 % of the steps, with s = 1.5.

    Returns:
        an object whose `remove()` takes the hooks off.

    Raises:
        ValueError: for a pipeline whose layout is not known, which has several schedulers, or on which such a hook is;
            and for a weak prediction that does not fit its denoiser.
    """
    config = config or WeakToStrongConfig()
    strong, rest = config.rules()

    def rule(position: LoopPosition) -> Rule:
        return strong if position.is_within(config.strong_from, config.strong_until) else rest

    return apply_rules(pipe, METHOD, rule, [strong, rest], config.layout, config.guidance_scale)


def remove_weak_to_strong(pipe: Any) -> None:
    """Take weak-to-strong guidance off a pipeline; without any, nothing happens."""
    remove_method(pipe, METHOD)
