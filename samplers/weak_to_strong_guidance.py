"""WeakToStrongGuidance: CoRe²'s refine phase as a guider of Modular Diffusers.

The same rules as `hooks/weak_to_strong.py`, without a pipeline to read: a guider says itself which predictions a step
needs, and combines them. In steps outside of the interval it asks for the conditional one alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from diffusers.configuration_utils import register_to_config
from diffusers.guiders.guider_utils import BaseGuidance, GuiderOutput
from torch import Tensor, nn

from .hooks.denoiser_hook import Attached, DenoiserHook, attach
from .hooks.guidance_rules import Asked, PipelineGuidance, Rule, guided
from .hooks.loop_position import LoopPosition
from .hooks.network_call import NetworkCall, prediction_of, with_prediction
from .hooks.weak_predictors import Weak
from .hooks.weak_to_strong import WeakToStrongConfig


class WeakToStrongGuidance(BaseGuidance):
    """
    Weak-to-strong guidance (CoRe², arXiv 2503.09662), guidance on an interval, and SGG (arXiv 2603.20584).

    `pipe.update_components(guider=WeakToStrongGuidance(guidance_scale=4.5, strong_until=0.5))`.

    Args:
        guidance_scale (`float`, defaults to 7.5): w of the guided prediction; at 1 nothing is guided.
        scale (`float`, defaults to 1.5): s within the interval, see `WeakToStrongConfig`.
        strong_from (`float`, defaults to 0.0): where the interval begins, a share of the steps.
        strong_until (`float`, defaults to 0.3): where it ends.
        rest_scale (`float`, defaults to 0.0): s outside of it, of the conditional prediction.
        enabled (`bool`, defaults to True): whether anything is guided.
        weak (*optional*): the weak prediction; no part of the config, so it is given again after loading.

    Raises:
        ValueError: as `WeakToStrongConfig`.
    """

    _input_predictions: ClassVar[list[str]] = ["pred_cond", "pred_uncond"]
    ignore_for_config: ClassVar[list[str]] = ["weak"]

    @register_to_config
    def __init__(
        self,
        guidance_scale: float = 7.5,
        scale: float = 1.5,
        strong_from: float = 0.0,
        strong_until: float = 0.3,
        rest_scale: float = 0.0,
        enabled: bool = True,
        weak: Weak | Callable[..., Any] | None = None,
    ):
        super().__init__(0.0, 1.0, enabled)
        self.guidance_scale, self.weak = guidance_scale, weak
        self._settings = WeakToStrongConfig(weak, scale, strong_from, strong_until, rest_scale)
        self._strong, self._rest = self._settings.rules()
        self._memory: Any = None
        self._hook: Attached | None = None

    def new(self, **kwargs: Any) -> WeakToStrongGuidance:
        """A copy with some settings changed; the weak prediction is kept."""
        settings = {name: self.config[name] for name in inspect.signature(type(self)).parameters if name in self.config}
        return type(self)(**{**settings, "weak": self.weak, **kwargs})

    @property
    def rule(self) -> Rule:
        """Of the step under way."""
        if not self._enabled or self.guidance_scale == 1:
            return PipelineGuidance()
        if self._num_inference_steps is None:
            return self._strong
        position = LoopPosition(self._step, self._num_inference_steps)
        inside = position.is_within(self._settings.strong_from, self._settings.strong_until)
        return self._strong if inside else self._rest

    @property
    def num_conditions(self) -> int:
        """Predictions that the step needs: 2, or the conditional one alone."""
        return 1 + int(self._enabled and self.guidance_scale != 1 and self.rule.needs_unconditional)

    @property
    def is_conditional(self) -> bool:
        """Whether the model call under way is the conditional one, which comes first."""
        return self._count_prepared == 1

    def prepare_models(self, denoiser: nn.Module) -> None:
        """Watch the conditional call, from which the weak prediction is made."""
        super().prepare_models(denoiser)
        if not self.is_conditional:
            return
        rule, self._memory = self.rule, None
        for weak in rule.weak_predictors():
            weak.check(denoiser)
        self._hook = attach(denoiser, _ConditionalCall(rule, self._keep, lambda: float(self.guidance_scale)))

    def cleanup_models(self, denoiser: nn.Module) -> None:
        """Take the hook off."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def prepare_inputs(self, data: dict[str, Any]) -> list[Any]:
        """The inputs of the conditional call and, where the step needs it, of the unconditional one."""
        names = self._input_predictions[: self.num_conditions]
        return [self._prepare_batch(data, index, name) for index, name in enumerate(names)]

    def prepare_inputs_from_block_state(self, data: Any, input_fields: dict[str, Any]) -> list[Any]:
        """As `prepare_inputs`, by the fields of a block's state."""
        names = self._input_predictions[: self.num_conditions]
        return [
            self._prepare_batch_from_block_state(input_fields, data, index, name) for index, name in enumerate(names)
        ]

    def forward(self, pred_cond: Tensor, pred_uncond: Tensor | None = None) -> GuiderOutput:
        """The prediction of a step, (rows, ...); `pred_cond` as the rule rewrote it."""
        prediction = pred_cond
        if pred_uncond is not None:
            prediction = guided(self.rule.unconditional(pred_uncond, self._memory), pred_cond, self.guidance_scale)
        return GuiderOutput(pred=prediction, pred_cond=pred_cond, pred_uncond=pred_uncond)

    def _keep(self, memory: Any) -> None:
        self._memory = memory


class _ConditionalCall(DenoiserHook):
    """Rewrites the conditional prediction by a rule."""

    def __init__(self, rule: Rule, keep: Callable[[Any], None], guidance_scale: Callable[[], float]):
        super().__init__()
        self._rule, self._keep, self._guidance_scale = rule, keep, guidance_scale

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        call = NetworkCall.of(module, args, kwargs)
        output = self._forward(call)
        prediction = prediction_of(output)
        if prediction is None:
            return output
        rewritten, memory = self._rule.conditional(prediction, Asked(call, self._forward, self._guidance_scale))
        self._keep(memory)
        return with_prediction(output, rewritten)

    def _forward(self, call: NetworkCall) -> Any:
        return self.fn_ref.original_forward(*call.args, **call.kwargs)
