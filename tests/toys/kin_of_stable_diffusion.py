"""Pipelines around Stable Diffusion's parts that take more than a text, or take it otherwise."""

import diffusers

from .parts import (
    PROMPT,
    SMALL,
    Recipe,
    autoencoder,
    autoencoder_of_eight,
    clip_processor,
    clip_text,
    clip_vision,
    mask,
    picture,
    stirred,
    t5_text,
    tokenizer,
    unet,
)
from .stable_diffusion import stable_diffusion, stable_diffusion_xl


def with_ip_adapter():
    """Stable Diffusion that follows a picture beside the text."""
    from diffusers.models.attention_processor import IPAdapterAttnProcessor
    from diffusers.models.embeddings import ImageProjection

    pipe = stable_diffusion(image_encoder=clip_vision(), feature_extractor=clip_processor())
    widths, weights = pipe.unet.config.block_out_channels, {}
    places = [name for name in pipe.unet.attn_processors if "attn2" in name]
    for number, name in enumerate(places):
        block = 0 if name.startswith("mid") else int(name.split(".")[1])
        width = widths[-1] if name.startswith("mid") else (widths[::-1] if name.startswith("up") else widths)[block]
        state = IPAdapterAttnProcessor(hidden_size=width, cross_attention_dim=32).state_dict()
        weights |= {f"{2 * number + 1}.{key}_ip.weight": state[f"{key}_ip.0.weight"] for key in ("to_k", "to_v")}
    projection = ImageProjection(cross_attention_dim=32, image_embed_dim=32, num_image_text_embeds=4).state_dict()
    projection = {name.replace("image_embeds", "proj"): value for name, value in projection.items()}
    pipe.unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": weights}])
    return pipe


def _negative_embeddings():
    import torch

    return torch.randn(1, 14, 32, generator=torch.Generator().manual_seed(7))


def gligen():
    return stable_diffusion(
        diffusers.StableDiffusionGLIGENPipeline, model={"attention_type": "gated"}, safety_checker=None
    )


def adapter():
    model = diffusers.T2IAdapter(
        in_channels=3, channels=[8, 16], num_res_blocks=1, downscale_factor=2, adapter_type="full_adapter"
    )
    return stable_diffusion(diffusers.StableDiffusionAdapterPipeline, adapter=stirred(model))


def instruct_pix2pix():
    return stable_diffusion(diffusers.StableDiffusionInstructPix2PixPipeline, model={"in_channels": 8})


def latent_diffusion():
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel

    config = LDMBertConfig(
        vocab_size=len(tokenizer()),
        d_model=32,
        encoder_layers=1,
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        head_dim=16,
        max_position_embeddings=77,
    )
    return diffusers.LDMTextToImagePipeline(
        vqvae=autoencoder_of_eight(),
        bert=LDMBertModel(config).eval(),
        tokenizer=tokenizer(),
        unet=unet(),
        scheduler=diffusers.DDIMScheduler(),
    )


def deep_floyd():
    model = diffusers.UNet2DConditionModel(
        sample_size=32,
        in_channels=3,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        cross_attention_dim=32,
        encoder_hid_dim=32,
        attention_head_dim=4,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
    )
    return diffusers.IFPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(),
        unet=model.eval(),
        scheduler=diffusers.DDPMScheduler(
            variance_type="learned_range", thresholding=True, beta_schedule="squaredcos_cap_v2"
        ),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def amused():
    model = diffusers.UVit2DModel(
        hidden_size=8,
        use_bias=False,
        hidden_dropout=0.0,
        cond_embed_dim=32,
        micro_cond_encode_dim=2,
        micro_cond_embed_dim=10,
        encoder_hidden_size=32,
        vocab_size=32,
        codebook_size=32,
        in_channels=8,
        block_out_channels=8,
        num_res_blocks=1,
        downsample=True,
        upsample=True,
        block_num_heads=1,
        num_hidden_layers=1,
        num_attention_heads=1,
        attention_dropout=0.0,
        intermediate_size=8,
        layer_norm_eps=1e-6,
        ln_elementwise_affine=True,
    )
    codes = diffusers.VQModel(
        block_out_channels=(8,),
        layers_per_block=1,
        latent_channels=8,
        num_vq_embeddings=32,
        norm_num_groups=4,
        mid_block_add_attention=False,
        lookup_from_codebook=True,
    )
    return diffusers.AmusedPipeline(
        vqvae=codes.eval(),
        tokenizer=tokenizer(),
        text_encoder=clip_text(projected=True, max_position_embeddings=77),
        transformer=model.eval(),
        scheduler=diffusers.AmusedScheduler(mask_token_id=31),
    )


_FROM_PICTURE = {"image": picture(), "strength": 0.8, "num_inference_steps": 4}

TOYS = {
    "StableDiffusionPipeline, IP-Adapter": Recipe(with_ip_adapter, PROMPT, {**SMALL, "ip_adapter_image": picture()}),
    "StableDiffusionPipeline, embeddings": Recipe(
        stable_diffusion, PROMPT, {**SMALL, "negative_prompt_embeds": _negative_embeddings()}
    ),
    "StableDiffusionXLPipeline, two prompts": Recipe(
        stable_diffusion_xl, PROMPT, {**SMALL, "prompt_2": "a dog", "negative_prompt": "a cat"}
    ),
    "StableDiffusionXLImg2ImgPipeline": Recipe(
        lambda: stable_diffusion_xl(diffusers.StableDiffusionXLImg2ImgPipeline), PROMPT, _FROM_PICTURE
    ),
    "StableDiffusionXLInpaintPipeline": Recipe(
        lambda: stable_diffusion_xl(diffusers.StableDiffusionXLInpaintPipeline),
        PROMPT,
        {**_FROM_PICTURE, "height": 32, "width": 32, "mask_image": mask()},
    ),
    "StableDiffusionSAGPipeline": Recipe(
        lambda: stable_diffusion(diffusers.StableDiffusionSAGPipeline), PROMPT, {**SMALL, "sag_scale": 0.75}
    ),
    "StableDiffusionPanoramaPipeline": Recipe(
        lambda: stable_diffusion(diffusers.StableDiffusionPanoramaPipeline), PROMPT, {**SMALL, "width": 64}
    ),
    "StableDiffusionGLIGENPipeline": Recipe(
        gligen, PROMPT, {**SMALL, "gligen_phrases": ["a dog"], "gligen_boxes": [[0.1, 0.1, 0.6, 0.6]]}
    ),
    "StableDiffusionAttendAndExcitePipeline": Recipe(
        lambda: stable_diffusion(diffusers.StableDiffusionAttendAndExcitePipeline),
        PROMPT,
        {**SMALL, "token_indices": [2], "max_iter_to_alter": 1, "attn_res": (16, 16)},
    ),
    "StableDiffusionLDM3DPipeline": Recipe(
        lambda: stable_diffusion(
            diffusers.StableDiffusionLDM3DPipeline, vae=autoencoder(in_channels=6, out_channels=6), image_encoder=None
        ),
        PROMPT,
        SMALL,
    ),
    "SemanticStableDiffusionPipeline": Recipe(
        lambda: stable_diffusion(diffusers.SemanticStableDiffusionPipeline),
        PROMPT,
        {**SMALL, "editing_prompt": "a dog", "edit_warmup_steps": 0},
    ),
    "StableDiffusionAdapterPipeline": Recipe(adapter, PROMPT, {**SMALL, "image": picture()}),
    "StableDiffusionInstructPix2PixPipeline": Recipe(
        instruct_pix2pix, PROMPT, {"num_inference_steps": 2, "image": picture()}
    ),
    "LDMTextToImagePipeline": Recipe(latent_diffusion, PROMPT, {**SMALL, "height": 64, "width": 64}),
    "IFPipeline": Recipe(deep_floyd, PROMPT, SMALL),
    "AmusedPipeline": Recipe(amused, PROMPT, SMALL),
}
