"""Stable Diffusion, 1 to XL, and the pipelines around the same UNet."""

import diffusers

from .parts import (
    PROMPT,
    SMALL,
    Recipe,
    autoencoder,
    clip_text,
    mask,
    picture,
    stirred,
    tokenizer,
    unet,
)


def stable_diffusion(cls=diffusers.StableDiffusionPipeline, scheduler=None, model=None, **extra):
    parts = {
        "vae": autoencoder(),
        "text_encoder": clip_text(),
        "tokenizer": tokenizer(),
        "unet": unet(**(model or {})),
        "scheduler": scheduler or diffusers.DDIMScheduler(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    return cls(**{**parts, **extra})


def _controlnet(**changes):
    return stirred(diffusers.ControlNetModel.from_unet(unet(**changes), conditioning_embedding_out_channels=(4, 8)))


def controlnet(cls=diffusers.StableDiffusionControlNetPipeline, **extra):
    return stable_diffusion(cls, controlnet=_controlnet(), **extra)


_XL = {
    "cross_attention_dim": 64,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 32,
}


def stable_diffusion_xl(cls=diffusers.StableDiffusionXLPipeline, **extra):
    return cls(
        vae=autoencoder(),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(projected=True),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=unet(**_XL),
        scheduler=diffusers.DDIMScheduler(),
        add_watermarker=False,
        **extra,
    )


def stable_diffusion_2():
    """Predicts v, down to pure noise, as Stable Diffusion 2.1 does after its correction."""
    scheduler = diffusers.DDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False
    )
    return stable_diffusion(scheduler=scheduler)


def latent_consistency():
    return stable_diffusion(
        diffusers.LatentConsistencyModelPipeline, diffusers.LCMScheduler(), {"time_cond_proj_dim": 16}
    )


_FROM_PICTURE = {"image": picture(), "strength": 0.8, "num_inference_steps": 4}
_PAG = {**SMALL, "pag_scale": 3.0}

TOYS = {
    "StableDiffusionPipeline": Recipe(stable_diffusion, PROMPT, SMALL),
    "StableDiffusionPipeline, v-prediction": Recipe(stable_diffusion_2, PROMPT, SMALL),
    "StableDiffusionXLPipeline": Recipe(stable_diffusion_xl, PROMPT, SMALL),
    "StableDiffusionPAGPipeline": Recipe(lambda: stable_diffusion(diffusers.StableDiffusionPAGPipeline), PROMPT, _PAG),
    "StableDiffusionXLPAGPipeline": Recipe(
        lambda: stable_diffusion_xl(diffusers.StableDiffusionXLPAGPipeline), PROMPT, _PAG
    ),
    "StableDiffusionControlNetPipeline": Recipe(
        controlnet, PROMPT, {**SMALL, "image": picture(), "negative_prompt": "a dog"}
    ),
    "StableDiffusionXLControlNetPipeline": Recipe(
        lambda: stable_diffusion_xl(diffusers.StableDiffusionXLControlNetPipeline, controlnet=_controlnet(**_XL)),
        PROMPT,
        {**SMALL, "image": picture()},
    ),
    "StableDiffusionControlNetPAGPipeline": Recipe(
        lambda: controlnet(diffusers.StableDiffusionControlNetPAGPipeline),
        PROMPT,
        {**_PAG, "image": picture()},
    ),
    "StableDiffusionImg2ImgPipeline": Recipe(
        lambda: stable_diffusion(diffusers.StableDiffusionImg2ImgPipeline), PROMPT, _FROM_PICTURE
    ),
    "StableDiffusionInpaintPipeline": Recipe(
        lambda: stable_diffusion(diffusers.StableDiffusionInpaintPipeline),
        PROMPT,
        {**SMALL, "num_inference_steps": 4, "image": picture(), "mask_image": mask(), "strength": 0.8},
    ),
    "LatentConsistencyModelPipeline": Recipe(latent_consistency, PROMPT, {**SMALL, "original_inference_steps": 8}),
}
