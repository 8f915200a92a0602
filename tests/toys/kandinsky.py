"""Kandinsky 2.1 to 5: priors and decoders of pixels' codes, and a flow of the fifth."""

import diffusers

from .parts import (
    PROMPT,
    SMALL,
    Recipe,
    autoencoder_of_eight,
    clip_processor,
    clip_text,
    clip_vision,
    qwen_vl,
    t5_text,
    tokenizer,
    words_tokenizer,
)

_CODES = {
    "block_out_channels": (32, 32, 32, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 3 + ("AttnDownEncoderBlock2D",),
    "up_block_types": ("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "num_vq_embeddings": 12,
    "vq_embed_dim": 4,
    "norm_type": "spatial",
}


def _movq():
    return diffusers.VQModel(**_CODES).eval()


def _unet(**changes):
    settings = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 8,
        "addition_embed_type": "text_image",
        "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "encoder_hid_dim": 32,
        "encoder_hid_dim_type": "text_image_proj",
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "resnet_time_scale_shift": "scale_shift",
        "class_embed_type": None,
    }
    return diffusers.UNet2DConditionModel(**{**settings, **changes}).eval()


def _prior_parts(prefix: str = "prior_"):
    prior = diffusers.PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, embedding_dim=32, num_layers=1, num_embeddings=14
    )
    parts = {
        "prior": prior.eval(),
        "image_encoder": clip_vision(),
        "text_encoder": clip_text(projected=True),
        "tokenizer": _short_tokenizer(),
        "scheduler": diffusers.UnCLIPScheduler(
            variance_type="fixed_small_log",
            prediction_type="sample",
            num_train_timesteps=1000,
            clip_sample=True,
            clip_sample_range=5.0,
        ),
        "image_processor": clip_processor(),
    }
    return {prefix + name: part for name, part in parts.items()}


def _short_tokenizer():
    words = tokenizer()
    words.model_max_length = 14
    return words


def kandinsky_2_2():
    return diffusers.KandinskyV22CombinedPipeline(
        unet=_unet(addition_embed_type="image", addition_embed_type_num_heads=2, encoder_hid_dim_type="image_proj"),
        movq=_movq(),
        scheduler=_ddim(),
        **_prior_parts(),
    )


def kandinsky_2_2_prior():
    return diffusers.KandinskyV22PriorPipeline(**_prior_parts(""))


def _ddim():
    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
        thresholding=False,
    )


def kandinsky_2_1():
    from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP

    config = MCLIPConfig(
        numDims=32,
        transformerDimensions=32,
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=2,
        num_hidden_layers=1,
        vocab_size=len(tokenizer()),
    )
    return diffusers.KandinskyCombinedPipeline(
        text_encoder=MultilingualCLIP(config).eval(),
        tokenizer=_short_tokenizer(),
        unet=_unet(),
        movq=_movq(),
        scheduler=_ddim(),
        **_prior_parts(),
    )


def kandinsky_3():
    unet = diffusers.Kandinsky3UNet(
        in_channels=4,
        time_embedding_dim=4,
        groups=2,
        attention_head_dim=4,
        layers_per_block=3,
        block_out_channels=(8, 16),
        cross_attention_dim=4,
        encoder_hid_dim=32,
    )
    return diffusers.Kandinsky3Pipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(),
        unet=unet.eval(),
        scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", thresholding=False),
        movq=_movq(),
    )


def kandinsky_5_parts(**changes):
    transformer = diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        in_text_dim=32,
        in_text_dim2=32,
        time_dim=16,
        out_visual_dim=4,
        patch_size=(1, 2, 2),
        model_dim=32,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(4, 6, 6),
        **changes,
    )
    return {
        "transformer": transformer.eval(),
        "text_encoder": qwen_vl(),
        "tokenizer": words_tokenizer(),
        "text_encoder_2": clip_text(max_position_embeddings=77),
        "tokenizer_2": _short_tokenizer(),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
    }


def kandinsky_5_image():
    return diffusers.Kandinsky5T2IPipeline(vae=autoencoder_of_eight(), **kandinsky_5_parts())


_TWO_STAGES = {**SMALL, "height": 64, "width": 64, "prior_num_inference_steps": 2}
_CALL_5 = {"height": 64, "width": 64, "num_inference_steps": 2, "max_sequence_length": 16}

TOYS = {
    "KandinskyCombinedPipeline": Recipe(kandinsky_2_1, PROMPT, _TWO_STAGES),
    "KandinskyV22CombinedPipeline": Recipe(kandinsky_2_2, PROMPT, _TWO_STAGES),
    "Kandinsky3Pipeline": Recipe(kandinsky_3, PROMPT, {**SMALL, "height": 64, "width": 64}),
    "Kandinsky5T2IPipeline": Recipe(kandinsky_5_image, PROMPT, _CALL_5),
}
