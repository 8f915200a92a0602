"""FLUX.1 and the pipelines around its transformer: latents packed into tokens, a flow whose shift goes by size."""

import diffusers

from .parts import PROMPT, SMALL, Recipe, autoencoder, clip_text, mask, picture, stirred, t5_text, tokenizer

_TRANSFORMER = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "axes_dims_rope": (4, 4, 8),
}


def flux(cls=diffusers.FluxPipeline, changes=None, **extra):
    transformer = diffusers.FluxTransformer2DModel(**{**_TRANSFORMER, **(changes or {})})
    return cls(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=autoencoder(4),
        text_encoder=clip_text(),
        tokenizer=tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=tokenizer(),
        transformer=transformer.eval(),
        **extra,
    )


def _controlnet():
    return stirred(diffusers.FluxControlNetModel(**_TRANSFORMER))


_CALL = {**SMALL, "max_sequence_length": 8}
_FROM_PICTURE = {**_CALL, "image": picture(), "num_inference_steps": 4, "strength": 0.8}

TOYS = {
    "FluxPipeline": Recipe(flux, PROMPT, _CALL),
    "FluxPipeline, true CFG": Recipe(flux, PROMPT, {**_CALL, "true_cfg_scale": 2.0, "negative_prompt": "dog"}),
    "FluxControlPipeline": Recipe(
        lambda: flux(diffusers.FluxControlPipeline, {"in_channels": 32, "out_channels": 16}),
        PROMPT,
        {**_CALL, "control_image": picture()},
    ),
    "FluxControlNetPipeline": Recipe(
        lambda: flux(diffusers.FluxControlNetPipeline, controlnet=_controlnet()),
        PROMPT,
        {**_CALL, "control_image": picture()},
    ),
    "FluxKontextPipeline": Recipe(
        lambda: flux(diffusers.FluxKontextPipeline),
        PROMPT,
        {**_CALL, "image": picture(), "max_area": 32 * 32, "_auto_resize": False},
    ),
    "FluxFillPipeline": Recipe(
        lambda: flux(diffusers.FluxFillPipeline, {"in_channels": 48, "out_channels": 16}),
        PROMPT,
        {**_CALL, "image": picture(), "mask_image": mask()},
    ),
    "FluxImg2ImgPipeline": Recipe(lambda: flux(diffusers.FluxImg2ImgPipeline), PROMPT, _FROM_PICTURE),
    "FluxInpaintPipeline": Recipe(
        lambda: flux(diffusers.FluxInpaintPipeline), PROMPT, {**_FROM_PICTURE, "mask_image": mask()}
    ),
}
