"""The hook that rewrites the two predictions of classifier-free guidance by the rule of each step.

Seam: diffusers' `HookRegistry`, on each denoiser of an unmodified pipeline. Batched halves come in one call: the hook
evaluates only those that the rule needs, and returns both. Where the model is called in turn, the conditional call
comes first; what it needs is remembered, and the unconditional one is made only where the rule needs it. Calls that are
no guidance (skip-layer guidance's third, of half the rows; a step outside of the pipeline's own guidance) pass.

Where the pipeline itself looks at c' beside combining (`guidance_rescale`, the norm of Qwen-Image, skip-layer
guidance's term), it sees the rewritten one: a rule with s other than 0 and 1 shifts there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import SchedulerMixin
from diffusers.hooks import HookRegistry
from diffusers.hooks.hooks import BaseState, StateManager
from torch import Tensor, nn

from .. import compat
from .denoiser_hook import Attached, DenoiserHook, attach
from .guidance_rules import Asked, Rule
from .loop_position import LoopClock, LoopPosition
from .network_call import NetworkCall, prediction_of, with_prediction
from .networks import argument_names, timed_networks

LAYOUTS = ("uncond-first", "cond-first", "separate")


class GuidanceHook(DenoiserHook):
    """Evaluates and rewrites the halves of guided calls.

    Args:
        pipe: the pipeline, whose scheduler and guidance are read.
        rule: what a step at a position predicts.
        layout: how the pipeline calls the network.
        guidance_scale: the pipeline's w, where it does not show it.
    """

    _is_stateful = True  # only then is a hook told the names of calls

    def __init__(
        self,
        pipe: Any,
        rule: Callable[[LoopPosition], Rule],
        layout: compat.Layout,
        guidance_scale: float | None = None,
    ):
        super().__init__()
        self.calls = StateManager(BaseState)
        self.applied: AppliedGuidance | None = None
        self._pipe, self._rule, self._layout, self._told_scale = pipe, rule, layout, guidance_scale
        self._clock = LoopClock(pipe)
        self._guided_rows: int | None = None
        self._turn: _Turn | None = None

    def reset_state(self, module: nn.Module) -> nn.Module:
        self.calls.reset()
        self._turn = None
        return module

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        call = NetworkCall.of(module, args, kwargs)
        if not isinstance(call.sample, Tensor):
            return self._forward(call)
        if self._clock.begins_run():
            self._guided_rows = self._turn = None
        context = self.calls._context
        name = None if context is None else context.name
        if self._layout == "separate":
            return self._in_turn(call, name)
        return self._batched(call) if self._is_batched(call) else self._forward(call)

    def _forward(self, call: NetworkCall) -> Any:
        return self.fn_ref.original_forward(*call.args, **call.kwargs)

    def _asked(self, conditional: NetworkCall) -> Asked:
        return Asked(conditional, self._forward, self._guidance_scale)

    def _guidance_scale(self) -> float:
        own = compat.own_guidance_scale(self._pipe)
        if own is None and self._told_scale is None:
            raise ValueError(
                f"{type(self._pipe).__name__} does not show its guidance scale, which this rule needs; give it as "
                "guidance_scale="
            )
        return own if own is not None else float(self._told_scale or 0)

    def _is_batched(self, call: NetworkCall) -> bool:
        """Whether a call holds both halves; where the pipeline does not say it, its first call of the run shows it."""
        says = compat.says_it_guides(self._pipe)
        if says is False or call.rows % 2:
            return False
        if self._guided_rows is None:
            self._guided_rows = call.rows if says or call.halves_differ() else 0
        return call.rows == self._guided_rows

    def _batched(self, call: NetworkCall) -> Any:
        rule = self._rule(self._clock.read(call.timestep))
        self._clock.count()
        second = self._layout == "uncond-first"
        conditional, half = call.half(second), call.rows // 2
        if rule.needs_conditional and rule.needs_unconditional:
            output = self._forward(call)
            if (both := prediction_of(output)) is None:
                return output
            u, c = both.split(half) if second else both.split(half)[::-1]
            c, memory = rule.conditional(c, self._asked(conditional))
            return with_prediction(output, self._pair(rule.unconditional(u, memory), c))
        output = self._forward(conditional if rule.needs_conditional else call.half(not second))
        if (prediction := prediction_of(output)) is None:
            raise ValueError(f"{type(call.module).__name__} returned no prediction, so its halves cannot be rewritten")
        if rule.needs_conditional:
            prediction, memory = rule.conditional(prediction, self._asked(conditional))
            u = rule.unconditional(None, memory)
        else:
            u = prediction
        return with_prediction(output, self._pair(u, prediction), lambda one: _twice(one, half))

    def _pair(self, unconditional: Tensor, conditional: Tensor) -> Tensor:
        first = self._layout == "uncond-first"
        return torch.cat([unconditional, conditional] if first else [conditional, unconditional])

    def _in_turn(self, call: NetworkCall, name: str | None) -> Any:
        if name not in (None, "cond", "uncond") or compat.says_it_guides(self._pipe) is False:
            return self._forward(call)
        position = self._clock.read(call.timestep)
        turn = self._turn
        if name == "uncond" or (name is None and turn is not None and turn.position == position):
            self._turn = None
            self._clock.count()
            return self._unconditional(call, turn)
        if turn is not None and compat.says_it_guides(self._pipe) is None:
            raise ValueError(
                f"{type(self._pipe).__name__} made no unconditional call in the step before: its guidance is off; turn "
                "it on (a negative prompt, and true_cfg_scale above 1), or take the hook off"
            )
        rule = self._rule(position)
        output = self._forward(call)
        if (prediction := prediction_of(output)) is None:
            return output
        rewritten, memory = rule.conditional(prediction, self._asked(call))
        output = with_prediction(output, rewritten)
        self._turn = _Turn(position, rule, memory, output)
        return output

    def _unconditional(self, call: NetworkCall, turn: _Turn | None) -> Any:
        if turn is None:
            raise ValueError(
                f"{type(self._pipe).__name__} makes its unconditional call first; guidance rules need the conditional "
                "prediction before it"
            )
        output = self._forward(call) if turn.rule.needs_unconditional else turn.output
        prediction = prediction_of(output) if turn.rule.needs_unconditional else None
        return with_prediction(output, turn.rule.unconditional(prediction, turn.memory))


class _Turn:
    """A conditional call that waits for its unconditional one."""

    def __init__(self, position: LoopPosition, rule: Rule, memory: Any, output: Any):
        self.position, self.rule, self.memory, self.output = position, rule, memory, output


def _twice(tensor: Tensor, rows: int) -> Tensor:
    return torch.cat([tensor, tensor]) if tensor.ndim and len(tensor) == rows else tensor


class AppliedGuidance:
    """What `apply_weak_to_strong` and `apply_zigzag` return; `remove()` takes the hooks off."""

    def __init__(self, method: str, attached: list[Attached], undo: Callable[[], None] | None = None):
        self.method = method
        self._attached, self._undo = attached, undo

    def remove(self) -> None:
        """Take the hooks off: each network's own `forward` is back. A second time does nothing."""
        for one in self._attached:
            one.remove()
        if self._undo is not None:
            self._undo()
        self._attached, self._undo = [], None


def apply_rules(
    pipe: Any,
    method: str,
    rule: Callable[[LoopPosition], Rule],
    rules: list[Rule],
    layout: str | None,
    guidance_scale: float | None,
    undo: Callable[[], None] | None = None,
) -> AppliedGuidance:
    """Put the hook on each denoiser of a pipeline.

    Args:
        pipe: a diffusers pipeline with one scheduler.
        method: the name by which it is removed.
        rule: of a position.
        rules: all that may come, to be checked now.
        layout: in place of what the pipeline's own loop shows (`compat.guidance_layout`).
        guidance_scale: the pipeline's w, for those that do not show it.
        undo: called once, after the hooks were taken off.

    Raises:
        ValueError: for an unknown layout, a pipeline whose layout is not known, one of several stages, one that has
            such a hook already, and a weak predictor that does not fit.
    """
    name = type(pipe).__name__
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    stages = [key for key, one in getattr(pipe, "components", {}).items() if isinstance(one, SchedulerMixin)]
    if stages != ["scheduler"]:
        raise ValueError(f"{name} has {len(stages)} schedulers; give a pipeline of one stage, with one scheduler")
    found: Any = layout or compat.guidance_layout(pipe)
    if found is None:
        raise ValueError(
            f"{name} combines its predictions in a way that is not known; if it guides by two, give layout= as one of "
            f"{', '.join(LAYOUTS)}"
        )
    if applied_hooks(pipe):
        raise ValueError(f"{name} has a guidance hook already; remove it first")
    networks = [one for one in timed_networks(pipe) if not compat.returns_residuals(argument_names(one))]
    if not networks:
        raise ValueError(f"{name} has no network that takes a sample and a time")
    for network in networks:
        for weak in [weak for one in rules for weak in one.weak_predictors()]:
            weak.check(network)
    hooks = [attach(network, GuidanceHook(pipe, rule, found, guidance_scale)) for network in networks]
    applied = AppliedGuidance(method, hooks, undo)
    for network in networks:
        for hook in _own_hooks(network):
            hook.applied = applied
    return applied


def applied_hooks(pipe: Any) -> list[AppliedGuidance]:
    """What was applied to a pipeline's denoisers and not removed."""
    found = [hook.applied for one in timed_networks(pipe) for hook in _own_hooks(one)]
    return list({id(one): one for one in found if one is not None}.values())


def remove_method(pipe: Any, method: str) -> None:
    """Remove what was applied under a name; without any, nothing happens."""
    for one in applied_hooks(pipe):
        if one.method == method:
            one.remove()


def _own_hooks(network: nn.Module) -> list[GuidanceHook]:
    registry = HookRegistry.check_if_exists_or_initialize(network)
    return [hook for hook in registry.hooks.values() if isinstance(hook, GuidanceHook)]
