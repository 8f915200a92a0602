"""CogView 3 and 4."""

import diffusers
import transformers

from .parts import (
    PROMPT,
    SMALL,
    Recipe,
    autoencoder,
    language_model,
    t5_text,
    tokenizer,
    words_tokenizer,
)

_TRANSFORMER = {
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "text_embed_dim": 32,
    "time_embed_dim": 8,
    "condition_dim": 2,
    "pos_embed_max_size": 16,
    "sample_size": 16,
}


def cogview_3():
    return diffusers.CogView3PlusPipeline(
        tokenizer=tokenizer(),
        text_encoder=t5_text(),
        vae=autoencoder(),
        transformer=diffusers.CogView3PlusTransformer2DModel(**_TRANSFORMER).eval(),
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    )


def cogview_4(cls=diffusers.CogView4Pipeline, **changes):
    return cls(
        tokenizer=words_tokenizer(),
        text_encoder=language_model(transformers.GlmModel),
        vae=autoencoder(),
        transformer=diffusers.CogView4Transformer2DModel(**{**_TRANSFORMER, "rope_axes_dim": (8, 8), **changes}).eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"
        ),
    )


_CALL = {**SMALL, "max_sequence_length": 16}

TOYS = {
    "CogView3PlusPipeline": Recipe(cogview_3, PROMPT, _CALL),
    "CogView4Pipeline": Recipe(cogview_4, PROMPT, _CALL),
}
