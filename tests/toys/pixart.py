"""Transformers on KL latents with a noise-prediction scheduler: PixArt (texts) and DiT (class labels)."""

import diffusers

from .parts import PROMPT, SMALL, Recipe, autoencoder, t5_text, tokenizer


def _transformer(**changes):
    settings = {
        "sample_size": 16,
        "patch_size": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "in_channels": 4,
        "out_channels": 8,
    }
    return {**settings, **changes}


def pixart(cls=diffusers.PixArtAlphaPipeline, layers=1, **extra):
    transformer = diffusers.PixArtTransformer2DModel(
        **_transformer(num_layers=layers),
        cross_attention_dim=16,
        caption_channels=32,
        norm_type="ada_norm_single",
        use_additional_conditions=False,
    )
    return cls(
        tokenizer=tokenizer(),
        text_encoder=t5_text(),
        vae=autoencoder(),
        transformer=transformer.eval(),
        scheduler=diffusers.DDIMScheduler(),
        **extra,
    )


def dit():
    transformer = diffusers.DiTTransformer2DModel(
        **_transformer(num_layers=1),
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    return diffusers.DiTPipeline(
        transformer=transformer.eval(),
        vae=autoencoder(),
        scheduler=diffusers.DDIMScheduler(),
        id2label={0: "tench", 1: "shark"},
    )


_CALL = {**SMALL, "use_resolution_binning": False, "max_sequence_length": 8}

TOYS = {
    "PixArtAlphaPipeline": Recipe(pixart, PROMPT, _CALL),
    "PixArtSigmaPipeline": Recipe(lambda: pixart(diffusers.PixArtSigmaPipeline), PROMPT, _CALL),
    "PixArtSigmaPAGPipeline": Recipe(
        lambda: pixart(diffusers.PixArtSigmaPAGPipeline, layers=2),
        PROMPT,
        {**_CALL, "pag_scale": 3.0},
    ),
    "DiTPipeline": Recipe(dit, 1, {"num_inference_steps": 2}),
}
