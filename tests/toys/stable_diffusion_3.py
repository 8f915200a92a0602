"""Stable Diffusion 3 and its kin: two CLIP encoders, a joint transformer, a flow."""

import diffusers

from .parts import PROMPT, SMALL, Recipe, autoencoder, clip_text, mask, picture, stirred, tokenizer

_TRANSFORMER = {
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": 8,
    "out_channels": 8,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 64,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 64,
    "pos_embed_max_size": 8,
}


def stable_diffusion_3(cls=diffusers.StableDiffusion3Pipeline, channels=8, **extra):
    transformer = diffusers.SD3Transformer2DModel(**{**_TRANSFORMER, "in_channels": channels, "out_channels": channels})
    encoders = [clip_text(projected=True) for _ in range(2)]
    return cls(
        transformer=transformer.eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(channels),
        text_encoder=encoders[0],
        tokenizer=tokenizer(),
        text_encoder_2=encoders[1],
        tokenizer_2=tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
        **extra,
    )


def _controlnet(**changes):
    model = diffusers.SD3ControlNetModel(**{**_TRANSFORMER, "num_layers": 1, **changes})
    return stirred(model)


_CALL = {**SMALL, "max_sequence_length": 4}
_FROM_PICTURE = {**_CALL, "image": picture(), "num_inference_steps": 4, "strength": 0.8}

TOYS = {
    "StableDiffusion3Pipeline": Recipe(stable_diffusion_3, PROMPT, _CALL),
    "StableDiffusion3Pipeline, skipped layers": Recipe(
        stable_diffusion_3, PROMPT, {**_CALL, "num_inference_steps": 4, "skip_guidance_layers": [1]}
    ),
    "StableDiffusion3PAGPipeline": Recipe(
        lambda: stable_diffusion_3(diffusers.StableDiffusion3PAGPipeline),
        PROMPT,
        {**_CALL, "pag_scale": 2.0},
    ),
    "StableDiffusion3ControlNetPipeline": Recipe(
        lambda: stable_diffusion_3(diffusers.StableDiffusion3ControlNetPipeline, controlnet=_controlnet()),
        PROMPT,
        {**_CALL, "control_image": picture()},
    ),
    "StableDiffusion3Img2ImgPipeline": Recipe(
        lambda: stable_diffusion_3(diffusers.StableDiffusion3Img2ImgPipeline), PROMPT, _FROM_PICTURE
    ),
    "StableDiffusion3InpaintPipeline": Recipe(
        lambda: stable_diffusion_3(diffusers.StableDiffusion3InpaintPipeline, 16),
        PROMPT,
        {**_FROM_PICTURE, "mask_image": mask()},
    ),
}
