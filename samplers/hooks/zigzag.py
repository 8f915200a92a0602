"""Z-Sampling, W2SD and Z-CoRe² on unmodified pipelines: the guidance of each leg.

Z-Sampling (Bai et al., arXiv 2412.10891) steps with the pipeline's guidance w1, inverts the step with a weak one, w2,
and steps again. W2SD (arXiv 2502.00473) does the same with any strong and any weak model: here, any two rules. Z-CoRe²
(arXiv 2503.09662) inverts and steps again by CoRe²'s weak prediction, from the conditional half alone.

Cost per row and step, in NFEs (a guided step is 2): Z-Sampling 5 with w2 = 0 or 1 in batched pipelines (inversion by
one half), else 6; Z-CoRe² 4. To first order w1 + rounds (w1 - w2) is the guidance of it all, so compare it with plain
guidance at that scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..zigzag import Leg, ZigzagScheduler
from .guidance_hook import AppliedGuidance, apply_rules, remove_method
from .guidance_rules import GuidanceAt, PipelineGuidance, Rule, WeakToStrong
from .loop_position import LoopPosition
from .weak_predictors import Weak, as_weak

METHOD = "zigzag"


@dataclass(frozen=True)
class ZigzagConfig:
    """
    What each leg predicts, and which steps have three.

    Args:
        zig: of the step; the pipeline's own guidance by default.
        zag: of its inversion; guidance at scale 0, the unconditional prediction, by default.
        again: of the step made again; as `zig` where it is None.
        rounds: how often a step is inverted and made again.
        until: share of the steps, from the first, that zigzag, in [0, 1]; the last step never does.
        guidance_scale: w1, where the pipeline does not show it and `zag` needs it.
        layout: as in `WeakToStrongConfig`.
    """

    zig: Rule = field(default_factory=PipelineGuidance)
    zag: Rule = field(default_factory=lambda: GuidanceAt(0.0))
    again: Rule | None = None
    rounds: int = 1
    until: float = 1.0
    guidance_scale: float | None = None
    layout: str | None = None

    @classmethod
    def core(cls, weak: Weak | Callable[..., Any], inversion_scale: float = 1.0, **settings: Any) -> ZigzagConfig:
        """Z-CoRe²: the inversion and the second step by a weak prediction r.

        r is asked for the guidance `inversion_scale` in the inversion and for the pipeline's own in the second step:
        with one and the same r in both they would cancel, and leave a single guided step.

        Args:
            weak: r, that depends on the guidance scale.
            inversion_scale: w2.
            settings: others of this class.
        """
        predictor = as_weak(weak)
        inversion: Rule = GuidanceAt(1.0)  # r at scale 1 is the conditional prediction
        if inversion_scale != 1:
            inversion = WeakToStrong(predictor, 0.0, of_guided=False, told_scale=inversion_scale)
        return cls(zag=inversion, again=WeakToStrong(predictor, 0.0, of_guided=False), **settings)

    def rule(self, leg: Leg) -> Rule:
        """Of a leg."""
        return {Leg.ZIG: self.zig, Leg.ZAG: self.zag, Leg.AGAIN: self.again or self.zig}[leg]


def apply_zigzag(pipe: Any, config: ZigzagConfig | None = None) -> AppliedGuidance:
    """
    Let a pipeline's steps go forward, back and forward again, until it is removed.

    The pipeline is called as ever, with its guidance on, and gets a `ZigzagScheduler` made from its own scheduler.
    `num_inference_steps` is the number of steps; callbacks see each leg.

    Args:
        pipe: a diffusers pipeline that guides by two predictions.
        config: the default is Z-Sampling with an inversion without guidance, in all steps but the last.

    Returns:
        an object whose `remove()` takes the hooks off, and puts the pipeline's own scheduler back.

    Raises:
        ValueError: as `apply_weak_to_strong`, and for a scheduler whose steps have no exact inversion (order 2 and
            above, unknown path); where that shows in its run alone (history, noise), in its `set_timesteps`.
    """
    config = config or ZigzagConfig()
    own = pipe.scheduler
    zigzag = ZigzagScheduler.from_scheduler(own, rounds=config.rounds, until=config.until)

    def rule(_: LoopPosition) -> Rule:
        return config.rule(getattr(pipe.scheduler, "leg", Leg.ZIG))

    rules = [config.rule(leg) for leg in Leg]
    applied = apply_rules(
        pipe, METHOD, rule, rules, config.layout, config.guidance_scale, lambda: setattr(pipe, "scheduler", own)
    )
    pipe.scheduler = zigzag
    return applied


def remove_zigzag(pipe: Any) -> None:
    """Take zigzag off a pipeline and put its scheduler back; without any, nothing happens."""
    remove_method(pipe, METHOD)
