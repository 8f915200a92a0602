"""Small random pipelines of the classes that people use; every weight is seeded."""

from collections.abc import Callable

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from samplesmith import assets
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

PROMPT = "a cat on pink"


def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(assets.path("emoji-sd3") / "tokenizer")


def autoencoder(latent_channels: int = 4) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=32,
        use_quant_conv=latent_channels == 4,
        use_post_quant_conv=latent_channels == 4,
        shift_factor=0.0,
        scaling_factor=1.0,
    ).eval()


def clip_text(projected: bool = False, width: int = 32):
    config = CLIPTextConfig(
        vocab_size=len(tokenizer()),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=14,
        bos_token_id=tokenizer().bos_token_id,
        eos_token_id=tokenizer().eos_token_id,
        pad_token_id=tokenizer().eos_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5_text(width: int = 32) -> T5EncoderModel:
    config = T5Config(vocab_size=len(tokenizer()), d_model=width, d_ff=2 * width, d_kv=8, num_layers=1, num_heads=2)
    return T5EncoderModel(config).eval()


def unet(**changes) -> UNet2DConditionModel:
    settings = {
        "sample_size": 16,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
    }
    return UNet2DConditionModel(**{**settings, **changes}).eval()


def stable_diffusion(cls=StableDiffusionPipeline, **extra):
    return cls(
        vae=autoencoder(),
        text_encoder=clip_text(),
        tokenizer=tokenizer(),
        unet=unet(),
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **extra,
    )


def controlnet():
    model = ControlNetModel.from_unet(unet(), conditioning_embedding_out_channels=(4, 8))
    for parameter in model.parameters():  # its zero convolutions would hide the control image
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return stable_diffusion(StableDiffusionControlNetPipeline, controlnet=model.eval())


def stable_diffusion_xl():
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(projected=True),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        unet=unet(
            cross_attention_dim=64,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
        ),
        scheduler=DDIMScheduler(),
        add_watermarker=False,
    )


def stable_diffusion_3():
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=8,
        out_channels=8,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=64,
        caption_projection_dim=16,
        pooled_projection_dim=64,
        pos_embed_max_size=8,
    )
    encoders = [clip_text(projected=True) for _ in range(2)]
    return StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(8),
        text_encoder=encoders[0],
        tokenizer=tokenizer(),
        text_encoder_2=encoders[1],
        tokenizer_2=tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def flux():
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=autoencoder(4),
        text_encoder=clip_text(),
        tokenizer=tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=tokenizer(),
        transformer=transformer.eval(),
    )


def pixart():
    transformer = PixArtTransformer2DModel(
        sample_size=16,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=16,
        caption_channels=32,
        norm_type="ada_norm_single",
        use_additional_conditions=False,
    )
    return PixArtAlphaPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(),
        vae=autoencoder(),
        transformer=transformer.eval(),
        scheduler=DDIMScheduler(),
    )


def dit():
    transformer = DiTTransformer2DModel(
        sample_size=16,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    return DiTPipeline(
        transformer=transformer.eval(), vae=autoencoder(), scheduler=DDIMScheduler(), id2label={0: "tench", 1: "shark"}
    )


def picture(seed: int = 0, side: int = 32) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


SMALL = {"height": 32, "width": 32, "num_inference_steps": 2}

TOYS: dict[str, tuple[Callable, str | int, dict]] = {
    "StableDiffusion": (stable_diffusion, PROMPT, SMALL),
    "StableDiffusionXL": (stable_diffusion_xl, PROMPT, SMALL),
    "StableDiffusion3": (stable_diffusion_3, PROMPT, {**SMALL, "max_sequence_length": 4}),
    "Flux": (flux, PROMPT, {**SMALL, "max_sequence_length": 8}),
    "Flux true CFG": (
        flux,
        PROMPT,
        {**SMALL, "max_sequence_length": 8, "true_cfg_scale": 2.0, "negative_prompt": "dog"},
    ),
    "PixArt": (pixart, PROMPT, {**SMALL, "use_resolution_binning": False, "max_sequence_length": 8}),
    "DiT": (dit, 1, {"num_inference_steps": 2}),
    "ControlNet": (controlnet, PROMPT, {**SMALL, "image": picture(), "negative_prompt": "a dog"}),
    "Img2Img": (
        lambda: stable_diffusion(StableDiffusionImg2ImgPipeline),
        PROMPT,
        {"image": picture(), "strength": 0.8, "num_inference_steps": 4},
    ),
}
"""Builder, prompt and call arguments of each."""


def build(name: str):
    """A toy by name, its weights drawn from a seed of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = TOYS[name][0]()
    pipe.set_progress_bar_config(disable=True)
    return pipe
