"""HunyuanDiT: a CLIP-like and a T5 encoder, a transformer that predicts v."""

import diffusers
import transformers

from .parts import PROMPT, SMALL, Recipe, autoencoder_of_eight, picture, stirred, t5_text, tokenizer

_SIZES = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "attention_head_dim": 4,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "cross_attention_dim": 32,
    "cross_attention_dim_t5": 32,
    "pooled_projection_dim": 4,
    "text_len": 77,
    "text_len_t5": 256,
    "use_style_cond_and_image_meta_size": False,
}


def _bert():
    config = transformers.BertConfig(
        vocab_size=len(tokenizer()),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
    )
    return transformers.BertModel(config).eval()


def hunyuan_dit(cls=diffusers.HunyuanDiTPipeline, **extra):
    return cls(
        vae=autoencoder_of_eight(),
        text_encoder=_bert(),
        tokenizer=tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=tokenizer(),
        transformer=diffusers.HunyuanDiT2DModel(num_layers=2, activation_fn="gelu-approximate", **_SIZES).eval(),
        scheduler=diffusers.DDPMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **extra,
    )


def _controlnet():
    return stirred(diffusers.HunyuanDiT2DControlNetModel(transformer_num_layers=2, **_SIZES))


_CALL = {**SMALL, "height": 64, "width": 64, "use_resolution_binning": False}

TOYS = {
    "HunyuanDiTPipeline": Recipe(hunyuan_dit, PROMPT, _CALL),
    "HunyuanDiTPAGPipeline": Recipe(
        lambda: hunyuan_dit(diffusers.HunyuanDiTPAGPipeline),
        PROMPT,
        {**_CALL, "pag_scale": 2.0},
    ),
    "HunyuanDiTControlNetPipeline": Recipe(
        lambda: hunyuan_dit(diffusers.HunyuanDiTControlNetPipeline, controlnet=_controlnet()),
        PROMPT,
        {**_CALL, "control_image": picture(side=64)},
    ),
}
