"""All that depends on how diffusers names or passes things; a test watches each entry.

What shows in a scheduler's values or signatures is read there; names are used only where nothing else tells.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Literal

from diffusers import UNet3DConditionModel
from diffusers.hooks._helpers import TransformerBlockRegistry
from diffusers.utils.torch_utils import unwrap_module
from torch import Tensor

ONLY_WHERE_THE_CHILD_HAS_THEM = ("add_noise", "scale_noise")
"""Methods by whose presence pipelines and users tell schedulers apart, so that we have them where the child does."""

SHARED_BY_ROWS = frozenset({"img_ids", "txt_ids"})
"""Arguments of denoisers that hold positions and no rows (FLUX), however many of either there are."""


def whole_config(scheduler: Any) -> dict[str, Any]:
    """A scheduler's config for `from_config` of another class, with all that was set.

    `from_config` leaves out what is noted as the class's own default, so that another class takes its own. Positional
    arguments and values that were registered after construction stand in that note too, and would be lost.
    """
    config = dict(scheduler.config)
    parameters = inspect.signature(type(scheduler).__init__).parameters
    noted = config.get("_use_default_values", ())
    config["_use_default_values"] = [
        name for name in noted if name in parameters and parameters[name].default == config.get(name)
    ]
    return config


def takes_one_time(scheduler: Any) -> bool:
    """Whether a step takes one time and one sample; CogVideoX's DPM-Solver and few-step ones do not."""
    parameters = list(inspect.signature(type(scheduler).step).parameters.values())[1:]
    needed = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    return needed == ["model_output", "timestep", "sample"] and "r_timestep" not in {one.name for one in parameters}


def takes_generator(scheduler: Any) -> bool:
    """Whether a step takes the generator of its noise; without it, it would draw from the global one."""
    return "generator" in inspect.signature(type(scheduler).step).parameters


def place_step(scheduler: Any, index: int) -> None:
    """Tell a scheduler that counts its steps where its run begins, so that it need not search its list of times.

    Not by `set_begin_index`, with which `add_noise` would no longer look at the times that it is given.
    """
    if getattr(scheduler, "_step_index", 0) is None:
        scheduler._step_index = index


def stand_at(scheduler: Any, index: int) -> None:
    """Let a scheduler that counts its steps stand at one, wherever it stood."""
    if hasattr(scheduler, "_step_index"):
        scheduler._step_index = index


def count_step(scheduler: Any, index: int) -> None:
    """Tell a scheduler that counts its steps that one was made in its place."""
    if hasattr(scheduler, "_step_index"):
        scheduler._step_index = index + 1


def scales_input(scheduler: Any) -> bool:
    """Whether the steps of a solver of order 1 are wrong where `scale_model_input` is not called before each."""
    return hasattr(scheduler, "is_scale_input_called")


def check_noise_by_row(scheduler: Any) -> None:
    """Whether a scheduler's noise belongs to rows: not where a Brownian tree is drawn of the whole batch.

    Raises:
        ValueError: where it does not.
    """
    if getattr(scheduler, "noise_sampler", None) is not None:
        raise ValueError(f"{type(scheduler).__name__} draws the noise of a whole batch, so no row can go on alone")


def steps_frames_as_rows(pipe: Any) -> bool:
    """Whether a pipeline hands each frame of its clips to the scheduler as a row: those with UNets of three dimensions.

    Nothing in the pipeline's signature or in its scheduler tells; the reshaping stands in its loop.
    """
    return any(isinstance(one, UNet3DConditionModel) for one in pipe.components.values())


def is_linear_flow(scheduler: Any) -> bool:
    """Whether its samples are (1 - sigma) x_0 + sigma eps, its model predicts eps - x_0, and its times are sigmas.

    Flow-matching schedulers noise by `scale_noise` and have no betas; multistep solvers (Sana, Wan) say that they
    predict a flow on flow sigmas.
    """
    if hasattr(scheduler, "alphas_cumprod"):
        return predicts_flow(scheduler.config)
    return _is_flow(scheduler) and not grows_without_bound(scheduler)


def predicts_flow(config: Mapping[str, Any]) -> bool:
    """Whether the config of a solver that has betas turns it into one of linear flows."""
    return config.get("prediction_type") == "flow_prediction" and bool(config.get("use_flow_sigmas"))


def grows_without_bound(scheduler: Any) -> bool:
    """Whether it is a flow-matching scheduler on another path, x_0 + sigma eps: Cosmos 2 registers sigmas up to 80."""
    return _is_flow(scheduler) and (scheduler.config.get("sigma_max") or 0.0) > 1


def _is_flow(scheduler: Any) -> bool:
    known = hasattr(scheduler, "scale_noise") and "num_train_timesteps" in scheduler.config
    return known and not hasattr(scheduler, "alphas_cumprod") and takes_one_time(scheduler)


def exceeds_one(scheduler: Any) -> bool:
    """Whether the run under way has sigmas that no linear path has, as a pipeline may have passed them.

    Some shifts (1.9765 for one) round the first sigma of diffusers to a little more than 1.
    """
    sigmas = getattr(scheduler, "sigmas", None)
    return isinstance(sigmas, Tensor) and sigmas.numel() > 0 and float(sigmas.max()) > 1 + 1e-5


def keeps_variance(scheduler: Any) -> bool:
    """Whether a solver with a list of sigmas keeps the sample's variance: those in log-SNR (DPM-Solver, UniPC, DEIS).

    The others, where `scale_model_input` is called, let it grow: x_0 + sigma eps.
    """
    return hasattr(scheduler, "lambda_t")


def repeats_times(scheduler: Any) -> bool:
    """Whether a solver of order 1 calls the model twice at a time: PNDM, at its second."""
    return hasattr(scheduler, "cur_model_output")


def calls_between_sigmas(scheduler: Any) -> bool:
    """Whether every second model call is between two sigmas: KDPM2 and its ancestral form."""
    return hasattr(scheduler, "sigmas_interpol")


def step_target(scheduler: Any, index: int, times: list[float]) -> tuple[str, int] | None:
    """Table and entry from which a step reads the noise level that it leads to; None where that is not known.

    Args:
        scheduler: whose timesteps are set.
        index: of the step.
        times: of its run.
    """
    if isinstance(getattr(scheduler, "sigmas", None), Tensor):
        return "sigmas", index + 1
    aims_between = "eta" in inspect.signature(type(scheduler).step).parameters  # TCD, before it adds noise
    if hasattr(scheduler, "previous_timestep"):  # DDPM, LCM
        return None if aims_between else ("alphas_cumprod", int(times[index + 1]))
    if hasattr(scheduler, "cur_model_output"):  # PNDM, whose second call aims at the first one's target again
        return "alphas_cumprod", int(times[index + 1])
    if hasattr(scheduler, "final_alpha_cumprod"):  # DDIM
        stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
        return "alphas_cumprod", int(times[index]) - stride
    return None


Layout = Literal["uncond-first", "cond-first", "separate"]
"""How a pipeline calls its denoiser for classifier-free guidance: once with both halves, or once for each."""

NO_ROWS = frozenset({"image_rotary_emb", "rotary_emb", "img_ids", "txt_ids", "ip_adapter_masks", "skip_layers"})
"""Arguments of denoisers that are positions, masks or lists of layers: none of their dimensions are rows."""

ROWS_SECOND = frozenset({"encoder_hidden_states_llama3"})
"""Arguments whose first dimension is that of the text encoder's layers, and the second that of the rows (HiDream)."""

ROWS_AND_FRAMES = frozenset({"encoder_hidden_states"})
"""Arguments that may be repeated for each frame of a clip (AnimateDiff): a multiple of the rows, in their order."""

_HALVES = re.compile(r"(\w+),\s*(\w+)\s*=\s*(?:\w+\.chunk\(2\b|torch\.split\(\s*\w+,\s*len\(\w+\)\s*//\s*2)")
_OTHERWISE = re.compile(r"chunk\(3\b|// 3\b|perturbed_attention|sag_scale")
_APART = re.compile(r"cache_context\(\s*\"uncond\"|(?:neg_noise_pred|\w*uncond\w*)\s*=\s*self\.(?:transformer|unet)\(")


def guidance_layout(pipe: Any) -> Layout | None:
    """How a pipeline's own loop takes the two predictions apart, by its source; None where that does not tell.

    Neither shapes nor values of a call tell which half is conditional. The loop names the halves that it chunks, or
    calls the model for each. Other guidance (perturbed or self-attention, InstructPix2Pix's three parts) is None.
    """
    try:
        source = inspect.getsource(type(pipe).__call__)
    except (OSError, TypeError):
        return None
    if _OTHERWISE.search(source):
        return None
    if _APART.search(source):
        return "separate"
    for first, second in _HALVES.findall(source):
        if ("uncond" in first) != ("uncond" in second):
            return "uncond-first" if "uncond" in first else "cond-first"
    return None


def says_it_guides(pipe: Any) -> bool | None:
    """Whether the call under way is guided, where a pipeline says so; None where it keeps that to itself."""
    answer = getattr(pipe, "do_classifier_free_guidance", None)
    return answer if isinstance(answer, bool) else None


def own_guidance_scale(pipe: Any) -> float | None:
    """The scale of classifier-free guidance of the call under way; None where the pipeline does not show it.

    Beside `true_cfg_scale` (FLUX, Qwen-Image), `guidance_scale` is what a distilled model is told, and no CFG.
    """
    if "true_cfg_scale" in inspect.signature(type(pipe).__call__).parameters:
        return None
    scale = getattr(pipe, "guidance_scale", None)
    return float(scale) if isinstance(scale, (int, float)) else None


def returns_residuals(names: list[str]) -> bool:
    """Whether a network is a ControlNet, by what its `forward` takes: it gets the picture that controls."""
    return "controlnet_cond" in names


def skipped_block(block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a transformer block returns if it changes nothing: hidden states, and the text's in its own order.

    diffusers' `apply_layer_skip` returns the two in one order for every block, and FLUX's and SD3's have the other.

    Raises:
        ValueError: for a block that diffusers does not know.
    """
    block = unwrap_module(block)
    try:
        form = TransformerBlockRegistry.get(type(block))
    except ValueError:
        raise ValueError(f"what {type(block).__name__} returns is not known, so it cannot be skipped") from None
    hidden = form._get_parameter_from_args_kwargs("hidden_states", args, kwargs)
    if form.return_encoder_hidden_states_index is None:
        return hidden
    text = form._get_parameter_from_args_kwargs("encoder_hidden_states", args, kwargs)
    return (text, hidden) if form.return_encoder_hidden_states_index == 0 else (hidden, text)


def pooled_condition(arguments: Mapping[str, Any]) -> Tensor | None:
    """One vector for each row that says what a denoiser is told of the text: (rows, width).

    The pooled embedding where there is one (SD3 and FLUX; SDXL among `added_cond_kwargs`), else the mean of the
    tokens'. None where the condition is no text.
    """
    added = arguments.get("added_cond_kwargs") or {}
    for pooled in (arguments.get("pooled_projections"), added.get("text_embeds")):
        if isinstance(pooled, Tensor):
            return pooled
    tokens = arguments.get("encoder_hidden_states")
    return tokens.mean(1) if isinstance(tokens, Tensor) and tokens.ndim == 3 else None
